"""LoKr: a Kronecker product, ΔW = c · (w1 ⊗ w2). Either factor is stored whole or as a pair of low rank, the second of
a convolution also with a Tucker core.

c is alpha / r with the rank r of the second factor, else of the first, else 1: with both stored whole an alpha means
nothing. PEFT's rule is another: alpha / r always, with the r of its config. Either factor may be the larger.
Source of the formula: Yeh et al., "Navigating Text-to-Image Customization" (LyCORIS, 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import Conv, beside_dense
from sakuga.lora.algorithms.layers import weight_of
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows, Shape
from sakuga.lora.algorithms.rows import TakenRows
from sakuga.lora.algorithms.scale import SCALE_LEAVES, alpha_of, alpha_problem, rank_problem, scale_of, scale_remarks
from sakuga.lora.algorithms.tucker import core_product


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One factor: ``whole`` [o, i, *kernel], or ``a`` [o, r] and ``b`` [r, i …] (a kernel may be flat in its columns),
    or with a core ``t`` [m, n, *kernel] and ``a`` [m, o], ``b`` [n, i].
    """

    whole: Tensor | None = None
    a: Tensor | None = None
    b: Tensor | None = None
    t: Tensor | None = None

    def problem(self) -> str | None:
        """Why these are no factor, or None. Shapes only: nothing is multiplied before."""
        given = [tuple(one.shape) for one in (self.whole, self.a, self.t, self.b) if one is not None]
        shapes = ", ".join(str(list(shape)) for shape in given)
        if any(0 in shape or len(shape) < 2 for shape in given):
            return f"{shapes} is not a factor of a LoKr"
        if self.whole is not None:
            return "a factor of a LoKr is stored whole and as a pair" if len(given) > 1 else None
        if self.a is None or self.b is None:
            return "a factor of a LoKr lacks its other half"
        a, b = tuple(self.a.shape), tuple(self.b.shape)
        t = tuple(self.t.shape) if self.t is not None else ()
        if len(a) != 2 or (t and (len(t) < 3 or len(b) != 2)):
            return f"{shapes} is not a factor of a LoKr"
        if (a[0], b[0]) != t[:2] if t else a[1] != b[0]:
            return f"the ranks do not meet: {shapes}"
        longer = max(self.rows, self.columns)  # LyCORIS takes ranks up to half of the longer side
        return rank_problem(max(t[:2], default=b[0]), longer, longer)

    @property
    def last(self) -> Tensor:
        """The tensor that has its inputs."""
        last = self.b if self.whole is None else self.whole
        assert last is not None
        return last

    @property
    def rank(self) -> int | None:
        """The rank that alpha is divided by; None when it is stored whole."""
        return None if self.b is None or self.b.ndim == 0 else self.b.shape[0]

    @property
    def rows(self) -> int:
        """Its outputs."""
        first = self.a if self.whole is None else self.whole
        assert first is not None
        return first.shape[0 if self.t is None else 1]

    @property
    def columns(self) -> int:
        """Its inputs, times the kernel."""
        return math.prod(self.last.shape[1:]) * math.prod(self.kernel if self.t is not None else ())

    @property
    def kernel(self) -> Shape:
        """The kernel where the shapes tell it; empty for a flat or a linear factor."""
        return tuple((self.last if self.t is None else self.t).shape[2:])

    def product(self, device: torch.device) -> Tensor:
        """The factor as [o, columns], in fp32."""
        whole, a, b, t = (
            None if one is None else one.to(device, torch.float32) for one in (self.whole, self.a, self.b, self.t)
        )
        if whole is not None:
            return whole.flatten(1)
        assert a is not None
        assert b is not None
        return a @ b.flatten(1) if t is None else a.T @ core_product(t, b).flatten(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lokr:
    """c · (``one`` ⊗ ``two``), c = alpha / ``divisor``. Raises AdapterDoesNotFit when they do not belong together."""

    one: Side
    two: Side
    alpha: float | None = None
    divisor: int = 1
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        problem = self.one.problem() or self.two.problem() or alpha_problem(self.alpha)
        if not problem and (math.prod(self.one.kernel) != 1 or self.one.t is not None):
            problem = "the first factor of a LoKr has a kernel"
        if problem:
            raise AdapterDoesNotFit(problem)

    @property
    def rank(self) -> int | None:
        """The rank of the second factor, else of the first; None when both are stored whole."""
        return self.two.rank or self.one.rank

    @property
    def scale(self) -> float:
        """c."""
        return scale_of(self.alpha, self.divisor)

    def misfit(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot be changed."""
        out, columns = self.one.rows * self.two.rows, self.one.columns * self.two.columns
        kernel, own = tuple(shape[2:]), self.two.kernel
        same = not own or own == kernel or math.prod(own) == math.prod(kernel) == 1
        whole = self.two.columns % math.prod(kernel) == 0
        if len(shape) >= 2 and (out, columns) == (shape[0], math.prod(shape[1:])) and same and whole:
            return None
        parts = f"{self.one.rows} · {self.two.rows} outputs and {self.one.columns} · {self.two.columns} inputs"
        return f"its weight is {list(shape)}, the adapter's change is of {parts}"

    def remarks(self) -> tuple[str, ...]:
        """A negative or huge scale, or one of 0."""
        silent = ("alpha is 0: without effect",) if self.scale == 0 else ()
        return (*scale_remarks(self.alpha, self.scale), *silent)

    def delta(self, base: Tensor) -> Tensor:
        """Every number of the first times the second, in the shape of ``base``, in fp32."""
        one, two = self._sides(self.two.last.device if base.is_meta else base.device, base.shape)
        two = two.reshape(*two.shape[:2], -1)
        return (one[:, None, :, None, None] * two[None, :, None]).reshape(base.shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The second factor on each slice of the input, then the first between the slices."""
        groups = getattr(layer, "groups", 1)
        if not isinstance(layer, nn.Linear | Conv) or groups != 1:
            return beside_dense(self.delta(weight_of(layer)), x, layer)
        one, two = (side.to(x.dtype) for side in self._sides(x.device, layer.weight.shape))
        if isinstance(layer, nn.Linear):
            inner = x.unflatten(-1, (one.shape[1], -1)) @ two.T
            return (one @ inner).flatten(-2)
        channel = -len(layer.kernel_size) - 1
        slices = x.unflatten(channel, (one.shape[1], -1))
        inner = layer._conv_forward(slices.flatten(0, -len(layer.kernel_size) - 2), two, None)
        inner = inner.unflatten(0, slices.shape[:channel])
        return torch.einsum("oi,...ipk->...opk", one, inner.flatten(channel + 1)).reshape(
            *x.shape[:channel], -1, *inner.shape[channel + 1 :]
        )

    def factors(self) -> None:
        """None: it is no pair of low rank."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """The whole product, cut."""
        return TakenRows(whole=self, take=take, total=total)

    def _sides(self, device: torch.device, shape: Shape) -> tuple[Tensor, Tensor]:
        """The first factor with the scale in it, [o, i], and the second in the shape that a weight of ``shape`` has."""
        two = self.two.product(device)
        return self.one.product(device) * self.scale, two.reshape(two.shape[0], -1, *shape[2:])


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> Lokr:
    one, two = (
        Side(
            whole=tensors.get(f"lokr_w{n}"),
            a=tensors.get(f"lokr_w{n}_a"),
            b=tensors.get(f"lokr_w{n}_b"),
            t=tensors.get(f"lokr_t{n}"),
        )
        for n in (1, 2)
    )
    rank = two.rank or one.rank
    if facts.dialect == "peft" and facts.alpha is not None:
        stated = facts.options.get("r", rank)
        if stated is None or int(stated) < 1:
            raise AdapterDoesNotFit("its scale is alpha / r, and the r of its config is not known")
        rank = int(stated)
    elif rank is None:
        facts = Facts(dialect=facts.dialect, options=facts.options)  # both are stored whole: its alpha means nothing
    return Lokr(one=one, two=two, alpha=alpha_of(facts, rank or 1), divisor=rank or 1)


_ONE = (frozenset({"lokr_w1"}), frozenset({"lokr_w1_a", "lokr_w1_b"}))
_TWO = (frozenset({"lokr_w2"}), frozenset({"lokr_w2_a", "lokr_w2_b"}))
KIND = Kind(
    name="LoKr",
    needed=tuple(one | two for one in _ONE for two in _TWO),
    optional=frozenset({"lokr_t2"}),
    read=_read,
    scalars=SCALE_LEAVES,
    additive=True,
    silent_at_zero=False,
)
