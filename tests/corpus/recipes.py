"""Recipes: which leaves of which shapes each algorithm stores for a weight of a given shape, and its name in words.

Written down by hand and not asked of the engine: what it says of a generated file is compared with this. ``down``,
``up``, ``mid`` and ``up_bias`` are spelt by the layout, all other leaves are the file's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Shape = tuple[int, ...]
Leaves = dict[str, Shape]
Make = Callable[[Shape, int], Leaves]
Suits = Callable[[Shape], bool]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """``called``: the algorithm's name in words. ``spelt``: in whose files it is found, "lycoris", "peft" or "both".

    ``alpha``: what it is to all that is stored: a "scale" (0: without effect), a "limit" of a norm, or "nothing".
    ``whole``: leaves of whole numbers → their format; ``numbers``: leaves that are one number → the number.
    """

    called: str
    make: Make
    suits: Suits
    spelt: Literal["lycoris", "peft", "both"] = "lycoris"
    alpha: Literal["scale", "limit", "nothing"] = "scale"
    whole: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


def _matrix(shape: Shape) -> bool:
    return len(shape) == 2


def _layer(shape: Shape) -> bool:
    return len(shape) > 1


def _kernel(shape: Shape) -> bool:
    return len(shape) > 2 and math.prod(shape[2:]) > 1


def _norm(shape: Shape) -> bool:
    return len(shape) == 1


def _quarters(shape: Shape) -> bool:
    """Whether both sides are made of blocks of 4."""
    return _layer(shape) and shape[0] % 8 == 0 and shape[1] % 8 == 0


def _pointwise(shape: Shape) -> bool:
    return _quarters(shape) and not _kernel(shape)


def _ones(shape: Shape) -> Shape:
    """The kernel of a 1x1 convolution of as many dimensions; nothing for a Linear."""
    return (1,) * (len(shape) - 2)


def _lora(shape: Shape, rank: int) -> Leaves:
    return {"down": (rank, *shape[1:]), "up": (shape[0], rank, *_ones(shape))}


def _tucker(shape: Shape, rank: int) -> Leaves:
    ones = _ones(shape)
    return {"down": (rank, shape[1], *ones), "mid": (rank, rank, *shape[2:]), "up": (shape[0], rank, *ones)}


def _twice(names: str, rows: Shape, columns: Shape) -> Leaves:
    return {f"{names}{n}_{side}": size for n in (1, 2) for side, size in (("a", rows), ("b", columns))}


def _loha(shape: Shape, rank: int) -> Leaves:
    return _twice("hada_w", (shape[0], rank), (rank, math.prod(shape[1:])))


def _loha_core(shape: Shape, rank: int) -> Leaves:
    core = (rank, rank, *shape[2:])
    return {**_twice("hada_w", (rank, shape[0]), (rank, shape[1])), "hada_t1": core, "hada_t2": core}


def _lokr(shape: Shape, rank: int) -> Leaves:
    return {"lokr_w1": (2, 2), "lokr_w2": (shape[0] // 2, shape[1] // 2, *shape[2:])}


def _lokr_both(shape: Shape, rank: int) -> Leaves:
    side = math.gcd(*shape[:2], 16)
    second = {"lokr_w2_a": (shape[0] // side, rank), "lokr_w2_b": (rank, shape[1] // side * math.prod(shape[2:]))}
    return {"lokr_w1_a": (side, rank), "lokr_w1_b": (rank, side), **second}


def _second(shape: Shape, rank: int) -> Leaves:
    return {"lokr_w2_a": (shape[0] // 2, rank), "lokr_w2_b": (rank, shape[1] // 2 * math.prod(shape[2:]))}


def _lokr_core(shape: Shape, rank: int) -> Leaves:
    sides = {"lokr_w2_a": (rank, shape[0] // 2), "lokr_w2_b": (rank, shape[1] // 2)}
    return {"lokr_w1": (2, 2), **sides, "lokr_t2": (rank, rank, *shape[2:])}


def _by_rows(shape: Shape) -> Shape:
    return (shape[0], 1, *_ones(shape))


def _by_columns(shape: Shape) -> Shape:
    return (1, shape[1], *_ones(shape))


def _peft_rows(shape: Shape) -> Shape:
    return (1, shape[0], *_ones(shape)) if len(shape) > 2 else (shape[0],)


def _with(make: Make, leaf: str, size: Callable[[Shape], Shape]) -> Make:
    return lambda shape, rank: {**make(shape, rank), leaf: size(shape)}


def _glora(shape: Shape, rank: int) -> Leaves:
    ones = _ones(shape)
    first = {"a1.weight": (shape[1], rank, *ones), "a2.weight": (rank, shape[1], *ones)}
    return {**first, "b1.weight": (shape[0], rank, *ones), "b2.weight": (rank, *shape[1:])}


def _old_glora(shape: Shape, rank: int) -> Leaves:
    first = {"a1.weight": (rank, shape[1]), "a2.weight": (shape[1], rank)}
    return {**first, "b1.weight": (rank, shape[1]), "b2.weight": (shape[0], rank)}


def _sparse(shape: Shape, rank: int) -> Leaves:
    return {**_lora(shape, rank), "bias_indices": (2, 3), "bias_values": (3,), "bias_size": (2,)}


def _tlora(shape: Shape, rank: int) -> Leaves:
    return {"q_layer.weight": (rank, shape[1]), "p_layer.weight": (shape[0], rank), "lambda_layer": (1, rank)}


INDICES = {"bias_indices": "I16", "bias_size": "I16"}
both, limit, nothing = {"spelt": "both"}, {"alpha": "limit"}, {"alpha": "nothing"}
peft = {"spelt": "peft"}


def _row(called: str, make: Make, suits: Suits = _layer, **more: object) -> Recipe:
    return Recipe(called=called, make=make, suits=suits, **more)  # type: ignore[arg-type]


RECIPES: Mapping[str, Recipe] = {
    "lora": _row("LoRA", _lora, **both),
    "lora with a bias": _row("LoRA + bias of a LoRA", _with(_lora, "up_bias", lambda s: s[:1]), **peft),
    "lora and diff_b": _row("LoRA + difference of biases", _with(_lora, "diff_b", lambda s: s[:1]), **nothing),
    "tucker": _row("LoCon with a Tucker core", _tucker, _kernel),
    "sparse residual": _row("LoRA + sparse residual", _sparse, whole=INDICES, **nothing),
    "loha": _row("LoHa", _loha, **both),
    "loha core": _row("LoHa", _loha_core, _kernel, **both),
    "lokr": _row("LoKr", _lokr, alpha="nothing", **both),
    "lokr pair": _row("LoKr", lambda s, r: {"lokr_w1": (2, 2), **_second(s, r)}, **both),
    "lokr two pairs": _row("LoKr", _lokr_both, **both),
    "lokr core": _row("LoKr", _lokr_core, _kernel, **both),
    "dora rows": _row("DoRA", _with(_lora, "dora_scale", _by_rows), **nothing),
    "dora columns": _row("DoRA", _with(_lora, "dora_scale", _by_columns), **nothing),
    "dora peft": _row("DoRA", _with(_lora, "lora_magnitude_vector", _peft_rows), **peft, **nothing),
    "doha": _row("DoHa", _with(_loha, "dora_scale", _by_rows), **nothing),
    "dokr": _row("DoKr", _with(_lokr, "dora_scale", _by_rows), **nothing),
    "full": _row("Full (difference of weights)", lambda s, r: {"diff": s}, **nothing),
    "full with a bias": _row(
        "Full (difference of weights) + difference of biases", lambda s, r: {"diff": s, "diff_b": s[:1]}, **nothing
    ),
    "norm": _row(
        "Norm (difference of norms) + difference of biases", lambda s, r: {"w_norm": s, "b_norm": s}, _norm, **nothing
    ),
    "replacement": _row("replacement of weights", lambda s, r: {"set_weight": s}, **nothing),
    "glora": _row("GLoRA", _glora),
    "glora old": _row("GLoRA", _old_glora, _matrix),
    "oft": _row("OFT", lambda s, r: {"oft_blocks": (s[0] // 4, 4, 4)}, _quarters, **limit),
    "oft rescale": _row(
        "OFT", lambda s, r: {"oft_blocks": (s[0] // 4, 4, 4), "rescale": _by_rows(s)}, _quarters, **limit
    ),
    "oft triangle": _row("OFT", lambda s, r: {"oft_R.weight": (s[1] // 4, 6)}, _pointwise, **peft, **nothing),
    "boft": _row("BOFT", lambda s, r: {"oft_blocks": (2, s[0] // 4, 4, 4)}, _quarters, **limit),
    "boft peft": _row(
        "BOFT", lambda s, r: {"boft_R": (1, s[1] // 4, 4, 4), "boft_s": (s[0], 1)}, _pointwise, **peft, **nothing
    ),
    "ia3 rows": _row("IA3", lambda s, r: {"weight": s[:1]}, _matrix, numbers={"on_input": 0.0}, **nothing),
    "ia3 columns": _row("IA3", lambda s, r: {"weight": s[1:2]}, _matrix, numbers={"on_input": 1.0}, **nothing),
    "ia3 peft": _row("IA3 + IA3 of the bias", lambda s, r: {"ia3_l": (s[0], 1)}, _matrix, **peft, **nothing),
    "ia3 peft columns": _row("IA3", lambda s, r: {"ia3_l": (1, s[1])}, _matrix, **peft, **nothing),
    "t-lora": _row("T-LoRA", _tlora, _matrix),
}
