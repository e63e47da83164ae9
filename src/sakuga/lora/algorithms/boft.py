"""BOFT: the weight turned by a butterfly, several block-diagonal rotations with an exchange of rows before each.

Refuses more stages than the side has halvings. Source: Liu et al., "Parameter-Efficient Orthogonal Finetuning via
Butterfly Factorization" (2024); LyCORIS turns the rows, PEFT the columns, each with an exchange of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.layers import of_output, output_with, weight_of
from sakuga.lora.algorithms.oft import Side, rescaled
from sakuga.lora.algorithms.oft_dialects import norm_limit, vector_of
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows, Shape
from sakuga.lora.algorithms.rows import check_rows, taken
from sakuga.lora.algorithms.turns import Turn, turned

MAIN = ("oft_blocks", "oft_diag", "boft_R")


@dataclass(frozen=True, kw_only=True, eq=False)
class Boft:
    """``blocks`` [stages, count, size, size], read by ``turn``; the others as in Oft. "rows" is LyCORIS' butterfly,
    "columns" PEFT's.

    Raises AdapterDoesNotFit for blocks that no butterfly has.
    """

    blocks: Tensor
    turn: Turn
    side: Side
    rescale: Tensor | None = None
    needs_base: ClassVar[bool] = True
    rank: ClassVar[None] = None

    def __post_init__(self) -> None:
        shape = tuple(self.blocks.shape)
        if len(shape) != 4 or not self.turn.size(self.blocks) or 0 in shape:
            raise AdapterDoesNotFit(f"blocks of {list(shape)} are not those of a butterfly")
        stages, count, size = shape[:3]
        if (size % 2 and (stages > 1 or self.side == "rows")) or count % 2 ** (stages - 1):
            raise AdapterDoesNotFit(f"{count} blocks of {size} rows have no butterfly of {stages} stages")

    @property
    def length(self) -> int:
        """How many rows or columns are turned."""
        return self.blocks.shape[1] * self.blocks.shape[2]

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a weight of this shape cannot be changed."""
        length = shape[0] if self.side == "rows" else math.prod(shape[1:])
        if len(shape) < 2 or length != self.length:
            return f"its weight is {list(shape)}, the adapter turns {self.length} {self.side}"
        if self.rescale is not None and len(self.rescale) != shape[0]:
            return f"its weight is {list(shape)}, the adapter scales {len(self.rescale)} rows"
        return None

    def remarks(self) -> tuple[str, ...]:
        """None."""
        return ()

    def delta(self, base: Tensor) -> Tensor:
        """The weight through all stages, minus the weight."""
        weight = base.float()
        flat = weight.flatten(1)
        difference = self._difference(flat.T).T if self.side == "rows" else self._difference(flat)
        return rescaled(difference.reshape(base.shape), weight, self.rescale, 0)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The layer's output turned; for columns, the change as one weight."""
        if self.side == "rows":
            return of_output(x, layer, lambda y: rescaled(self._difference(y), y, self.rescale, -1))
        return output_with(x, layer, self.delta(weight_of(layer)))

    def factors(self) -> None:
        """None: a rotation is not of low rank."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Turned columns are those of every row; turned rows cannot be taken apart. Raises AdapterDoesNotFit."""
        if self.side == "rows":
            raise AdapterDoesNotFit("its butterfly exchanges the rows of the whole fused weight")
        check_rows(take, total)
        return self if self.rescale is None else replace(self, rescale=taken(self.rescale, take, total))

    def _difference(self, features: Tensor) -> Tensor:
        """What the last dimension of ``features`` gains through all stages."""
        size = self.blocks.shape[-1]
        changes = self.turn.change(self.blocks.to(features.device))
        order = _order_of_rows if self.side == "rows" else _order_of_columns
        gained = torch.zeros_like(features)
        for stage, change in enumerate(changes):
            there = order(self.length, size, stage).to(features.device)
            gained = gained + turned(change, (features + gained)[..., there])[..., there.argsort()]
        return gained


def _order_of_rows(length: int, size: int, stage: int) -> Tensor:
    """LyCORIS: the two halves of every stretch of size · 2^stage, one from each in turn."""
    return torch.arange(length).reshape(-1, 2, size * 2**stage // 2).mT.flatten()


def _order_of_columns(length: int, size: int, stage: int) -> Tensor:
    """PEFT: the way back of putting a stretch's even half-blocks before its odd ones."""
    if stage == 0:
        return torch.arange(length)
    return torch.arange(length).reshape(-1, 2**stage, 2, size // 2).transpose(1, 2).flatten().argsort()


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> Boft:
    (main,) = (leaf for leaf in MAIN if leaf in tensors)
    blocks, peft = tensors[main], main == "boft_R"
    wrong = set(tensors) - {main, "boft_s" if peft else "rescale"}
    if wrong:
        raise AdapterDoesNotFit(f"BOFT with {main} and {', '.join(sorted(wrong))}")
    if peft:
        scale = vector_of(tensors.get("boft_s"), "boft_s", second=True)
        return Boft(blocks=blocks, turn=Turn(factor=0.5, back=True), side="columns", rescale=scale)
    scale = vector_of(tensors.get("rescale"), "rescale")
    if main == "oft_diag":
        return Boft(blocks=blocks, turn=Turn(stored="rotation"), side="rows", rescale=scale)
    limit = norm_limit(facts.alpha, blocks.shape[1] * blocks.shape[2], "")
    return Boft(blocks=blocks, turn=Turn(limit=limit), side="rows", rescale=scale)


def _is_boft(shapes: Mapping[str, Shape]) -> bool:
    found = [leaf for leaf in MAIN if leaf in shapes]
    return len(found) == 1 and len(shapes[found[0]]) == 4


KIND = Kind(
    name="BOFT",
    needed=tuple(frozenset({leaf}) for leaf in MAIN),
    optional=frozenset({"rescale", "boft_s"}),
    read=_read,
    silent_at_zero=False,
    accepts=_is_boft,
)
