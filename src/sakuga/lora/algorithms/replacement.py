"""Replacement: the new weight itself (``set_weight``) or the new bias (``set_bias``), so ΔW = W' − W. At a strength s
it is W + s · (W' − W), as for all that is not additive: 0 gives the weight back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import beside_dense, per_channel
from sakuga.lora.algorithms.layers import weight_of
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows, Shape
from sakuga.lora.algorithms.rows import taken
from sakuga.lora.algorithms.scale import shape_misfit


@dataclass(frozen=True, kw_only=True, eq=False)
class Replacement:
    """``weight`` in the shape of the weight that it replaces."""

    weight: Tensor
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.weight.ndim == 0 or 0 in self.weight.shape:
            raise AdapterDoesNotFit(f"its new weight is {list(self.weight.shape)}")

    @property
    def rank(self) -> None:
        """None: what is stored whole has none."""

    def misfit(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot be replaced. A 1x1 convolution and a Linear stand for each other."""
        return shape_misfit(shape, tuple(self.weight.shape))

    def remarks(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def delta(self, base: Tensor) -> Tensor:
        """W' − W, in fp32."""
        return self.weight.to(base.device, torch.float32).reshape(base.shape) - base.to(torch.float32)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The dense change beside ``layer``."""
        return beside_dense(self.delta(weight_of(layer)), x, layer)

    def factors(self) -> None:
        """None: it is no pair."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Some rows of the new weight."""
        return replace(self, weight=taken(self.weight, take, total))


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplacedBias(Replacement):
    """``weight`` is a new bias, one number for each output."""

    def misfit(self, shape: Shape) -> str | None:
        """Why a bias of this shape cannot be replaced."""
        own = tuple(self.weight.shape)
        return None if tuple(shape) == own else f"its bias is {list(shape)}, the adapter's is {list(own)}"

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The change of the bias, for every position of the output; the whole of it where there is none yet."""
        bias = layer.bias if isinstance(layer.bias, Tensor) else torch.zeros_like(self.weight, device=x.device)
        return per_channel(self.delta(bias), x, layer)


def _read(tensors: Mapping[str, Tensor], _facts: Facts) -> Replacement:
    return Replacement(weight=tensors["set_weight"])


def _read_bias(tensors: Mapping[str, Tensor], _facts: Facts) -> ReplacedBias:
    return ReplacedBias(weight=tensors["set_bias"])


KIND = Kind(name="replacement of weights", needed=(frozenset({"set_weight"}),), read=_read, silent_at_zero=False)
BIAS_KIND = Kind(
    name="replacement of biases",
    needed=(frozenset({"set_bias"}),),
    read=_read_bias,
    parameter="bias",
    silent_at_zero=False,
)
