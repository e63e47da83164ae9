"""A range of numbered things, frames or steps, as people write it: FIRST:END from 0, END not among them."""

from __future__ import annotations

from sakuga.errors import JobError
from sakuga.spec.findings import shown

LAST = 10**9
_EXPECTED = "FIRST:END, both whole numbers, END behind FIRST or left out: 0:48 or 24:"


def as_range(value: object) -> tuple[int, int | None]:
    """(first, end) from ``"0:48"``, ``"24:"``, ``":48"`` or a pair; end exclusive, None: all. Raises JobError."""
    pair = value
    if isinstance(value, str):
        texts = [part.strip() for part in value.split(":")]
        if (
            len(texts) == 2
            and any(texts)
            and all(part == "" or (part.isdecimal() and len(part) < 12) for part in texts)
        ):
            pair = (int(texts[0] or 0), int(texts[1]) if texts[1] else None)
    if isinstance(pair, tuple | list) and len(pair) == 2:
        first, end = pair
        if _is_index(first) and (end is None or (_is_index(end) and end > first)):
            return first, end
    raise JobError("this is no range", given=shown(value), expected=_EXPECTED)


def range_text(numbers: tuple[int, int | None]) -> str:
    """The text that ``as_range`` reads back."""
    return f"{numbers[0]}:" if numbers[1] is None else f"{numbers[0]}:{numbers[1]}"


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LAST
