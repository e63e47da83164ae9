"""The size of the picture that is rendered: both sides, or the short side alone. Refuses tiny and huge sides."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sakuga.errors import JobError

SMALLEST, LARGEST = 16, 4096
_EXPECTED = "WIDTHxHEIGHT, or the short side alone and even, from 16 to 4096: 384x216 or 256"
_BOTH = re.compile(r"\s*([-+]?[0-9]{1,12})\s*[xX\u00d7]\s*([-+]?[0-9]{1,12})\s*")
_ONE = re.compile(r"\s*([-+]?[0-9]{1,12})\s*")


@dataclass(frozen=True, kw_only=True)
class Size:
    """``width`` and ``height`` in pixels, or ``short_side`` alone, which is even; every side is from 16 to 4096."""

    width: int | None = None
    height: int | None = None
    short_side: int | None = None

    def __post_init__(self) -> None:
        given = (self.width is not None, self.height is not None, self.short_side is not None)
        if given not in ((True, True, False), (False, False, True)):
            raise JobError("a size needs both sides, or the short side alone", expected=_EXPECTED)
        for side in (self.width, self.height, self.short_side):
            if side is not None:
                _check_side(side)
        if self.short_side is not None and self.short_side % 2:
            side = self.short_side
            nearest = f"{side - 1} or {side + 1}"
            raise JobError("a side is odd", given=f"{side}", expected=_EXPECTED, nearest=nearest)

    def fitted(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the result for a source of this width and height: its shape is kept.

        Sides that follow from the shape are even. With both sides given it is the largest that fits into them. Raises
        JobError when a side would pass 4096.

        >>> Size(short_side=256).fitted(1920, 1080), Size(width=384, height=216).fitted(640, 480)
        ((456, 256), (288, 216))
        """
        if self.width is not None and self.height is not None:
            if self.width * height <= self.height * width:  # the width is what limits
                return self.width, min(self.height, max(2, 2 * round(height * self.width / width / 2)))
            return min(self.width, max(2, 2 * round(width * self.height / height / 2))), self.height
        assert self.short_side is not None
        long_side = 2 * round(self.short_side * max(width, height) / min(width, height) / 2)
        if long_side > LARGEST:
            given = f"{self} for a source of {width}x{height} gives {long_side} pixels"
            raise JobError("the long side becomes too long", given=given, expected=f"at most {LARGEST}")
        return (long_side, self.short_side) if width >= height else (self.short_side, long_side)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}" if self.short_side is None else f"{self.short_side}"


def as_size(value: object) -> Size:
    """A size from ``"384x216"``, ``256`` or ``"256"``, or a Size itself. Raises JobError."""
    if isinstance(value, Size):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Size(short_side=value)
    if isinstance(value, str):
        if both := _BOTH.fullmatch(value):
            return Size(width=int(both[1]), height=int(both[2]))
        if one := _ONE.fullmatch(value):
            return Size(short_side=int(one[1]))
    raise JobError("this is not a size", given=repr(value)[:80], expected=_EXPECTED)


def _check_side(side: object) -> None:
    if isinstance(side, bool) or not isinstance(side, int):
        raise JobError("a side is not a whole number", given=repr(side)[:80], expected=_EXPECTED)
    if not SMALLEST <= side <= LARGEST:
        raise JobError("a side is outside its range", given=str(side)[:40], expected=_EXPECTED)
