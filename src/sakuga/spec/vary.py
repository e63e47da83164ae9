"""A number that varies: a plain number, ``auto``, or a curve over steps, frames or time. Parses, writes, evaluates.

The one small language for weights of adapters and scales of controls. Refuses infinities, numbers beyond 20 in either
direction, and text that could be read in two ways.

    0.8                     a plain number
    auto · auto@0.8         balanced against the other adapters, then times 0.8
    0->1 · 0→1@steps        from 0 at the first step to 1 at the last
    0->1->0@frames          evenly spaced values over the frames of the clip
    0:0, 0.5:1, 1:0.2       value at position, positions from 0 to 1; two points at one position make a jump
    0s:0->2s:1, 5s:0        value at a time of the clip, in seconds; the same, with times for positions
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from sakuga.errors import JobError, nearest_name

LIMIT = 20.0  # the strongest weight that means anything; adapters are made for about 1
MOST_POINTS = 200
LATEST = 1e6  # seconds; eleven days
Over = Literal["steps", "frames", "seconds"]

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")
_TIME = re.compile(r"[0-9]s\s*:")
_ARROW = re.compile(r"->|→")
_EXPECTED = "a number from -20 to 20, 0->1@steps or 0:0, 0.5:1, 1:0@frames"


@dataclass(frozen=True, kw_only=True)
class Auto:
    """Balanced against the other adapters of the stack, then multiplied by ``scale`` (-20 … 20)."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        _within(self.scale)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Straight lines between ``points`` of (position, value): positions 0 … 1 in order, values -20 … 20.

    Over seconds the positions are times of the clip.
    """

    points: tuple[tuple[float, float], ...]
    over: Over = "steps"

    def __post_init__(self) -> None:
        positions = [position for position, _ in self.points]
        if not 2 <= len(positions) <= MOST_POINTS:
            raise JobError("a curve has too few or too many points", given=f"{len(positions)}", expected="2 to 200")
        for position, value in self.points:
            _within(value)
            last = LATEST if self.over == "seconds" else 1
            if not (_is_number(position) and 0 <= position <= last):
                raise JobError(
                    "a curve's position is outside its range", given=f"{position}", expected=f"from 0 to {last:g}"
                )
        if positions != sorted(positions) or any(a == b for a, b in zip(positions, positions[2:], strict=False)):
            given = ", ".join(_plain(position) for position in positions)
            expected = "rising positions, at most two points at the same one"
            raise JobError("a curve's positions are out of order", given=given, expected=expected)
        if self.over not in get_args(Over):
            raise _unknown_axis(str(self.over))

    def at(self, position: float) -> float:
        """The value at ``position`` (0 the beginning, 1 the end); beyond the outer points their value holds on.

        >>> Curve(points=((0, 0), (0.5, 1), (1, 0.2))).at(0.25)
        0.5
        """
        after = bisect_right(self.points, position, key=lambda point: point[0])
        if after == 0:
            return self.points[0][1]
        if after == len(self.points):
            return self.points[-1][1]
        (left, low), (right, high) = self.points[after - 1], self.points[after]
        share = (position - left) / (right - left)
        between = low + (high - low) * share
        return min(max(between, min(low, high)), max(low, high))  # rounding may not leave the line's own range


Weight: TypeAlias = float | Auto | Curve


def as_weight(value: object) -> Weight:
    """A weight from a number, a text of the grammar above, or a record. Raises JobError."""
    if isinstance(value, Auto | Curve):
        return value
    if isinstance(value, str):
        return parse_weight(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise JobError("this is not a weight", given=repr(value)[:80], expected=_EXPECTED)
    return _within(value)


def parse_weight(text: str) -> Weight:
    """Read a weight as people write it; see the top of this module. Raises JobError.

    >>> parse_weight("auto@0.8")
    Auto(scale=0.8)
    >>> parse_weight("0->1@frames").at(0.25)
    0.25
    """
    body, at, tail = text.strip().partition("@")
    body, tail = body.strip(), tail.strip()
    if body == "auto":
        return Auto(scale=_number(tail, text)) if at else Auto()
    if not at and _NUMBER.fullmatch(body):
        return _number(body, text)
    if _TIME.search(body):
        if at:
            raise JobError("a curve over time has its axis in it", given=_quoted(text), do="leave the @ away")
        return Curve(points=_timed(body, text), over="seconds")
    if "," in body or _ARROW.search(body):
        if at and tail == "seconds":
            raise JobError("a curve over time names its times", given=_quoted(text), expected="0s:0->2s:1")
        if at and tail not in get_args(Over):
            raise _unknown_axis(tail)
        return Curve(points=_points(body, text), over="frames" if tail == "frames" else "steps")
    raise JobError("this is not a weight", given=_quoted(text), expected=_EXPECTED, nearest=_near(body))


def format_weight(weight: Weight) -> str:
    """The shortest text that ``parse_weight`` reads back as the same weight."""
    if isinstance(weight, Auto):
        return "auto" if weight.scale == 1 else f"auto@{_plain(weight.scale)}"
    if not isinstance(weight, Curve):
        return _plain(weight)
    if weight.over == "seconds":
        return "->".join(f"{_plain(position)}s:{_plain(value)}" for position, value in weight.points)
    last = len(weight.points) - 1
    if all(position == index / last for index, (position, _) in enumerate(weight.points)):
        body = "->".join(_plain(value) for _, value in weight.points)
    else:
        body = ", ".join(f"{_plain(position)}:{_plain(value)}" for position, value in weight.points)
    return body if weight.over == "steps" else f"{body}@{weight.over}"


def _points(body: str, text: str) -> tuple[tuple[float, float], ...]:
    """The points of ``0->1->0`` (evenly spaced) or of ``0:0, 0.5:1``."""
    if "," not in body:
        values = [_number(part, text) for part in _ARROW.split(body)]
        return tuple((index / (len(values) - 1), value) for index, value in enumerate(values))
    pairs = [part.partition(":") for part in body.split(",")]
    return tuple((_number(position, text), _number(value, text)) for position, _, value in pairs)


def _timed(body: str, text: str) -> tuple[tuple[float, float], ...]:
    """The points of ``0s:0->2s:1`` or ``0s:0, 2s:1``."""
    pairs = [part.partition(":") for part in re.split(r",|->|→", body)]
    for time, _, _ in pairs:
        if not _NUMBER.fullmatch(time.strip().removesuffix("s")) or not time.strip().endswith("s"):
            raise JobError("this is not a time of the clip", given=_quoted(time), expected="seconds such as 1.5s")
    return tuple((float(time.strip()[:-1]), _number(value, text)) for time, _, value in pairs)


def _number(part: str, text: str) -> float:
    """One number of the grammar; ``text`` is the whole that the message shows."""
    if not _NUMBER.fullmatch(part.strip()):
        raise JobError("this is not a weight", given=_quoted(text), expected=_EXPECTED)
    return _within(float(part))


def _within(value: object) -> float:
    """``value`` as a float inside the limits, or a JobError that says what is wrong with it."""
    if not _is_number(value):
        raise JobError("a weight is not a finite number", given=repr(value)[:80], expected=_EXPECTED)
    number = float(value)  # type: ignore[arg-type]  # told to be a number one line above
    if abs(number) > LIMIT:
        do = "adapters are made for a weight of about 1; try 1, and go on in small steps"
        given = _plain(number)
        raise JobError(f"a weight of {given} is too strong", given=given, expected="from -20 to 20", do=do)
    return number


def _is_number(value: object) -> bool:
    """A finite int or float that a float can hold; truth values are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -1e300 < value < 1e300 and not math.isnan(value)


def _plain(number: float) -> str:
    """The shortest text of a number: ``1`` and not ``1.0``."""
    return repr(float(number)).removesuffix(".0")


def _quoted(text: str) -> str:
    return f'"{text}"' if len(text) <= 60 else f'"{text[:60]}…"'


def _near(body: str) -> str | None:
    return nearest_name(body, ("auto",)) if body else None


def _unknown_axis(axis: str) -> JobError:
    nearest = nearest_name(axis, get_args(Over))
    return JobError(
        "a curve runs over something unknown", given=axis or "nothing", expected="steps or frames", nearest=nearest
    )
