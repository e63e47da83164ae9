"""Reasons: many refusals as a few words, each reason once with how many names it is about and the first of them."""

from __future__ import annotations

from collections.abc import Iterable

from sakuga.errors import counted

REASONS = 3
ALL, SOME = 3, 2  # names of a reason: so many are all listed, and so many of more than that


def by_reason(refused: Iterable[tuple[str, str]], noun: str = "module", reasons: int = REASONS) -> list[str]:
    """Phrases for (name, reason), the reason of most names first; what is beyond ``reasons`` is counted.

    >>> by_reason([("a", "it is twice there"), ("b", "its rank is 0"), ("c", "its rank is 0")])
    ['its rank is 0: b, c', 'a: it is twice there']
    """
    names: dict[str, list[str]] = {}
    for name, reason in refused:
        names.setdefault(reason, []).append(name)
    ranked = sorted(names.items(), key=lambda pair: -len(pair[1]))
    lines = [_phrase(reason, found, noun) for reason, found in ranked[:reasons]]
    rest = ranked[reasons:]
    if rest:
        about = counted(sum(len(found) for _, found in rest), noun)
        lines.append(f"and {counted(len(rest), 'more reason')} for {about}")
    return lines


def _phrase(reason: str, names: list[str], noun: str) -> str:
    if len(names) == 1:
        return f"{names[0]}: {reason}"
    if len(names) <= ALL:
        return f"{reason}: {', '.join(names)}"
    return f"{reason}: {counted(len(names), noun)}, such as {', '.join(names[:SOME])}"
