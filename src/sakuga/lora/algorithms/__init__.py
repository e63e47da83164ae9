"""The table of algorithms, and the choice among them for one module. Layouts play no part: leaves decide.

One module may have several parts (a LoRA on its weight and a difference of its bias). A leaf that no part explains
refuses the module whole: a module half applied is the fault this engine exists for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sakuga.lora.algorithms import (
    adalora,
    bias,
    boft,
    embedding,
    full,
    glora,
    ia3,
    loha,
    lokr,
    lora,
    oft_dialects,
    replacement,
    sparse,
    tlora,
    tucker,
)
from sakuga.lora.algorithms.dora import with_magnitude
from sakuga.lora.algorithms.others import other_name
from sakuga.lora.algorithms.record import NO_FACTS, Algorithm, Factors, Facts, Kind, Rows, Shape

__all__ = [
    "ALGORITHMS",
    "NO_FACTS",
    "SCALARS",
    "Algorithm",
    "Choice",
    "Factors",
    "Facts",
    "Kind",
    "Part",
    "Rows",
    "Shape",
    "choose",
]

# Read top to bottom; the first kind that explains a leaf takes it with all that belong to it.
ALGORITHMS: tuple[Kind, ...] = (
    *(with_magnitude(kind) for kind in (tucker.KIND, lora.KIND, loha.KIND, lokr.KIND, full.KIND)),
    adalora.KIND,
    tucker.KIND,
    lora.KIND,
    loha.KIND,
    lokr.KIND,
    embedding.KIND,
    sparse.KIND,
    full.KIND,
    full.NORM,
    bias.KIND,
    bias.OF_LORA,
    replacement.KIND,
    replacement.BIAS_KIND,
    glora.KIND,
    oft_dialects.KIND,
    boft.KIND,
    ia3.KIND,
    ia3.BIAS_KIND,
    tlora.KIND,
)
# Leaves that are one number (a tensor of one element, or a plain value in a pickle), read with the header.
SCALARS = frozenset({"alpha", "scale", "scalar", "on_input", "ranknum", "scaled_oft"})


@dataclass(frozen=True, kw_only=True)
class Part:
    """One change of one parameter of a module: its kind, and the leaves that the kind reads."""

    kind: Kind
    leaves: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """No ``parts``: refused for ``reason``. ``name`` is the algorithm's, also when refused; empty when unknown."""

    parts: tuple[Part, ...] = ()
    name: str
    reason: str = ""


def choose(shapes: Mapping[str, Shape]) -> Choice:
    """The parts that read all leaves of a module, given as leaf → shape.

    >>> choose({"up": (8, 4), "down": (4, 8), "alpha": ()}).name
    'LoRA'
    """
    given = frozenset(shapes)
    other = other_name(given)
    if other:
        return Choice(name=other, reason=f"{other} is not applied by this version")
    parts: list[Part] = []
    scalars, left = given & SCALARS, given - SCALARS
    for kind in ALGORITHMS:
        part = _part(kind, left, shapes)
        if part:
            parts.append(part)
            left -= part.leaves - kind.also
    name = " + ".join(part.kind.name for part in parts)
    unknown = scalars - frozenset().union(*(part.kind.scalars for part in parts))
    of_weight = [part.kind for part in parts if part.kind.parameter == "weight"]
    if len(of_weight) > 1 and not all(kind.additive for kind in of_weight):
        return Choice(name=name, reason=f"{name} on one weight, of which one looks at what the other changes")
    if parts and not left and not unknown:
        return Choice(parts=tuple(parts), name=name)
    return _refusal(parts, name, left | unknown)


def _part(kind: Kind, left: frozenset[str], shapes: Mapping[str, Shape]) -> Part | None:
    needed = next((needed for needed in kind.needed if needed <= left), None)
    if needed is None or not kind.also <= shapes.keys() or not kind.accepts(shapes):
        return None
    return Part(kind=kind, leaves=left & (needed | kind.optional) | kind.also)


def _refusal(parts: list[Part], name: str, left: frozenset[str]) -> Choice:
    words = ", ".join(sorted(left))
    if parts:
        return Choice(name=name, reason=f"{name} with {words}, which it does not know")
    # the kind of which most is there, and of those the one that lacks least
    near, needed = max(
        ((kind, needed) for kind in ALGORITHMS for needed in kind.needed),
        key=lambda pair: (len(pair[1] & left), -len(pair[1])),
    )
    if not needed & left:
        return Choice(name="", reason=f"no algorithm knows {words}")
    missing, extra = (needed | near.also) - left, left - needed - near.optional - SCALARS
    reasons = [f"without {', '.join(sorted(missing))}"] if missing else []
    reasons += [f"with {', '.join(sorted(extra))}, which it does not know"] if extra else []
    return Choice(name=near.name, reason=f"{near.name} {' and '.join(reasons) or 'in a form that it does not know'}")
