"""GLoRA: ΔW = (alpha / r) · (W · A + B), A and B each of low rank; A acts on the weight's input channels.

LyCORIS 1 stored the four factors the other way round; the shapes tell which. Source: Chavan et al., "One-for-All:
Generalized LoRA for Parameter-Efficient Fine-tuning" (2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.layers import of_input, output_with, weight_of
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows
from sakuga.lora.algorithms.rows import taken
from sakuga.lora.algorithms.scale import SCALE_LEAVES, alpha_of, shape_misfit

OLD = ("a2", "a1", "b2", "b1")  # LyCORIS 1: leaf of first, second, up, down
NEW = ("a1", "a2", "b1", "b2")


@dataclass(frozen=True, kw_only=True, eq=False)
class Glora:
    """``first`` [in, r] and ``second`` [r, in] are A; ``added`` is B, whose scale is that of the whole.

    Raises AdapterDoesNotFit when they do not meet.
    """

    first: Tensor
    second: Tensor
    added: Lora
    notes: tuple[str, ...] = ()
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        first, second = tuple(self.first.shape), tuple(self.second.shape)
        square = all(size == 1 for size in (*first[2:], *second[2:]))
        if min(len(first), len(second)) < 2 or not square or first[:2] != (second[1], second[0]):
            raise AdapterDoesNotFit(f"{list(first)} and {list(second)} are not the two factors of a GLoRA")
        if second[0] != self.rank or second[1] != self.added.down.shape[1]:
            raise AdapterDoesNotFit(f"the two halves do not meet: {list(second)} and {list(self.added.down.shape)}")

    @property
    def rank(self) -> int:
        """The rank of each half."""
        return self.added.rank

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a weight of this shape cannot be changed."""
        return shape_misfit(shape, (self.added.up.shape[0], *self.added.down.shape[1:]))

    def remarks(self) -> tuple[str, ...]:
        """Those about the scale, and a reading that the shapes do not tell."""
        return (*self.notes, *self.added.remarks())

    def delta(self, base: Tensor) -> Tensor:
        """scale · (W · first · second + up · down)."""
        weight = base.float().movedim(1, -1)
        through = F.linear(F.linear(weight, self._thin(self.first, base).T), self._thin(self.second, base).T)
        return self.added.delta(base) + self.added.scale * through.movedim(-1, 1)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The layer on its input through A, and B beside it."""
        if getattr(layer, "groups", 1) != 1:
            return output_with(x, layer, self.delta(weight_of(layer)))

        def through(features: Tensor) -> Tensor:
            thin = F.linear(features, (self._thin(self.second, x) * self.added.scale).to(x.dtype))
            return F.linear(thin, self._thin(self.first, x).to(x.dtype))

        return of_input(x, layer, through) + self.added.beside(x, layer)

    def factors(self) -> None:
        """None: half of the change lies in the weight."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """A acts on every row alike; B's rows are those of its up."""
        return replace(self, added=replace(self.added, up=taken(self.added.up, take, total)))

    @staticmethod
    def _thin(factor: Tensor, like: Tensor) -> Tensor:
        return factor.to(like.device, torch.float32).flatten(1)


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> Glora:
    old = _is_old(tensors, facts)
    first, second, up, down = (tensors[leaf] for leaf in (OLD if old else NEW))
    guessed = "its factors are square, so nothing tells an old GLoRA from a new one: the new order is taken"
    return Glora(
        first=first,
        second=second,
        added=Lora(up=up, down=down, alpha=alpha_of(facts, down.shape[0])),
        notes=(guessed,) if old is None else (),
    )


def _is_old(tensors: Mapping[str, Tensor], facts: Facts) -> bool | None:
    """New: a1 [in, r], b1 [out, r], b2 [r, in]. Old: a1 [r, in], b1 [r, in], b2 [out, r]. None: nothing tells.

    Of a square weight both readings agree with themselves; then the smaller side of a1 is the rank.
    """
    if "old_glora" in facts.options:
        return bool(facts.options["old_glora"])
    a1, b1, b2 = (tuple(tensors[leaf].shape[:2]) for leaf in ("a1", "b1", "b2"))
    if min(len(a1), len(b1), len(b2)) < 2:
        raise AdapterDoesNotFit("its factors are not four matrices")
    old, new = b1 == a1 and b2[1] == a1[0], b1[1] == a1[1] and b2 == a1[::-1]
    if old and new:
        return None if a1[0] == a1[1] else a1[0] < a1[1]
    return old


KIND = Kind(
    name="GLoRA",
    needed=(frozenset(NEW),),
    scalars=SCALE_LEAVES,
    read=_read,
)
