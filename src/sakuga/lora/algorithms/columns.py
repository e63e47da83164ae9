"""Columns: changes of a weight that has another number of inputs than they were made for.

Two cases are known, and no other is guessed. The first convolution of an inpainting model takes the 4 channels of the
plain one and 5 more, which a change for the plain one leaves alone. A control adapter of Flux, or a module with a
``reshape_weight``, wants its layer to take more inputs than the model has: the weight gets columns of zeros first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import beside_dense
from sakuga.lora.algorithms.layers import weight_of
from sakuga.lora.algorithms.record import Algorithm, Factors, Rows, Shape

LATENT, INPAINTING = 4, 9  # channels that conv_in takes; the mask and the masked picture come after the latent
MOST = 8  # times the model's inputs: Flux with a hint takes twice as many, with picture and mask six times


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstColumns:
    """``inner`` changes the first ``count`` inputs of a weight that takes ``total``; the others stay as they are.

    Raises AdapterDoesNotFit when ``inner`` looks at the weight, for it would be another one.
    """

    inner: Algorithm
    count: int
    total: int
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.inner.needs_base:
            raise AdapterDoesNotFit(
                f"its change looks at a weight of {self.count} inputs, and this one has {self.total}"
            )

    @property
    def rank(self) -> int | None:
        """The rank of the change."""
        return self.inner.rank

    def misfit(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot be changed."""
        if len(shape) < 2 or shape[1] != self.total:
            return f"its weight is {list(shape)}, which does not take {self.total} inputs"
        return self.inner.misfit((shape[0], self.count, *shape[2:]))

    def remarks(self) -> tuple[str, ...]:
        """Those of the change, and what it leaves alone."""
        rest = self.total - self.count
        return (*self.inner.remarks(), f"made for {self.count} inputs: the model's {rest} more are left as they are")

    def delta(self, base: Tensor) -> Tensor:
        """The change, with zeros behind it."""
        return _padded(self.inner.delta(base[:, : self.count]), self.total)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The dense change beside ``layer``."""
        return beside_dense(self.delta(weight_of(layer)), x, layer)

    def factors(self) -> Factors | None:
        """The pair of the change, with zeros behind ``down``."""
        pair = self.inner.factors()
        return None if pair is None else Factors(up=pair.up, down=_padded(pair.down, self.total))

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Some rows of the change."""
        return replace(self, inner=self.inner.rows(take, total))


@dataclass(frozen=True, kw_only=True, eq=False)
class Widening:
    """``inner`` changes a weight of ``shape``, and one that takes fewer inputs gets columns of zeros first."""

    inner: Algorithm
    shape: Shape
    needs_base: ClassVar[bool] = False

    @property
    def rank(self) -> int | None:
        """The rank of the change."""
        return self.inner.rank

    def misfit(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot be changed: only its inputs may be fewer, and not by far."""
        if len(shape) < 2 or len(shape) != len(self.shape) or not shape[1] <= self.shape[1] <= MOST * shape[1]:
            return f"its weight is {list(shape)}, which cannot be widened to {list(self.shape)}"
        return self.inner.misfit((shape[0], self.shape[1], *shape[2:]))

    def remarks(self) -> tuple[str, ...]:
        """Those of the change, and that the layer takes more than the model gives it."""
        told = f"while it is applied its layer takes {self.shape[1]} inputs, zeros at first for those the model lacks"
        return (*self.inner.remarks(), told)

    def delta(self, base: Tensor) -> Tensor:
        """The change in the wide shape, also for a narrow ``base``."""
        return self.inner.delta(_padded(base, self.shape[1]))

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The change beside a layer that is wide already. Raises AdapterDoesNotFit for a narrow one."""
        if tuple(weight_of(layer).shape[1:2]) != self.shape[1:2]:
            raise AdapterDoesNotFit(NOT_BESIDE)
        return self.inner.beside(x, layer)

    def factors(self) -> Factors | None:
        """The pair of the change."""
        return self.inner.factors()

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Some rows of the change; their weight is widened as well."""
        part = self.inner.rows(take, total)
        return Widening(inner=part, shape=(sum(end - first for first, end in take), *self.shape[1:]))


NOT_BESIDE = "it is to take more inputs than it has, which only a change of its weight gives it"


def fitted(record: Algorithm, shape: Shape) -> Algorithm:
    """The record as it changes a weight of ``shape``: as it is, or the first channels of an inpainting model.

    Where it does not fit it comes back as it is, to say so itself.
    """
    plain = (shape[0], LATENT, *shape[2:]) if len(shape) == 4 and shape[1] == INPAINTING else ()
    if not plain or record.needs_base or not record.misfit(shape) or record.misfit(plain):
        return record
    return FirstColumns(inner=record, count=LATENT, total=INPAINTING)


def wide_shape(shape: Shape, records: Sequence[Algorithm]) -> Shape:
    """The shape that a weight of ``shape`` has while these records change it.

    Raises AdapterDoesNotFit when two of them want it of different widths.
    """
    wanted = {record.shape[1] for record in records if isinstance(record, Widening)}
    if len(wanted) > 1:
        raise AdapterDoesNotFit(f"it is to take {' and '.join(map(str, sorted(wanted)))} inputs at once")
    return (shape[0], wanted.pop(), *shape[2:]) if wanted else shape


def together(shape: Shape, records: Sequence[Algorithm]) -> tuple[Algorithm, ...]:
    """The records as they change one weight of ``shape`` together: beside one that widens it, the others change the
    inputs that the model has. Raises AdapterDoesNotFit where that cannot be.
    """
    wide = wide_shape(shape, records)
    if wide == shape:
        return tuple(records)
    return tuple(
        record if isinstance(record, Widening) else FirstColumns(inner=record, count=shape[1], total=wide[1])
        for record in records
    )


def widened(weight: Tensor, shape: Shape) -> Tensor:
    """The weight with columns of zeros up to ``shape``; itself where it has it already."""
    return weight if tuple(weight.shape) == shape else _padded(weight, shape[1])


def _padded(tensor: Tensor, columns: int) -> Tensor:
    more = columns - tensor.shape[1]
    if tensor.is_meta:  # padding a meta tensor wakes torch's compiler, which takes seconds
        return torch.empty((tensor.shape[0], columns, *tensor.shape[2:]), dtype=tensor.dtype, device="meta")
    return F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, more))
