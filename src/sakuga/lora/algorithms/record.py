"""What an algorithm is: a frozen record of named factors that answers a few pure questions.

Nothing here computes. The contract every record keeps is tested in ``tests/contract/test_algorithms.py``: the live way
equals the fused way, gradients flow to the factors, nothing is changed in place. See docs/decisions/0002.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """A change of low rank as a pair: ΔW = reshape(up @ flat(down)). fp32; every scale is already inside ``down``.

    ``up`` [out, r]; ``down`` [r, in] for a Linear or [r, in, *kernel] for a convolution, so that the pairs of several
    adapters may be concatenated along r.
    """

    up: Tensor
    down: Tensor


class Algorithm(Protocol):
    """The factors of one module. Pure and differentiable; no method changes its arguments or the factors."""

    needs_base: ClassVar[bool]  # True: ``delta`` looks at the values of the base weight, not only at its shape

    @property
    def rank(self) -> int | None:
        """The rank, where the algorithm has one."""

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why these factors cannot change a weight of this shape; None when they can. Works on meta factors."""

    def remarks(self) -> tuple[str, ...]:
        """What is legal but worth a word. Works on meta factors."""

    def delta(self, base: Tensor) -> Tensor:
        """ΔW at strength 1 for the pristine weight ``base``: fp32, its shape, on its device (not meta)."""

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """What the layer's output gains at strength 1: ``layer(x) + beside(x, layer)`` is the layer with W + ΔW."""

    def factors(self) -> Factors | None:
        """The change as a pair of low rank, or None when it is not one."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One entry of ALGORITHMS: a group of leaves is of this kind when it has all ``needed`` and no others.

    ``read`` takes the tensors by leaf (without alpha) and alpha, and raises AdapterDoesNotFit when they do not belong
    together.
    """

    name: str
    needed: frozenset[str]
    optional: frozenset[str] = frozenset()
    read: Callable[[Mapping[str, Tensor], float | None], Algorithm]
