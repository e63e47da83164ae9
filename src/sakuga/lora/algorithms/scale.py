"""Scale: the one number before a product of factors, and the limits of its rank. Shapes and plain numbers only.

alpha / r is the rule; what says the scale in another way (A1111's ``scale`` leaf, the ``scalar`` that LyCORIS trains
with) is turned into the alpha that gives it, so that a record needs only alpha.
"""

from __future__ import annotations

import math

from sakuga.lora.algorithms.record import Facts, Shape

HUGE_SCALE = 1e4  # above this |alpha / r| is legal but almost surely a broken file
RANK_CAP = 4  # a rank above this many times the smaller side, and above the larger, is refused: it would be a bomb
SCALE_LEAVES = frozenset({"alpha", "scale", "scalar"})


def alpha_of(facts: Facts, rank: int) -> float | None:
    """The alpha that gives the module's scale when it is divided by ``rank``; None: the scale is 1."""
    stated, times = facts.options.get("scale"), float(facts.options.get("scalar", 1.0))
    alpha = facts.alpha if stated is None else float(stated) * rank
    if times == 1.0:
        return alpha
    return (rank if alpha is None else alpha) * times


def scale_of(alpha: float | None, rank: int) -> float:
    """alpha / rank; 1 when there is no alpha."""
    return 1.0 if alpha is None else alpha / rank


def scale_remarks(alpha: float | None, scale: float) -> tuple[str, ...]:
    """What is legal but odd about a scale and the alpha that it comes from."""
    found = (
        (scale < 0, f"alpha is negative ({alpha}): the effect is mirrored"),
        (abs(scale) > HUGE_SCALE, f"alpha / rank is {scale:g}, which is hardly meant"),
    )
    return tuple(text for true, text in found if true)


def alpha_problem(alpha: float | None) -> str | None:
    """Why this is no alpha, or None."""
    return f"alpha is {alpha}" if alpha is not None and not math.isfinite(alpha) else None


def rank_problem(rank: int, rows: int, columns: int) -> str | None:
    """Why nobody trains this rank for a product of this size, or None. Looked at before a product is made."""
    small, large = sorted((rows, columns))
    if rank > max(RANK_CAP * small, large):
        return f"rank {rank} is more than {RANK_CAP} times the smaller side of the weight and above the larger one"
    return None


def rank_remarks(rank: int, rows: int, columns: int) -> tuple[str, ...]:
    """A rank that holds no more than a smaller one would."""
    side = min(rows, columns)
    return (f"rank {rank} is above the smaller side of the weight, {side}",) if rank > side else ()


def squeezed(shape: Shape) -> Shape:
    """``shape`` without the kernel when that is 1x1, so that [o, i, 1, 1] equals [o, i]."""
    return shape[:2] if all(size == 1 for size in shape[2:]) else shape


def shape_misfit(shape: Shape, own: Shape) -> str | None:
    """Why a change of shape ``own`` is none of ``shape``, or None. A 1x1 kernel and a Linear stand for each other."""
    if len(shape) == len(own) == 1 and shape == own:
        return None
    if min(len(shape), len(own)) >= 2 and squeezed(shape) == squeezed(own):
        return None
    return f"its weight is {list(shape)}, the adapter's change is {list(own)}"
