"""PEFT's patterns for names of modules, matched by PEFT's rule but never run as the regular expressions that they may
be.

A pattern matches a dotted path whose end it is, at a dot. Read are plain names, with ``^`` and ``$``, with ``\\.`` for
a dot, ``\\d+`` for a number and ``(a|b)`` for one of some names; all else is refused: its cost cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

LENGTH_CAP = 512
COUNT_CAP = 64  # patterns that are more than plain names; those cost a look each for every module
_PLAIN = re.compile(r"[\w.-]+")
_BOUNDED = re.compile(r"(?:[\w-]|\.|\\\.|\\d\+?|\[0-9\]\+?|\((?:\?:)?[\w.-]+(?:\|[\w.-]+)*\))+")
_TOKENS = re.compile(r"\\d|\[0-9\]|\\?\.")


class UnknownPattern(ValueError):
    """A pattern that is not read; the text says it."""


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """Patterns with a value each; the first in the config's order that matches a path wins."""

    ends: Mapping[str, tuple[int, object]] = field(default_factory=dict)
    whole: Mapping[str, tuple[int, object]] = field(default_factory=dict)
    bounded: tuple[tuple[int, re.Pattern[str], object], ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, object]) -> Patterns:
        """Raises UnknownPattern for a pattern that is more than this reads, or for too many of them."""
        ends: dict[str, tuple[int, object]] = {}
        whole: dict[str, tuple[int, object]] = {}
        bounded: list[tuple[int, re.Pattern[str], object]] = []
        for order, (pattern, value) in enumerate(given.items()):
            bare = pattern.removesuffix("$")
            anchored, bare = bare.startswith("^"), bare.removeprefix("^")
            name = bare.replace("\\.", ".")
            if _PLAIN.fullmatch(name):
                (whole if anchored else ends).setdefault(name, (order, value))
            elif len(pattern) <= LENGTH_CAP and _BOUNDED.fullmatch(bare) and len(bounded) < COUNT_CAP:
                bounded.append((order, _compiled(bare, anchored=anchored), value))
            else:
                raise UnknownPattern(f"{pattern[:LENGTH_CAP]!r}, which is more than a plain name")
        return cls(ends=ends, whole=whole, bounded=tuple(bounded))

    def value(self, path: str) -> object | None:
        """The value of the first pattern that matches ``path``; None when none does."""
        found = [self.whole[path]] if path in self.whole else []
        if self.ends:
            found += [self.ends[end] for end in _ends(path) if end in self.ends]
        found += [(order, value) for order, pattern, value in self.bounded if pattern.fullmatch(path)]
        return min(found, key=lambda one: one[0])[1] if found else None


def _ends(path: str) -> Iterator[str]:
    """The path, and what is left of it after each dot."""
    yield path
    at = path.find(".")
    while at >= 0:
        yield path[at + 1 :]
        at = path.find(".", at + 1)


def _compiled(bare: str, *, anchored: bool) -> re.Pattern[str]:
    """An own expression that takes time in proportion to the path: numbers are possessive, dots are dots."""
    own = _TOKENS.sub(lambda found: r"\." if found[0].endswith(".") else "[0-9]", bare).replace("[0-9]+", "[0-9]++")
    return re.compile(own if anchored else rf"(?:.*\.)?(?:{own})")


def holds(names: Iterable[object], path: str) -> bool:
    """Whether one of these plain names is a run of parts of the path: ``head`` holds ``decoder.head.dense``."""
    inside = f".{path}."
    return any(isinstance(name, str) and name and f".{name}." in inside for name in names)
