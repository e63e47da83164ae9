"""Bias: a change of a layer's bias: its difference (``diff_b``, ``b_norm``), or the bias that PEFT trains on the up
factor of a LoRA, which is scaled as the LoRA is. Refuses any other size than the bias's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import per_channel
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows, Shape
from sakuga.lora.algorithms.rows import taken
from sakuga.lora.algorithms.scale import SCALE_LEAVES, alpha_of, scale_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Bias:
    """``scale`` · ``values``, one number for each output. Raises AdapterDoesNotFit when it is no such list."""

    values: Tensor
    scale: float = 1.0
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or 0 in self.values.shape:
            raise AdapterDoesNotFit(
                f"its change of the bias is {list(self.values.shape)}, not one number for an output"
            )

    @property
    def rank(self) -> None:
        """None: a list has none."""

    def misfit(self, shape: Shape) -> str | None:
        """Why a bias of this shape cannot be changed."""
        own = tuple(self.values.shape)
        return None if tuple(shape) == own else f"its bias is {list(shape)}, the adapter's change is {list(own)}"

    def remarks(self) -> tuple[str, ...]:
        """Nothing: a scale is its LoRA's, which speaks of it."""
        return ()

    def delta(self, base: Tensor) -> Tensor:
        """What the bias gains, in fp32."""
        return self._scaled(self.values.device if base.is_meta else base.device)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """One number for each channel of the output, in as many dimensions as the output has."""
        return per_channel(self._scaled(x.device), x, layer)

    def factors(self) -> None:
        """None: a bias is not a product."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Some of the outputs."""
        return replace(self, values=taken(self.values, take, total))

    def _scaled(self, device: torch.device) -> Tensor:
        return self.values.to(device, torch.float32) * self.scale


def _read(tensors: Mapping[str, Tensor], _facts: Facts) -> Bias:
    (values,) = tensors.values()
    return Bias(values=values)


def _read_up(tensors: Mapping[str, Tensor], facts: Facts) -> Bias:
    rank = max(tensors["down"].shape[:1], default=1) or 1
    return Bias(values=tensors["up_bias"], scale=scale_of(alpha_of(facts, rank), rank))


KIND = Kind(
    name="difference of biases",
    needed=(frozenset({"diff_b"}), frozenset({"b_norm"})),
    read=_read,
    parameter="bias",
    silent_at_zero=False,
)
OF_LORA = Kind(
    name="bias of a LoRA",
    needed=(frozenset({"up_bias"}),),
    also=frozenset({"down"}),
    read=_read_up,
    scalars=SCALE_LEAVES,
    parameter="bias",
)
