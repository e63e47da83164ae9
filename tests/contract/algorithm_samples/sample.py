"""What a sample of an algorithm is: a layer, factors for it, and its ΔW in float64 by another way than the record's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from sakuga.lora.algorithms import NO_FACTS, Facts, Shape

Given = Mapping[str, Tensor]
Formula = Callable[[Given, Facts, Tensor], Tensor]  # leaf → factor, all float64; what is beside; the base in float64


@dataclass(frozen=True, kw_only=True)
class Sample:
    """``factors`` are drawn anew by shape, ``fixed`` are taken as they are (indices). ``x`` is the shape of an input;
    of token numbers below ``vocabulary`` where that is given. ``spread`` is that of the factors; ``side`` the only one
    of the weight that they have the size of.
    """

    layer: Callable[[], nn.Module]
    x: Shape
    factors: Mapping[str, Shape]
    formula: Formula
    facts: Facts = NO_FACTS
    fixed: Mapping[str, Tensor] = field(default_factory=dict)
    vocabulary: int = 0
    spread: float = 1.0
    side: Literal["both", "rows", "columns", "neither"] = "both"

    def draw(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Factors by leaf."""
        drawn = {leaf: (self.spread * torch.randn(shape)).to(dtype) for leaf, shape in self.factors.items()}
        return drawn | dict(self.fixed)

    def input(self) -> Tensor:
        """An input for the layer."""
        return torch.randint(self.vocabulary, self.x) if self.vocabulary else torch.randn(self.x)

    def tells(self, shape: Shape, wrong: Shape) -> bool:
        """Whether the factors can tell a weight of a wrong shape from one of ``shape``."""
        axes = {"both": None, "rows": (0,), "columns": (1,), "neither": ()}[self.side]
        return axes is None or len(wrong) < 2 or any(shape[axis] != wrong[axis] for axis in axes)

    def expected(self, factors: Given, base: Tensor) -> Tensor:
        """ΔW in float64."""
        wide = {leaf: factor.double() if factor.is_floating_point() else factor for leaf, factor in factors.items()}
        return self.formula(wide, self.facts, base.detach().double())
