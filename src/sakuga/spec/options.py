"""The named options of an adapter's short form, as A1111 and its block-weight extension write them, and block weights.

    te=0.5 · unet=0.8       the weights by name
    lbw=OUTD · lbw=1,0,0…   block weights: a preset, or a list of 12, 17, 20, 26 or 61 numbers
    start=3 · stop=8        from the third step on, until before the eighth, counted from one
    step=3-8                both at once

Those of a smoother are its own: words, numbers and truth values under names, checked by the smoother itself.

Refuses what would be another picture each time (random block weights) and what is not built, each by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from sakuga.errors import JobError, nearest_name
from sakuga.spec.findings import shown
from sakuga.spec.vary import parse_weight

Option: TypeAlias = bool | int | float | str
OPTIONS = ("te", "unet", "lbw", "start", "stop", "step")
NOT_BUILT = {
    "dyn": "a rank cut off is not applied; resize the file instead",
    "lbwe": "weights of single layers inside a block are not applied; give block weights",
    "x": "block weights that come from x= are not applied; write the number into the list",
}
_NAMED = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(.*?)\s*", re.DOTALL)
_STEP = re.compile(r"[1-9][0-9]{0,3}")


def named_options(items: Sequence[str], text: str) -> tuple[list[str], dict[str, object]]:
    """(items without a name, what the named ones say: "te", "unet", and the fields "blocks" and "steps").

    ``text`` is the whole, for messages. Raises JobError.

    >>> named_options(["0.8", "lbw=OUTD", "start=3"], "")
    (['0.8'], {'blocks': 'OUTD', 'steps': (2, None)})
    """
    plain, given = [], dict[str, str]()
    for item in items:
        match = _NAMED.fullmatch(item)
        if match is None:
            plain.append(item)
        elif match[1] in given:
            raise JobError("an option is given twice", given=f"{match[1]}= in {text[:60]}", do="give it once")
        elif match[1] not in OPTIONS:
            raise _unknown(match[1], text)
        else:
            given[match[1]] = match[2]
    return plain, _fields(given, text)


def _fields(given: Mapping[str, str], text: str) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name in ("te", "unet"):
        if name in given:
            fields[name] = parse_weight(given[name])
    if "lbw" in given:
        fields["blocks"] = as_blocks(given["lbw"])
    if "step" in given and ("start" in given or "stop" in given):
        raise JobError("step= says what start= and stop= say", given=text[:80], do="give one of both")
    start, stop = given.get("start"), given.get("stop")
    if "step" in given:
        start, dash, stop = (part.strip() or None for part in given["step"].partition("-"))
        if dash is None or start is stop is None:
            raise JobError("these are not steps", given=text[:80], expected="step=3-8, step=3- or step=-8")
    if start is not None or stop is not None:
        first = _step(start, text) - 1 if start is not None else 0
        end = None if stop is None else _step(stop, text) - 1
        if end is not None and end <= first:
            raise JobError("it stops before it starts", given=text[:80], expected="a stop behind the start")
        fields["steps"] = (first, end)
    return fields


def _step(value: str, text: str) -> int:
    if not _STEP.fullmatch(value):
        raise JobError("this is not the number of a step", given=text[:80], expected="a whole number from 1")
    return int(value)


def _unknown(name: str, text: str) -> JobError:
    return JobError(
        "an adapter has no such option",
        given=f"{name}= in {text[:60]}",
        expected=", ".join(f"{option}=" for option in OPTIONS),
        nearest=nearest_name(name, OPTIONS),
        do=NOT_BUILT.get(name),
    )


def as_blocks(value: object) -> str:
    """Block weights in one text: a preset, numbers with commas, or JSON of a table. Raises JobError.

    >>> as_blocks([1, 0.5]), as_blocks({"down": 0.5})
    ('1,0.5', '{"down": 0.5}')
    """
    if isinstance(value, list | tuple) and value:
        return ",".join(_text(number) for number in value)
    text = value.strip() if isinstance(value, str) else ""
    if text and not text.startswith("{"):
        return text
    try:
        table = json.loads(text) if text else value
        written = json.dumps(table, sort_keys=True, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        table, written = None, ""
    if not isinstance(table, Mapping) or not table:
        raise JobError("these are no block weights", given=shown(value), expected=_EXPECTED)
    return written


def smoother_options(rest: str, text: str) -> dict[str, Option]:
    """``mode=accurate:window=15`` as a table. ``text`` is the whole, for messages. Raises JobError."""
    found: dict[str, Option] = {}
    for item in rest.split(":"):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not name or not equals or not value:
            raise JobError("this is no option", given=item[:40], expected="KIND:OPTION=VALUE", nearest=None)
        if name in found:
            raise JobError("an option is given twice", given=f"{name}= in {text[:60]}", do="give it once")
        found[name] = _value(value)
    return found


def as_options(value: object) -> tuple[tuple[str, Option], ...]:
    """The options of a smoother in the order given, from a table or from pairs. Raises JobError."""
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list | tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise JobError("these are no options", given=shown(value), expected="a table such as {window: 15}")
    for name, inner in pairs:
        if not isinstance(name, str) or not isinstance(inner, bool | int | float | str):
            raise JobError("an option is a name with one value", given=shown({str(name): inner}))
        if isinstance(inner, float) and not math.isfinite(inner):
            raise JobError("not a finite number", given=f"{name}: {inner}", expected="a finite number")
    return tuple(pairs)


def _value(text: str) -> Option:
    """A truth value, a number, or else the word itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for read in (int, float):
        try:
            number = read(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text


def _text(number: object) -> str:
    return f"{number:.15g}" if isinstance(number, int | float) and not isinstance(number, bool) else str(number)


def block_table(text: str) -> str | list[float] | dict[str, object]:
    """What ``as_blocks`` holds: the name of a preset, a list, or a table. Raises JobError.

    >>> block_table("1,0.5")
    [1.0, 0.5]
    """
    if text.startswith("{"):
        found: dict[str, object] = json.loads(text)
        return found
    if "," not in text:
        return text
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if re.fullmatch(r"[RUX]([+-].*)?", part):
            raise JobError(
                "random block weights are not applied: each run would be another picture",
                given=part,
                expected="a number",
            )
    return [_number(part) for part in parts]


_EXPECTED = "a preset such as OUTD, a list of 12, 17, 20, 26 or 61 numbers, or a table of blocks"


def _number(part: str) -> float:
    weight = parse_weight(part)
    if not isinstance(weight, float):
        raise JobError("a block weight is a plain number", given=part[:40], expected="such as 0.5")
    return weight
