"""T-LoRA: ΔW = (alpha / r) · (P · diag(λ) · Q − P₀ · diag(λ₀) · Q₀); late steps use more of its ranks than early ones.

The second product is where training began and is not in the file: it is taken from the base, as its r greatest singular
values. Which ranks a step uses is not in the file either; ``delta`` uses all, ``at`` fewer. Refuses kernels above 1.
Source: Soboleva et al., "T-LoRA: Single Image Diffusion Model Customization Without Overfitting" (2025), as LyCORIS
trains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.layers import output_with, weight_of
from sakuga.lora.algorithms.record import Algorithm, Factors, Facts, Kind, Rows
from sakuga.lora.algorithms.rows import taken
from sakuga.lora.algorithms.scale import alpha_problem, scale_of, scale_remarks, shape_misfit


@dataclass(frozen=True, kw_only=True, eq=False)
class TLora:
    """``p`` [out, r], ``strengths`` [r], ``q`` [r, in]. ``start`` is the pair of the untrained product, once the base
    is known (``grounded``); ``active`` how many ranks act, None: all.

    Raises AdapterDoesNotFit when the factors do not meet.
    """

    p: Tensor
    q: Tensor
    strengths: Tensor
    alpha: float | None = None
    start: Factors | None = None
    active: int | None = None
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        p, q = tuple(self.p.shape), tuple(self.q.shape)
        if min(len(p), len(q)) < 2 or any(size != 1 for size in (*p[2:], *q[2:])) or 0 in (*p, *q):
            raise AdapterDoesNotFit(f"p {list(p)} and q {list(q)} are not the two factors of a T-LoRA")
        if p[1] != q[0] or tuple(self.strengths.shape) != (p[1],):
            raise AdapterDoesNotFit(
                f"the ranks do not meet: p {list(p)}, q {list(q)}, lambda {list(self.strengths.shape)}"
            )
        if self.rank > min(p[0], q[1]):
            raise AdapterDoesNotFit(f"rank {self.rank} is above the number of singular values of the weight")
        problem = alpha_problem(self.alpha)
        if problem:
            raise AdapterDoesNotFit(problem)

    @property
    def rank(self) -> int:
        """The rank, from the tensors."""
        return self.q.shape[0]

    @property
    def scale(self) -> float:
        """alpha / r; 1 when the file states no alpha."""
        return scale_of(self.alpha, self.rank)

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a weight of this shape cannot be changed."""
        return shape_misfit(shape, (self.p.shape[0], self.q.shape[1]))

    def remarks(self) -> tuple[str, ...]:
        """What the file does not say, and an odd scale."""
        trust = "T-LoRA keeps no trace of where training began: it is taken from this base and cannot be verified"
        steps = "T-LoRA does not store which of its ranks act in which step: all act in all"
        return (trust, steps, *scale_remarks(self.alpha, self.scale))

    def at(self, ranks: int) -> TLora:
        """The record of a step at which only the first ``ranks`` act."""
        return replace(self, active=max(0, min(ranks, self.rank)))

    def grounded(self, base: Tensor) -> TLora:
        """The record that knows the start of training: from then on a pair of low rank, cheap at every step."""
        precise = torch.float32 if base.device.type == "mps" else torch.float64  # Apple's GPUs have no fp64
        with torch.no_grad():
            flat = base.to(precise).flatten(1)
            wide = flat.shape[0] <= flat.shape[1]
            vectors = torch.linalg.eigh(flat @ flat.T if wide else flat.T @ flat).eigenvectors
            greatest = vectors[:, -self.rank :].flip(1)  # singular vectors of the smaller side, the greatest first
            up, down = (greatest, greatest.T @ flat) if wide else (flat @ greatest, greatest.T)
            start = Factors(up=up.float(), down=down.float())
        return replace(self, start=start)

    def delta(self, base: Tensor) -> Tensor:
        """The trained product minus the one that training began with."""
        pair = self._pair(self.start or self.grounded(base).start, base.device)
        return (pair.up @ pair.down).reshape(base.shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The change as one weight."""
        return output_with(x, layer, self.delta(weight_of(layer)))

    def factors(self) -> Factors | None:
        """The pair of rank 2r, once the base is known."""
        return None if self.start is None else self._pair(self.start, self.p.device)

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Once the base is known, the rows of both products. Raises AdapterDoesNotFit before."""
        if self.start is None:
            raise AdapterDoesNotFit("its change begins at the singular values of the whole fused weight")
        start = Factors(up=taken(self.start.up, take, total), down=self.start.down)
        return replace(self, p=taken(self.p, take, total), start=start)

    def _pair(self, start: Factors | None, device: torch.device) -> Factors:
        assert start is not None
        ranks = self.rank if self.active is None else self.active
        p, q = (factor.to(device, torch.float32).flatten(1) for factor in (self.p, self.q))
        now = self.strengths.to(device, torch.float32)[:, None] * q
        up = torch.cat([p[:, :ranks], -start.up.to(device)[:, :ranks]], 1)
        return Factors(up=up, down=torch.cat([now[:ranks], start.down.to(device)[:ranks]]) * self.scale)


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> TLora:
    strengths = tensors["lambda_layer"]
    if strengths.ndim == 2 and strengths.shape[0] == 1:
        strengths = strengths[0]
    return TLora(p=tensors["p_layer"], q=tensors["q_layer"], strengths=strengths, alpha=facts.alpha)


KIND = Kind(name="T-LoRA", needed=(frozenset({"p_layer", "q_layer", "lambda_layer"}),), read=_read)
