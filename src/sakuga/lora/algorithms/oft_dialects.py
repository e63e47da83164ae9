"""The dialects of OFT: one family of keys, eight readings. Leaves and layout tell them apart, here and nowhere else.

| leaves | written by | M (Q skew, C the Cayley map) | side |
|---|---|---|---|
| oft_blocks, alpha | kohya | C(−Q), ‖Q‖ ≤ alpha · out; alpha 0: nothing | rows |
| oft_blocks.N, alpha | kohya for Flux | the same for each slice of the rows | rows |
| oft_blocks, alpha, rescale | LyCORIS | C(−Q), ‖Q‖ ≤ alpha · out; alpha 0: no limit | rows |
| oft_diag, rescale | LyCORIS before 2024-02 | Rᵀ, stored itself or without the identity | rows |
| oft_r | PEFT up to 0.13 | C(Q / 2) | rows |
| oft_r, oft_s | PEFT 0.14 and 0.15 | C(Q / 2), then the rows scaled | columns |
| oft_R | PEFT | a series for C(−Q), or C(Q): its config says which | columns |
| oft_R, scaled_oft | OneTrainer | the series for C(−Q), of C(Q) on convolutions | columns |
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.oft import Oft, OftParts
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Shape
from sakuga.lora.algorithms.turns import Turn

# leaf that decides → how many dimensions it has
MAIN = {"oft_blocks": 3, "oft_blocks.0": 3, "oft_diag": 3, "oft_r": 3, "oft_R": 2}
SLICES = tuple(f"oft_blocks.{number}" for number in range(4))
TERMS = 5  # of the series where no config says a number
BOUND = 6e-5  # PEFT's eps where its config bounds the blocks and says no number


def vector_of(scale: Tensor | None, name: str, *, second: bool = False) -> Tensor | None:
    """[out, 1 …] as [out]; [1, out] too where ``second``. Raises AdapterDoesNotFit for any other shape."""
    if scale is None:
        return None
    shape = tuple(scale.shape)
    if not shape or scale.numel() != (shape[1] if second and len(shape) == 2 and shape[0] == 1 else shape[0]):
        raise AdapterDoesNotFit(f"{name} is {list(shape)}, not one number for each row")
    return scale.reshape(-1)


def norm_limit(alpha: float | None, rows: int, dialect: str) -> float | None:
    """The greatest norm of Q that alpha allows: it is no scale. None: no limit.

    Raises AdapterDoesNotFit when alpha is no limit at all.
    """
    if alpha is None:
        return None
    if not math.isfinite(alpha) or (dialect == "kohya" and alpha < 0):
        raise AdapterDoesNotFit(f"alpha is {alpha}, which limits no norm")
    return alpha * rows if alpha > 0 or dialect == "kohya" else None


def block_bound(facts: Facts) -> float | None:
    """PEFT's COFT: the bound of each block that its config states."""
    return float(facts.options.get("eps", BOUND)) if facts.options.get("coft") else None


def _blocks(blocks: Tensor, rescale: Tensor | None, facts: Facts, dialect: str) -> Oft:
    """kohya and LyCORIS."""
    rows = blocks.shape[0] * blocks.shape[-1]
    silent = dialect == "kohya" and facts.alpha == 0
    return Oft(
        blocks=blocks,
        turn=Turn(back=True, limit=norm_limit(facts.alpha, rows, dialect)),
        side="rows",
        rescale=vector_of(rescale, "rescale"),
        notes=("alpha is 0, which kohya's OFT takes as no rotation at all",) if silent else (),
    )


def _slices(tensors: Mapping[str, Tensor], facts: Facts) -> Algorithm:
    given = [leaf for leaf in SLICES if leaf in tensors]
    if given != list(SLICES[: len(given)]):
        raise AdapterDoesNotFit(f"its slices are {', '.join(given)}: one is missing")
    return OftParts(parts=tuple(_blocks(tensors[leaf], None, facts, "kohya") for leaf in given))


def _old_peft(tensors: Mapping[str, Tensor], facts: Facts) -> Oft:
    scale = vector_of(tensors.get("oft_s"), "oft_s", second=True)
    turn = Turn(factor=0.5, block_limit=block_bound(facts))
    if scale is None:
        return Oft(blocks=tensors["oft_r"], turn=turn, side="rows", shared=True, overhang=True)
    return Oft(blocks=tensors["oft_r"], turn=turn, side="columns", rescale=scale, shared=True)


def _triangle(blocks: Tensor, facts: Facts) -> Oft:
    """PEFT and OneTrainer."""
    if facts.dialect == "peft":
        series = bool(facts.options.get("use_cayley_neumann", True))
        terms = int(facts.options.get("num_cayley_neumann_terms", TERMS)) if series else None
        told = "use_cayley_neumann" in facts.options
        return Oft(
            blocks=blocks,
            turn=Turn(stored="triangle", back=series, terms=terms, block_limit=block_bound(facts)),
            side="columns",
            shared=True,
            kernels=False,
            notes=() if told else ("no config says which way its rotations turn: PEFT's default is taken",),
        )
    size = Turn(stored="triangle").size(blocks) or 2
    factor = 0.5 / math.sqrt(size - 1) if facts.options.get("scaled_oft") else 1.0
    ways = [Turn(stored="triangle", factor=factor, terms=TERMS, back=back) for back in (True, False)]
    return Oft(blocks=blocks, turn=ways[0], kernel_turn=ways[1], side="columns", shared=True)


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> Algorithm:
    (main,) = (leaf for leaf in MAIN if leaf in tensors)
    beside = set(tensors) - {"oft_blocks": {"rescale"}, "oft_diag": {"rescale"}, "oft_r": {"oft_s"}}.get(main, set())
    if main == "oft_blocks.0":
        beside -= set(SLICES)
    if beside - {main}:
        raise AdapterDoesNotFit(f"OFT with {main} and {', '.join(sorted(beside - {main}))}")
    if main == "oft_R":
        return _triangle(tensors[main], facts)
    if main == "oft_r":
        return _old_peft(tensors, facts)
    if main == "oft_diag":
        rescale = vector_of(tensors.get("rescale"), "rescale")
        return Oft(blocks=tensors[main], turn=Turn(stored="rotation", back=True), side="rows", rescale=rescale)
    if main == "oft_blocks":
        return _blocks(tensors[main], tensors.get("rescale"), facts, facts.dialect)
    return _slices(tensors, facts)


def _is_oft(shapes: Mapping[str, Shape]) -> bool:
    found = [leaf for leaf in MAIN if leaf in shapes]
    return len(found) == 1 and len(shapes[found[0]]) == MAIN[found[0]]


KIND = Kind(
    name="OFT",
    needed=tuple(frozenset({leaf}) for leaf in MAIN),
    optional=frozenset({"rescale", "oft_s", *SLICES[1:]}),
    scalars=frozenset({"alpha", "scaled_oft"}),
    read=_read,
    silent_at_zero=False,
    accepts=_is_oft,
)
