"""LoHa: the product, number by number, of two changes of low rank: ΔW = (alpha / r) · (w1_a w1_b) ∘ (w2_a w2_b).

For a convolution the factors are flat, or each half has a Tucker core t. alpha / r multiplies the product once.
Source of the formula: Hyeon-Woo et al., "FedPara" (2022), as LyCORIS and PEFT apply it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import beside_dense
from sakuga.lora.algorithms.layers import weight_of
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows, Shape
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
from sakuga.lora.algorithms.tucker import core_product


@dataclass(frozen=True, kw_only=True, eq=False)
class Half:
    """One of the two factors: ``a`` [out, r] and ``b`` [r, columns], flat; or with a core ``t`` [m, n, *kernel] and
    ``a`` [m, out], ``b`` [n, in].
    """

    a: Tensor
    b: Tensor
    t: Tensor | None = None

    def problem(self) -> str | None:
        """Why these do not belong together, or None. Shapes only."""
        a, b = tuple(self.a.shape), tuple(self.b.shape)
        if self.t is None:
            if len(a) != 2 or len(b) < 2 or 0 in (*a, *b):
                return f"{list(a)} and {list(b)} are not a half of a LoHa"
            if a[1] != b[0]:
                return f"the ranks do not meet: {list(a)} and {list(b)}"
            return rank_problem(b[0], a[0], math.prod(b[1:]))
        t = tuple(self.t.shape)
        if len(a) != 2 or len(b) != 2 or len(t) < 3 or 0 in (*a, *b, *t):
            return f"{list(a)}, {list(t)} and {list(b)} are not a half of a LoHa with a Tucker core"
        if (a[0], b[0]) != t[:2]:
            return f"the ranks do not meet: {list(a)}, core {list(t)}, {list(b)}"
        columns = b[1] * math.prod(t[2:])
        return rank_problem(t[0], a[1], columns) or rank_problem(t[1], a[1], columns)

    @property
    def shape(self) -> Shape:
        """[out, columns], or [out, in, *kernel] with a core."""
        if self.t is None:
            return (self.a.shape[0], math.prod(self.b.shape[1:]))
        return (self.a.shape[1], self.b.shape[1], *self.t.shape[2:])

    def whole(self, device: torch.device, scale: float = 1.0) -> Tensor:
        """The product as [out, columns], in fp32."""
        a, b = self.a.to(device, torch.float32), self.b.to(device, torch.float32)
        b = b * scale if scale != 1 else b
        if self.t is None:
            return a @ b.flatten(1)
        return a.T @ core_product(self.t.to(device, torch.float32), b).flatten(1)

    def rows(self, take: Rows, total: int) -> Half:
        """Some of its rows."""
        return replace(self, a=taken(self.a, take, total, axis=0 if self.t is None else 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Loha:
    """``one`` ∘ ``two``; ``alpha`` None: equal to the rank. Raises AdapterDoesNotFit when the two do not meet."""

    one: Half
    two: Half
    alpha: float | None = None
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        problem = self.one.problem() or self.two.problem() or alpha_problem(self.alpha)
        if not problem and self.one.shape != self.two.shape:
            problem = f"its halves are {list(self.one.shape)} and {list(self.two.shape)}"
        if problem:
            raise AdapterDoesNotFit(problem)

    @property
    def rank(self) -> int:
        """The rank of the first half, by which alpha is divided. That of the change is up to its square."""
        return self.one.b.shape[0]

    @property
    def scale(self) -> float:
        """alpha / r; 1 when the file states no alpha."""
        return scale_of(self.alpha, self.rank)

    def misfit(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot be changed. Flat factors hold the kernel in their columns."""
        flat = self.one.t is None and len(shape) >= 2
        return shape_misfit((shape[0], math.prod(shape[1:])) if flat else shape, self.one.shape)

    def remarks(self) -> tuple[str, ...]:
        """A negative or huge scale."""
        return scale_remarks(self.alpha, self.scale)

    def delta(self, base: Tensor) -> Tensor:
        """(alpha / r) · one ∘ two in the shape of ``base``, in fp32."""
        device = self.one.a.device if base.is_meta else base.device
        one, two = self.one.whole(device, self.scale), self.two.whole(device)
        # one is ours: without gradients it takes the product, which saves the third tensor of the weight's size
        change = one * two if one.requires_grad or two.requires_grad else one.mul_(two)
        return change.reshape(base.shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """As a LoRA whose rank is the product of both where that is less work, else the dense change."""
        thin = self._as_lora(weight_of(layer).shape)
        return thin.beside(x, layer) if thin else beside_dense(self.delta(weight_of(layer)), x, layer)

    def factors(self) -> None:
        """None: as a pair its rank is the square of its own."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """The same rows of both halves."""
        return replace(self, one=self.one.rows(take, total), two=self.two.rows(take, total))

    def _as_lora(self, shape: Shape) -> Lora | None:
        """Each pair of ranks is one rank: their columns, and their rows, multiplied number by number."""
        if self.one.t is not None or self.two.t is not None:
            return None
        rank, (out, columns) = self.one.b.shape[0] * self.two.b.shape[0], self.one.shape
        if rank * (out + columns) >= out * columns:
            return None
        (a1, b1), (a2, b2) = ((half.a.float(), half.b.float().flatten(1)) for half in (self.one, self.two))
        up, down = (a1[:, :, None] * a2[:, None]).flatten(1), (b1[:, None] * b2[None]).flatten(0, 1)
        return Lora(up=up, down=down.reshape(rank, *shape[1:]), alpha=self.scale * rank)


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> Loha:
    one, two = (Half(a=tensors[f"hada_w{n}_a"], b=tensors[f"hada_w{n}_b"], t=tensors.get(f"hada_t{n}")) for n in (1, 2))
    return Loha(one=one, two=two, alpha=alpha_of(facts, one.b.shape[0] if one.b.ndim else 1))


KIND = Kind(
    name="LoHa",
    needed=(frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),),
    optional=frozenset({"hada_t1", "hada_t2"}),
    read=_read,
    scalars=SCALE_LEAVES,
    additive=True,
)
