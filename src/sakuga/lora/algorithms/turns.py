"""Turns: from the blocks of a file to rotations, by the Cayley map C(Q) = (I + Q)(I − Q)⁻¹ of a skew Q or by a series.

A rotation is always given as its difference from the identity, C(Q) − I = 2 (I − Q)⁻¹ Q, so that a small one keeps its
digits. Solved in fp32, never inverted. On which side of the weight it acts is decided elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Stored = Literal["square", "triangle", "rotation"]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How stored blocks mean rotations: one row of the table of dialects.

    ``stored``: "square" B with Q = B − Bᵀ; "triangle", the part of Q above its diagonal, row by row; "rotation", the
    rotation itself or its difference from the identity, told apart by the numbers. ``factor`` multiplies Q and ``back``
    turns the other way. ``terms``: of PEFT's series instead of the exact map. ``limit``: the greatest norm of all Q
    together; ``block_limit``: of each block by itself.
    """

    stored: Stored = "square"
    factor: float = 1.0
    back: bool = False
    terms: int | None = None
    limit: float | None = None
    block_limit: float | None = None

    def size(self, blocks: Tensor) -> int | None:
        """The rows of one block; None when the blocks have no such shape."""
        if self.stored == "triangle":
            size = (1 + math.isqrt(1 + 8 * blocks.shape[-1])) // 2
            return size if size * (size - 1) // 2 == blocks.shape[-1] and blocks.ndim == 2 else None
        return blocks.shape[-1] if blocks.ndim > 2 and blocks.shape[-1] == blocks.shape[-2] else None

    def change(self, blocks: Tensor) -> Tensor:
        """Rotation minus identity of every block, fp32."""
        blocks = blocks.float()
        if self.stored == "rotation":
            change = blocks - _one(blocks) if holds_rotations(blocks) else blocks
            return change.mT if self.back else change
        if self.stored == "triangle":
            upper = self._upper(blocks)
            skew = _bounded(upper - upper.mT, self.block_limit)
        else:
            bounded = _bounded(blocks, self.block_limit)
            skew = bounded - bounded.mT
        skew = skew * (-self.factor if self.back else self.factor)
        if self.limit is not None:
            norm = torch.linalg.vector_norm(skew)
            skew = skew * (self.limit / (norm + 1e-8)).clamp(max=1)
        if self.terms is not None:
            return _series(skew, self.terms)
        # I − Q of a skew Q is never singular; numbers beyond the format's reach make it so, and give no finite rotation
        return torch.linalg.solve_ex(_one(skew) - skew, 2 * skew).result

    def _upper(self, blocks: Tensor) -> Tensor:
        size = self.size(blocks) or 0
        rows, columns = torch.triu_indices(size, size, 1, device=blocks.device)
        flat = blocks.new_zeros(blocks.shape[0], size * size)
        return flat.index_copy(1, rows * size + columns, blocks).reshape(-1, size, size)


def holds_rotations(blocks: Tensor) -> bool:
    """Whether the blocks are nearer to rotations than to differences of rotations from the identity."""
    return unlike_rotations(blocks) <= unlike_rotations(blocks + _one(blocks))


def unlike_rotations(blocks: Tensor) -> float:
    """How far the blocks are from rotations: the root mean square of the entries of Rᵀ R − I."""
    blocks = blocks.detach().float()
    return float((blocks.mT @ blocks - _one(blocks)).square().mean().sqrt())


def turned(change: Tensor, features: Tensor) -> Tensor:
    """The last dimension of ``features``, block by block, through ``change`` [blocks, size, size]. A single block
    serves all; the last one may reach beyond the end, and those after it serve nothing.
    """
    length, size = features.shape[-1], change.shape[-1]
    count = math.ceil(length / size)
    apart = F.pad(features, (0, count * size - length)).unflatten(-1, (count, size))
    through = torch.einsum("nij,...nj->...ni", change[:count].expand(count, -1, -1).to(features.dtype), apart)
    return through.flatten(-2)[..., :length]


def _one(blocks: Tensor) -> Tensor:
    return torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)


def _bounded(blocks: Tensor, limit: float | None) -> Tensor:
    """Each block with a norm of at most ``limit`` / √(number of blocks)."""
    if limit is None:
        return blocks
    norm = torch.linalg.vector_norm(blocks, dim=(-2, -1), keepdim=True)
    return blocks * (limit / math.sqrt(blocks.shape[0]) / norm.clamp_min(1e-30)).clamp(max=1)


def _series(skew: Tensor, terms: int) -> Tensor:
    """2Q + 2Q² + … whose last power counts once. As PEFT counts its terms: 3 and 4 mean the same series."""
    if terms < 3:
        return 2 * skew if terms == 2 else torch.zeros_like(skew)
    power = skew @ skew
    total = 2 * (skew + power)
    for _ in range(3, terms - 1):
        power = power @ skew
        total = total + 2 * power
    return total + power @ skew
