"""Full: the change itself, stored whole: the difference of a weight (``diff``) or of a norm's weight (``w_norm``).

Refuses any other shape than the weight's; nothing is padded or broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import beside_dense
from sakuga.lora.algorithms.layers import weight_of
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows, Shape
from sakuga.lora.algorithms.rows import taken
from sakuga.lora.algorithms.scale import shape_misfit


@dataclass(frozen=True, kw_only=True, eq=False)
class Full:
    """``diff`` in the shape of the weight. An alpha beside it means nothing, as it has no rank."""

    diff: Tensor
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.diff.ndim == 0 or 0 in self.diff.shape:
            raise AdapterDoesNotFit(f"its difference is {list(self.diff.shape)}")

    @property
    def rank(self) -> None:
        """None: what is stored whole has none."""

    def misfit(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot be changed. A 1x1 convolution and a Linear stand for each other."""
        return shape_misfit(shape, tuple(self.diff.shape))

    def remarks(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def delta(self, base: Tensor) -> Tensor:
        """The difference, as a copy in fp32."""
        device = self.diff.device if base.is_meta else base.device
        return self.diff.to(device, torch.float32, copy=True).reshape(base.shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The difference beside ``layer``."""
        return beside_dense(self.diff.to(x.device).reshape(weight_of(layer).shape), x, layer)

    def factors(self) -> None:
        """None: nothing says that its rank is low."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Some rows of the difference."""
        return replace(self, diff=taken(self.diff, take, total))


def _read(tensors: Mapping[str, Tensor], _facts: Facts) -> Full:
    (diff,) = tensors.values()
    return Full(diff=diff)


KIND = Kind(
    name="Full (difference of weights)",
    needed=(frozenset({"diff"}),),
    read=_read,
    additive=True,
    silent_at_zero=False,
)
NORM = Kind(
    name="Norm (difference of norms)",
    needed=(frozenset({"w_norm"}),),
    read=_read,
    silent_at_zero=False,
)
