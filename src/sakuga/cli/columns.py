"""Columns of a terminal: text cut or folded to a width, where a letter of the East may take two. Knows no command."""

from __future__ import annotations

import shutil
import textwrap
import unicodedata

NARROWEST, WIDEST = 40, 120
_WIDE = ("W", "F")


def width(text: str) -> int:
    """How many columns the text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(letter) in _WIDE else 1 for letter in text)


def cell(text: str, columns: int) -> str:
    """The text in exactly so many columns, cut with a sign or filled up.

    >>> cell("watercolour", 6), cell("ink", 6)
    ('water…', 'ink   ')
    """
    if text.isascii():
        return text.ljust(columns) if len(text) <= columns else text[: columns - 1] + "…"
    if width(text) > columns:
        while width(text) > columns - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (columns - width(text))


def folded(text: str, columns: int, first: str = "", rest: str = "") -> list[str]:
    """The text in lines of so many columns, the first behind ``first``, others behind ``rest``. Nothing is cut: a word
    or a path that is longer than a line stands whole on one of its own.
    """
    return textwrap.wrap(
        text,
        columns,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def terminal() -> int:
    """The columns of the terminal, which counts as at least 40 wide and at most 120."""
    return min(max(NARROWEST, shutil.get_terminal_size((100, 24)).columns), WIDEST)


def printable(text: str) -> str:
    """The text without what would move the cursor of a terminal: a question mark stands for it."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)
