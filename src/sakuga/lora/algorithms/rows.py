"""Rows: the part of a change that falls on some rows of a fused weight, such as q, k and v of one ``qkv``.

For every algorithm whose change does not look at the weight. The ranges may come in another order than in the file,
which is how the halves (shift, scale) of a modulation change places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import beside_dense
from sakuga.lora.algorithms.layers import weight_of
from sakuga.lora.algorithms.record import Algorithm, Factors, Rows


def taken(factor: Tensor, take: Rows, total: int, axis: int = 0) -> Tensor:
    """The rows ``take`` of a factor whose ``axis`` is that of the weight's rows: a view where it is one range.

    Raises AdapterDoesNotFit when the factor is not of ``total`` rows.
    """
    check_rows(take, total)
    if factor.shape[axis] != total:
        raise AdapterDoesNotFit(f"it changes {factor.shape[axis]} rows, the fused weight has {total}")
    ranges = [factor.narrow(axis, first, end - first) for first, end in take]
    if len(ranges) == 1:
        return ranges[0]
    if factor.is_meta:  # joining meta tensors wakes torch's compiler, which takes seconds
        shape = list(factor.shape)
        shape[axis] = sum(end - first for first, end in take)
        return torch.empty(shape, dtype=factor.dtype, device="meta")
    return torch.cat(ranges, axis)


def check_rows(take: Rows, total: int) -> None:
    """Raise AdapterDoesNotFit when ranges of rows are not inside a weight of ``total`` rows."""
    if any(not 0 <= first < end <= total for first, end in take):
        raise AdapterDoesNotFit(f"rows {take} are not inside a weight of {total} rows")


@dataclass(frozen=True, kw_only=True, eq=False)
class TakenRows:
    """``whole`` changes a weight of ``total`` rows; this record is its rows ``take``, one range after another.

    Raises AdapterDoesNotFit when ``whole`` needs the base or a range is outside of the weight.
    """

    whole: Algorithm
    take: Rows
    total: int
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.whole.needs_base:
            raise AdapterDoesNotFit("its change looks at the whole fused weight, of which the model has only parts")
        check_rows(self.take, self.total)

    @property
    def rank(self) -> int | None:
        """The rank of the whole."""
        return self.whole.rank

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(end - first for first, end in self.take)

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a weight of this shape cannot be changed."""
        if not shape or shape[0] != self.count:
            return f"its weight is {list(shape)}, the adapter changes {self.count} rows of it"
        return self.whole.misfit((self.total, *shape[1:]))

    def remarks(self) -> tuple[str, ...]:
        """Those of the whole."""
        return self.whole.remarks()

    def delta(self, base: Tensor) -> Tensor:
        """The rows of the whole change."""
        device = None if base.is_meta else base.device
        change = self.whole.delta(torch.empty((self.total, *base.shape[1:]), device="meta"))
        return self._of(change if device is None else change.to(device))

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The dense change of these rows beside ``layer``."""
        return beside_dense(self.delta(weight_of(layer)), x, layer)

    def factors(self) -> Factors | None:
        """The pair of the whole, with these rows of ``up``."""
        pair = self.whole.factors()
        return None if pair is None else Factors(up=self._of(pair.up), down=pair.down)

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Rows of rows do not occur. Raises AdapterDoesNotFit."""
        raise AdapterDoesNotFit(f"rows {take} of {total} of a part of a weight are asked for")

    def _of(self, change: Tensor) -> Tensor:
        return torch.cat([change[first:end] for first, end in self.take])
