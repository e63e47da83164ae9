"""``--set stages.0.steps=8``: one value in a job, named by its path, put over what the file says.

A path has the names of fields and the numbers of entries, counted from 0, with dots between. One number beyond the end
of a list makes a new entry. Refuses paths that lead nowhere, with the nearest name, and two values for one path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sakuga.errors import JobError, nearest_name
from sakuga.spec.fields import Place, Spot, spot
from sakuga.spec.job import Job
from sakuga.spec.lines import read_value
from sakuga.spec.uses import Short


@dataclass(frozen=True, kw_only=True)
class Override:
    """``value`` for the field at ``place``; ``told`` is what the user typed, for messages."""

    place: Place
    value: object
    told: str

    @classmethod
    def parse(cls, text: str, told: str | None = None) -> Override:
        """From ``PATH=VALUE``. Fields of text take VALUE word for word, others read it as YAML. Raises JobError."""
        path, equals, value = text.partition("=")
        told = told or f"--set {text[:60]}"
        if not equals or not path.strip():
            raise JobError("this sets nothing", given=text[:80], expected="PATH=VALUE: stages.0.steps=8")
        place = parse_path(path.strip())
        return cls(place=place, value=read_as(_known(place, told), value, told), told=told)


def parse_path(path: str) -> Place:
    """``stages.0.steps`` in its parts; numbers become list indices."""
    return tuple(
        int(part) if part.isascii() and part.isdecimal() and len(part) < 9 else part for part in path.split(".")
    )


def read_as(here: Spot, text: str, told: str) -> object:
    """A value for ``here`` from the text of a flag: text word for word (null where None may stand), else YAML."""
    if here.is_text:
        return None if here.may_be_none and text == "null" else text
    return read_value(text, told)


def put(data: dict[str, object], override: Override) -> None:
    """Change ``data``, the plain form of a Job, in place; lists and tables on the way are made. Raises JobError, and
    has then changed nothing that means something else.
    """
    place = override.place
    _known(place, override.told)
    holder: object = data
    for depth, part in enumerate(place[:-1]):
        inner = _take(holder, part, override)
        if inner is None:
            _give(holder, depth, _made(depth + 1, override), override)
            return
        here = spot(Job, place[: depth + 1])
        assert here is not None
        if isinstance(inner, str) and here.model is not None and issubclass(here.model, Short):
            inner = here.model.parts(inner)
            _give(holder, depth, inner, override)
        holder = inner
    _give(holder, len(place) - 1, override.value, override)


def _made(depth: int, override: Override) -> object:
    """What is to stand at the first ``depth`` parts of the path, where nothing is yet: lists and tables, the value."""
    if depth == len(override.place):
        return override.value
    here = spot(Job, override.place[:depth])
    assert here is not None
    made: object = [] if here.is_list else {}
    _give(made, depth, _made(depth + 1, override), override)
    return made


def refuse_second(override: Override, taken: Iterable[Override]) -> None:
    """Raise JobError if ``override`` would take the place of what one of ``taken``, or a part of it, has said."""
    end = len(override.place)
    for before in taken:
        if before.place[:end] == override.place and (before.place, before.value) != (override.place, override.value):
            raise JobError(
                f"{'.'.join(map(str, override.place))} is given twice",
                given=f"{before.told} and {override.told}",
                expected="one value",
                do="keep one of them",
            )


def _take(holder: object, part: str | int, override: Override) -> object:
    if isinstance(holder, dict):
        return holder.get(part)
    if isinstance(holder, list) and isinstance(part, int):
        return holder[part] if part < len(holder) else None
    raise _no_way(override)


def _give(holder: object, depth: int, value: object, override: Override) -> None:
    part = override.place[depth]
    if isinstance(holder, dict):
        holder[part] = value
    elif isinstance(holder, list) and isinstance(part, int) and part <= len(holder):
        holder[part : part + 1] = [value]
    elif isinstance(holder, list):
        expected = f"an entry from 0 to {len(holder)}, {len(holder)} for a new one"
        too_far = ".".join(map(str, override.place[: depth + 1]))
        do = "add entries one by one"
        raise JobError("the list is not that long", given=override.told, expected=expected, do=do).at(too_far)
    else:
        raise _no_way(override)


def _no_way(override: Override) -> JobError:
    return JobError("the value on the way there has no parts", given=override.told, expected="a list or a table")


def _known(place: Sequence[str | int], told: str) -> Spot:
    """What stands at ``place``; raises JobError with the nearest path if nothing can."""
    if (here := spot(Job, place)) is not None:
        return here
    depth = next(depth for depth in range(len(place)) if spot(Job, place[: depth + 1]) is None)
    parent = spot(Job, place[:depth])
    assert parent is not None
    before, part = ".".join(map(str, place[:depth])), str(place[depth])
    if parent.model is not None:
        known = tuple(parent.model.model_fields)
        near = nearest_name(part, known)
        nearest = ".".join(filter(None, (before, near))) if near else None
        expected = "one of " + ", ".join(known)
    elif parent.is_list:
        nearest, expected = f"{before}.0", "the number of an entry, counted from 0"
    else:
        nearest, expected = before, "a path that ends there"
    raise JobError(
        f"no field is called {'.'.join(map(str, place))[:80]}",
        given=told,
        expected=expected,
        nearest=nearest,
        do=f"change {told}",
    )
