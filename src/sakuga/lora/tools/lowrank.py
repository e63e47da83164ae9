"""Low rank: a change cut down to the best pair of a smaller rank, and how far that is from it. Matrices only.

Everything is in fp64. A change that is a pair of factors is never multiplied out: two thin QR decompositions leave a
core that is as small as its rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

from sakuga.errors import SakugaError

Method = Literal["sv_fro", "sv_cumulative", "sv_ratio"]
METHODS: tuple[Method, ...] = ("sv_fro", "sv_cumulative", "sv_ratio")


@dataclass(frozen=True, kw_only=True)
class Keep:
    """How much to keep of a change: at most ``rank``; with a ``method``, no more than that asks for, but at least 1.

    ``sv_fro``: as many singular values as hold this share of the Frobenius norm; ``sv_cumulative``: of their sum;
    ``sv_ratio``: all that are at least the largest divided by this. Raises SakugaError for numbers that mean nothing.
    """

    rank: int
    method: Method | None = None
    value: float = 1.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise SakugaError("a rank is at least 1", given=str(self.rank), do="give a whole number above 0")
        low, high = (1.0, math.inf) if self.method == "sv_ratio" else (0.0, 1.0)
        if self.method and not low < self.value <= high:
            raise SakugaError(
                f"{self.method} does not take this number",
                given=f"{self.value:g}",
                expected="a number above 1" if self.method == "sv_ratio" else "a share above 0, at most 1",
                do="give another number",
            )

    def count(self, values: Tensor) -> int:
        """How many of the singular values, the largest first, are kept; 0 when there are none but zeros."""
        there = int((values > values[:1] * 1e-12).sum()) if values.numel() else 0
        if not there:
            return 0
        wanted = there
        if self.method == "sv_ratio":
            wanted = int((values >= values[0] / self.value).sum())
        elif self.method is not None:
            shares = (values**2 if self.method == "sv_fro" else values).cumsum(0)
            target = self.value**2 if self.method == "sv_fro" else self.value
            wanted = int((shares < shares[-1] * target * (1 - 1e-12)).sum()) + 1
        return max(1, min(self.rank, wanted, there))


class Spectrum(Protocol):
    """A change taken apart. ``values``: its singular values in fp64, the largest first."""

    @property
    def values(self) -> Tensor: ...
    @property
    def norm(self) -> float: ...
    def cut(self, rank: int) -> tuple[Tensor, Tensor]:
        """The best pair (up, down) of ``rank`` in fp64, of equal size: each holds the root of the singular values."""

    def error(self, up: Tensor, down: Tensor) -> float:
        """The Frobenius norm of what is missing when the change is written as up · down."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OfPair:
    """The change up [out, r] · down [r, in]."""

    up: Tensor
    down: Tensor

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        left, core_left = torch.linalg.qr(self.up.double())
        right, core_right = torch.linalg.qr(self.down.double().T)
        inner, values, outer = torch.linalg.svd(core_left @ core_right.T, full_matrices=False)
        return left @ inner, values, outer @ right.T

    @property
    def values(self) -> Tensor:
        """The singular values."""
        return self._parts[1]

    @cached_property
    def norm(self) -> float:
        """The Frobenius norm."""
        return _by_inner_products(self.up.double(), self.down.double())

    def cut(self, rank: int) -> tuple[Tensor, Tensor]:
        """See Spectrum."""
        left, values, right = self._parts
        root = values[:rank].sqrt()
        return left[:, :rank] * root, root[:, None] * right[:rank]

    def error(self, up: Tensor, down: Tensor) -> float:
        """See Spectrum."""
        own_up, own_down, up, down = (one.double() for one in (self.up, self.down, up, down))
        if torch.equal(up, own_up) and torch.equal(down, own_down):
            return 0.0
        if up.shape == own_up.shape:  # the same pair but for rounding: what was rounded off of each is small itself
            return _by_inner_products(torch.cat([own_up - up, up], 1), torch.cat([own_down, own_down - down]))
        return pair_norm(torch.cat([own_up, -up], 1), torch.cat([own_down, down]))


@dataclass(frozen=True, kw_only=True, eq=False)
class OfWhole:
    """A change [out, in] that is no pair: by the eigenvectors of its Gram matrix on the smaller side."""

    change: Tensor

    @cached_property
    def _wide(self) -> Tensor:
        change = self.change.double()
        return change if change.shape[0] <= change.shape[1] else change.T

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        squares, vectors = torch.linalg.eigh(self._wide @ self._wide.T)
        return squares.clamp_min(0).sqrt().flip(0), vectors.flip(1)

    @property
    def values(self) -> Tensor:
        """The singular values; those below 1e-8 of the largest are noise."""
        return self._eigen[0]

    @cached_property
    def norm(self) -> float:
        """The Frobenius norm."""
        return float(torch.linalg.vector_norm(self._wide))

    def cut(self, rank: int) -> tuple[Tensor, Tensor]:
        """See Spectrum."""
        left = self._eigen[1][:, :rank]
        right = left.T @ self._wide
        root = torch.linalg.vector_norm(right, dim=1).clamp_min(torch.finfo(torch.float64).tiny).sqrt()
        left, right = left * root, right / root[:, None]
        return (left, right) if self.change.shape[0] <= self.change.shape[1] else (right.T, left.T)

    def error(self, up: Tensor, down: Tensor) -> float:
        """See Spectrum."""
        return float(torch.linalg.vector_norm(self.change.double() - up.double() @ down.double()))


def pair_norm(up: Tensor, down: Tensor) -> float:
    """The Frobenius norm of up · down, which is not multiplied out."""
    left = torch.linalg.qr(up.double(), mode="r")[1]
    right = torch.linalg.qr(down.double().T, mode="r")[1]
    return float(torch.linalg.vector_norm(left @ right.T))


def _by_inner_products(up: Tensor, down: Tensor) -> float:
    """The same, faster; not exact where the product is much smaller than its factors."""
    return math.sqrt(max(0.0, float(((up.T @ up) * (down @ down.T)).sum())))
