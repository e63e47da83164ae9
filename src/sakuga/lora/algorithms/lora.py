"""LoRA on a Linear or a convolution (LoCon): a change of low rank, ΔW = (alpha / r) · up · down.

Refuses factors whose ranks do not meet and an alpha that is not finite. The rank always comes from the tensors.
Source of the formula: Hu et al., "LoRA" (2021); for convolutions as kohya's sd-scripts and LyCORIS apply it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.record import Factors, Kind

HUGE_SCALE = 1e4  # above this |alpha / r| is legal but almost surely a broken file
RANK_CAP = 4  # a rank above this many times the smaller side is refused: it is no change of low rank


@dataclass(frozen=True, kw_only=True, eq=False)
class Lora:
    """``up`` [out, r] or [out, r, 1 …]; ``down`` [r, in] or [r, in, *kernel]; ``alpha`` None: equal to the rank.

    Raises AdapterDoesNotFit when the two do not meet.
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
        if up[1] != down[0]:
            return f"the ranks do not meet: up {list(up)}, down {list(down)}"
        if down[0] > RANK_CAP * min(up[0], math.prod(down[1:])):
            return f"rank {down[0]} is more than {RANK_CAP} times the smaller side of the weight"
        if self.alpha is not None and not math.isfinite(self.alpha):
            return f"alpha is {self.alpha}"
        return None

    @property
    def rank(self) -> int:
        """The rank, from the tensors."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """alpha / r; 1 when the file states no alpha."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a weight of this shape cannot be changed. A 1x1 convolution and a Linear stand for each other."""
        own = (self.up.shape[0], *self.down.shape[1:])
        if len(shape) >= 2 and _squeezed(shape) == _squeezed(own):
            return None
        return f"its weight is {list(shape)}, the adapter's change is {list(own)}"

    def remarks(self) -> tuple[str, ...]:
        """A negative or huge scale, a rank above the smaller side."""
        side = min(self.up.shape[0], math.prod(self.down.shape[1:]))
        found = (
            (self.scale < 0, f"alpha is negative ({self.alpha}): the effect is mirrored"),
            (abs(self.scale) > HUGE_SCALE, f"alpha / rank is {self.scale:g}, which is hardly meant"),
            (self.rank > side, f"rank {self.rank} is above the smaller side of the weight, {side}"),
        )
        return tuple(text for true, text in found if true)

    def delta(self, base: Tensor) -> Tensor:
        """(alpha / r) · flat(up) @ flat(down) in the shape of ``base``, in fp32."""
        pair = self._pair(self.up.device if base.is_meta else base.device)
        return (pair.up @ pair.down.flatten(1)).reshape(base.shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """down, then up, as two thin layers beside ``layer``, a Linear or a Conv1d, 2d or 3d.

        Raises AdapterDoesNotFit for a layer of another kind.
        """
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            raise AdapterDoesNotFit(f"LoRA cannot run beside {type(layer).__name__}")
        pair = self._pair(x.device)
        up, down = pair.up.to(x.dtype), pair.down.to(x.dtype).reshape(self.rank, *layer.weight.shape[1:])
        if isinstance(layer, nn.Linear):
            return F.linear(F.linear(x, down), up)
        if layer.groups != 1:  # down would have to meet each group of channels by itself: the dense change is simpler
            return layer._conv_forward(x, self.delta(layer.weight).to(x.dtype), None)
        inner = layer._conv_forward(x, down, None)
        channel = -len(layer.kernel_size) - 1
        return F.linear(inner.movedim(channel, -1), up).movedim(-1, channel)

    def factors(self) -> Factors:
        """The pair, scale folded into ``down``."""
        return self._pair(self.up.device)

    def _pair(self, device: torch.device) -> Factors:
        # In fp32 before anything is multiplied: fp16 factors of distilled adapters underflow otherwise.
        up = self.up.to(device, torch.float32).flatten(1)
        return Factors(up=up, down=self.down.to(device, torch.float32) * self.scale)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` without the kernel when that is 1x1, so that [o, i, 1, 1] equals [o, i]."""
    return shape[:2] if all(size == 1 for size in shape[2:]) else shape


def _read(tensors: Mapping[str, Tensor], alpha: float | None) -> Lora:
    return Lora(up=tensors["up"], down=tensors["down"], alpha=alpha)


KIND = Kind(name="LoRA", needed=frozenset({"up", "down"}), optional=frozenset({"alpha"}), read=_read)
