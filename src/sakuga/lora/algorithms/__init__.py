"""The table of algorithms, and the choice of one for a group of leaves. A layout plays no part: leaves alone decide.

A group with one leaf too many or too few is refused whole. A module half applied is the fault this engine exists for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sakuga.lora.algorithms import lora
from sakuga.lora.algorithms.others import other_name
from sakuga.lora.algorithms.record import Algorithm, Factors, Kind

__all__ = ["ALGORITHMS", "Algorithm", "Choice", "Factors", "Kind", "choose"]

ALGORITHMS: tuple[Kind, ...] = (lora.KIND,)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """``kind`` None: refused for ``reason``. ``name`` is the algorithm's, also when refused; empty when unknown."""

    kind: Kind | None = None
    name: str
    reason: str = ""


def choose(leaves: Collection[str]) -> Choice:
    """The algorithm that reads all leaves of a group.

    >>> choose({"up", "down", "alpha"}).name
    'LoRA'
    >>> choose({"up", "down", "magnitude"}).reason
    'DoRA is not applied by this version'
    """
    given = frozenset(leaves)
    other = other_name(given)
    if other:
        return Choice(name=other, reason=f"{other} is not applied by this version")
    for kind in ALGORITHMS:
        if kind.needed <= given <= kind.needed | kind.optional:
            return Choice(kind=kind, name=kind.name)
    near = next((kind for kind in ALGORITHMS if kind.needed & given), None)
    if near is None:
        return Choice(name="", reason=f"no algorithm knows {', '.join(sorted(given))}")
    missing, extra = near.needed - given, given - near.needed - near.optional
    words = [f"without {', '.join(sorted(missing))}"] if missing else []
    words += [f"with {', '.join(sorted(extra))}, which it does not know"] if extra else []
    return Choice(name=near.name, reason=f"{near.name} {' and '.join(words)}")
