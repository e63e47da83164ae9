"""LoRA on a Linear or a convolution (LoCon): a change of low rank, ΔW = (alpha / r) · up · down.

Refuses factors whose ranks do not meet and an alpha that is not finite. The rank always comes from the tensors.
Source of the formula: Hu et al., "LoRA" (2021); for convolutions as kohya's sd-scripts and LyCORIS apply it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.columns import Widening
from sakuga.lora.algorithms.dense import Conv, beside_dense
from sakuga.lora.algorithms.record import Algorithm, Factors, Facts, Kind, Rows, Shape
from sakuga.lora.algorithms.rows import taken
from sakuga.lora.algorithms.scale import (
    SCALE_LEAVES,
    alpha_of,
    alpha_problem,
    rank_problem,
    rank_remarks,
    scale_of,
    scale_remarks,
    shape_misfit,
)

RESHAPED = "reshape_weight"  # the shape that the weight is to have, in ComfyUI's files
WIDENS = "widens"  # the option of a module whose layout says that its layer is to take more inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Lora:
    """``up`` [out, r] or [out, r, 1 …]; ``down`` [r, in] or [r, in, *kernel]; ``alpha`` None: equal to the rank.

    An ``up`` of n · r columns is n ups side by side for the one ``down``: their sum. Raises AdapterDoesNotFit when the
    two do not meet.
    """

    up: Tensor
    down: Tensor
    alpha: float | None = None
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise AdapterDoesNotFit(problem)

    def _problem(self) -> str | None:
        up, down = tuple(self.up.shape), tuple(self.down.shape)
        if len(up) < 2 or len(down) < 2 or any(size != 1 for size in up[2:]) or 0 in up or 0 in down:
            return f"up {list(up)} and down {list(down)} are not the two factors of a LoRA"
        if up[1] % down[0]:
            return f"the ranks do not meet: up {list(up)}, down {list(down)}"
        return rank_problem(down[0], up[0], math.prod(down[1:])) or alpha_problem(self.alpha)

    @property
    def rank(self) -> int:
        """The rank, from the tensors."""
        return self.down.shape[0]

    @property
    def shape(self) -> Shape:
        """The shape of the change, [out, in, *kernel]."""
        return (self.up.shape[0], *self.down.shape[1:])

    @property
    def scale(self) -> float:
        """alpha / r; 1 when the file states no alpha."""
        return scale_of(self.alpha, self.rank)

    def misfit(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot be changed. A 1x1 convolution and a Linear stand for each other."""
        return shape_misfit(shape, self.shape)

    def remarks(self) -> tuple[str, ...]:
        """A negative or huge scale, a rank above the smaller side, several ups for one down."""
        count = self.up.shape[1] // self.rank
        several = (f"up holds {count} factors for one down, which are summed",) if count > 1 else ()
        ranks = rank_remarks(self.rank, self.up.shape[0], math.prod(self.down.shape[1:]))
        return (*scale_remarks(self.alpha, self.scale), *ranks, *several)

    def delta(self, base: Tensor) -> Tensor:
        """(alpha / r) · flat(up) @ flat(down) in the shape of ``base``, in fp32."""
        pair = self._pair(self.up.device if base.is_meta else base.device)
        return (pair.up @ pair.down_for(base.shape).flatten(1)).reshape(base.shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """down, then up, as two thin layers beside ``layer``, a Linear, a convolution or an embedding.

        Raises AdapterDoesNotFit for a layer of another kind.
        """
        pair = self._pair(x.device)
        if isinstance(layer, nn.Embedding):
            dtype = layer.weight.dtype
            return F.embedding(x, pair.up.to(dtype), layer.padding_idx) @ pair.down_for(layer.weight.shape).to(dtype)
        if not isinstance(layer, nn.Linear | Conv):
            raise AdapterDoesNotFit(f"LoRA cannot run beside {type(layer).__name__}")
        up, down = pair.up.to(x.dtype), pair.down_for(layer.weight.shape).to(x.dtype)
        if isinstance(layer, nn.Linear):
            return F.linear(F.linear(x, down), up)
        if layer.groups != 1:  # down would have to meet each group of channels by itself: the dense change is simpler
            return beside_dense(self.delta(layer.weight), x, layer)
        return mixed(layer._conv_forward(x, down, None), up, layer)

    def factors(self) -> Factors:
        """The pair, scale folded into ``down``."""
        return self._pair(self.up.device)

    def rows(self, take: Rows, total: int) -> Algorithm:
        """The same down with some rows of up."""
        return replace(self, up=taken(self.up, take, total))

    def _pair(self, device: torch.device) -> Factors:
        # In fp32 before anything is multiplied: fp16 factors of distilled adapters underflow otherwise.
        up = self.up.to(device, torch.float32).flatten(1)
        if up.shape[1] != self.rank:
            up = up.unflatten(1, (-1, self.rank)).sum(1)
        return Factors(up=up, down=self.down.to(device, torch.float32) * self.scale)


def mixed(x: Tensor, matrix: Tensor, layer: Conv) -> Tensor:
    """The channels of ``x``, which ``layer`` took or gave, through ``matrix`` [out, in]: a 1x1 convolution."""
    channel = -len(layer.kernel_size) - 1
    return F.linear(x.movedim(channel, -1), matrix).movedim(-1, channel)


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> Lora | Widening:
    up, down = tensors["up"], tensors["down"]
    alpha = alpha_of(facts, down.shape[0] if down.ndim else 1)
    if facts.options.get("fan_in_fan_out") and up.ndim == down.ndim == 2:  # the weight is stored as [in, out]
        up, down = down.T, up.T
    record = Lora(up=up, down=down, alpha=alpha)
    stated = tensors.get(RESHAPED)
    if stated is None and not facts.options.get(WIDENS):
        return record
    if stated is not None and tuple(stated.shape) != (len(record.shape),):
        raise AdapterDoesNotFit(f"{RESHAPED} is {list(stated.shape)} numbers, the change has {len(record.shape)} sizes")
    if stated is not None and not stated.is_meta and tuple(stated.tolist()) != record.shape:
        raise AdapterDoesNotFit(f"{RESHAPED} is {stated.tolist()}, the change is {list(record.shape)}")
    return Widening(inner=record, shape=record.shape)


KIND = Kind(
    name="LoRA",
    needed=(frozenset({"up", "down"}),),
    optional=frozenset({RESHAPED}),
    whole_numbers=frozenset({RESHAPED}),
    read=_read,
    scalars=SCALE_LEAVES,
    additive=True,
)
