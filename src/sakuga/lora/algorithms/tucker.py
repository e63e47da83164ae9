"""Tucker: a core between the factors of a convolution, ΔW[o, i, k] = (alpha / r) Σ up[o, m] mid[m, n, k] down[n, i].

``down`` and ``up`` are 1x1, the core has the kernel; r is the rank of ``down``. Refuses a core whose ranks do not meet.
Source of the formula: LyCORIS' LoCon with ``use_tucker`` (Yeh et al., "Navigating Text-to-Image Customization", 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import Conv, beside_dense
from sakuga.lora.algorithms.layers import weight_of
from sakuga.lora.algorithms.lora import mixed
from sakuga.lora.algorithms.record import Algorithm, Factors, Facts, Kind, Rows, Shape
from sakuga.lora.algorithms.rows import taken
from sakuga.lora.algorithms.scale import (
    SCALE_LEAVES,
    alpha_of,
    alpha_problem,
    rank_problem,
    scale_of,
    scale_remarks,
    shape_misfit,
)


def core_product(core: Tensor, down: Tensor) -> Tensor:
    """core [m, n, *kernel] · down [n, in] as [m, in, *kernel]."""
    return torch.einsum("mnk,ni->mik", core.flatten(2), down).reshape(core.shape[0], down.shape[1], *core.shape[2:])


@dataclass(frozen=True, kw_only=True, eq=False)
class TuckerLora:
    """``up`` [out, m, 1 …], ``mid`` [m, n, *kernel], ``down`` [n, in, 1 …]; ``alpha`` None: equal to the rank n.

    Raises AdapterDoesNotFit when the three do not meet.
    """

    up: Tensor
    mid: Tensor
    down: Tensor
    alpha: float | None = None
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise AdapterDoesNotFit(problem)

    def _problem(self) -> str | None:
        up, mid, down = tuple(self.up.shape), tuple(self.mid.shape), tuple(self.down.shape)
        thin = all(len(one) >= 2 and all(size == 1 for size in one[2:]) for one in (up, down))
        if not thin or len(mid) < 3 or 0 in (*up, *mid, *down):
            return f"up {list(up)}, mid {list(mid)} and down {list(down)} are not a LoCon with a Tucker core"
        if (up[1], down[0]) != mid[:2]:
            return f"the ranks do not meet: up {list(up)}, mid {list(mid)}, down {list(down)}"
        columns = down[1] * math.prod(mid[2:])
        ranks = rank_problem(mid[0], up[0], columns) or rank_problem(mid[1], up[0], columns)
        return ranks or alpha_problem(self.alpha)

    @property
    def rank(self) -> int:
        """The rank of ``down``, by which alpha is divided."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """alpha / r; 1 when the file states no alpha."""
        return scale_of(self.alpha, self.rank)

    def misfit(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot be changed."""
        return shape_misfit(shape, (self.up.shape[0], self.down.shape[1], *self.mid.shape[2:]))

    def remarks(self) -> tuple[str, ...]:
        """A negative or huge scale."""
        return scale_remarks(self.alpha, self.scale)

    def delta(self, base: Tensor) -> Tensor:
        """The core joined to down first, then as a LoRA of the rank of ``up``."""
        pair = self._pair(self.up.device if base.is_meta else base.device)
        return (pair.up @ pair.down.flatten(1)).reshape(base.shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """Three thin convolutions: down, core with the kernel and the strides of the layer, up."""
        if not isinstance(layer, Conv) or layer.groups != 1 or len(layer.kernel_size) != self.mid.ndim - 2:
            return beside_dense(self.delta(weight_of(layer)), x, layer)
        up, mid, down = (self._wide(factor, x.device).to(x.dtype) for factor in (self.up, self.mid, self.down))
        inner = layer._conv_forward(mixed(x, down.flatten(1) * self.scale, layer), mid, None)
        return mixed(inner, up.flatten(1), layer)

    def factors(self) -> Factors:
        """The pair of ``up`` and the core joined to ``down``."""
        return self._pair(self.up.device)

    def rows(self, take: Rows, total: int) -> Algorithm:
        """The same with some rows of up."""
        return replace(self, up=taken(self.up, take, total))

    def _pair(self, device: torch.device) -> Factors:
        up, mid, down = (self._wide(factor, device) for factor in (self.up, self.mid, self.down))
        return Factors(up=up.flatten(1), down=core_product(mid, down.flatten(1) * self.scale))

    @staticmethod
    def _wide(factor: Tensor, device: torch.device) -> Tensor:
        return factor.to(device, torch.float32)


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> TuckerLora:
    down = tensors["down"]
    alpha = alpha_of(facts, down.shape[0] if down.ndim else 1)
    return TuckerLora(up=tensors["up"], mid=tensors["mid"], down=down, alpha=alpha)


KIND = Kind(
    name="LoCon with a Tucker core",
    needed=(frozenset({"up", "mid", "down"}),),
    read=_read,
    scalars=SCALE_LEAVES,
    additive=True,
)
