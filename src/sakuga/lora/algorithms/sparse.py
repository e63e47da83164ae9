"""Sparse residual: single numbers of a weight that LyCORIS' extraction keeps beside a LoRA, as places and values.

A change of the *weight*, although its leaves are called ``bias_indices``, ``bias_values`` and ``bias_size``. Places
outside of the weight are refused; an int16 that ran over is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import beside_dense
from sakuga.lora.algorithms.layers import weight_of
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows, Shape
from sakuga.lora.algorithms.rows import TakenRows


@dataclass(frozen=True, kw_only=True, eq=False)
class Sparse:
    """``indices`` [2, n]: row and column in the weight as [out, in · kernel]; ``values`` [n]; ``size`` [2]: that shape.

    Values at one place are summed. Raises AdapterDoesNotFit when the three do not belong together.
    """

    indices: Tensor
    values: Tensor
    size: Tensor
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        indices, values, size = tuple(self.indices.shape), tuple(self.values.shape), tuple(self.size.shape)
        if len(values) != 1 or indices != (2, *values) or size != (2,):
            given = f"indices {list(indices)}, values {list(values)} and size {list(size)}"
            raise AdapterDoesNotFit(f"{given} are not a sparse residual")

    @property
    def rank(self) -> None:
        """None: what is scattered has none."""

    def misfit(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot be changed. Without values (on the meta device) only its kind is known."""
        if len(shape) < 2:
            return f"its weight is {list(shape)}, the adapter changes places of a matrix"
        own = [shape[0], math.prod(shape[1:])]
        if self.size.is_meta or self.indices.is_meta:
            return None
        if self.size.tolist() != own:
            return f"its weight is {own} as a matrix, the adapter's places are of {self.size.tolist()}"
        limits = torch.tensor(own, device=self.indices.device)[:, None]
        inside = (self.indices >= 0) & (self.indices < limits)
        return None if bool(inside.all()) else f"some of its places are outside of a matrix of {own}"

    def remarks(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def delta(self, base: Tensor) -> Tensor:
        """The values at their places, in fp32."""
        device = self.values.device if base.is_meta else base.device
        row, column = self.indices.to(device, torch.int64)
        flat = torch.zeros(base.numel(), dtype=torch.float32, device=device)
        places = row * math.prod(base.shape[1:]) + column
        return flat.index_add(0, places, self.values.to(device, torch.float32)).reshape(base.shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The dense change beside ``layer``."""
        return beside_dense(self.delta(weight_of(layer)), x, layer)

    def factors(self) -> None:
        """None: it is no pair."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """The dense change, cut."""
        return TakenRows(whole=self, take=take, total=total)


def _read(tensors: Mapping[str, Tensor], _facts: Facts) -> Sparse:
    return Sparse(indices=tensors["bias_indices"], values=tensors["bias_values"], size=tensors["bias_size"])


KIND = Kind(
    name="sparse residual",
    needed=(frozenset({"bias_indices", "bias_values", "bias_size"}),),
    whole_numbers=frozenset({"bias_indices", "bias_size"}),
    read=_read,
    additive=True,
    silent_at_zero=False,
)
