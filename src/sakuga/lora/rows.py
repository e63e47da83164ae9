"""Rows: weights that differ inside a batch, and how a layer's input tells which row is whose. See docs/decisions/0003.

A table has a number for each frame of each half of guidance. Inputs of image layers are [halves · frames, …] with the
frames of a half one after another; those of motion layers [halves · pixels, frames, channels]. Whatever does not fit is
an error: a number is never spread over rows that nobody counted.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sakuga.errors import SakugaError
from sakuga.lora.targets import Use
from sakuga.lora.weight import StackWeight, check_number


@dataclass(frozen=True, kw_only=True)
class Table:
    """``numbers[half][frame]``, the positive half first. Raises SakugaError unless it is a full table of numbers."""

    numbers: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len({len(half) for half in self.numbers}) != 1 or not self.numbers[0]:
            raise _no_table(self.numbers)
        for half in self.numbers:
            for number in half:
                check_number("a number of the table", number)

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> Table:
        """The table of plain lists."""
        try:
            return cls(numbers=tuple(tuple(float(number) for number in half) for half in rows))
        except (TypeError, ValueError):
            raise _no_table(rows) from None

    @property
    def size(self) -> tuple[int, int]:
        """Halves and frames."""
        return len(self.numbers), len(self.numbers[0])

    def times(self, factor: float) -> Table:
        """Every number multiplied."""
        return Table(numbers=tuple(tuple(number * factor for number in half) for half in self.numbers))

    @property
    def silent(self) -> bool:
        """Whether all of it is 0."""
        return not any(number for half in self.numbers for number in half)


Strength = float | Table


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a stack is to do, by entry. ``varying`` have a table in every call; ``tables`` are those of the next one."""

    weights: tuple[StackWeight, ...]
    varying: frozenset[int] = frozenset()
    tables: Mapping[int, Table] = field(default_factory=dict)


class Strengths:
    """What every use of a stack is worth now. ``version`` grows with every change."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted, self.version = wanted, 0

    def change(self, wanted: Wanted) -> None:
        """New numbers for all."""
        self.wanted, self.version = wanted, self.version + 1

    def constant(self, use: Use) -> float:
        """The strength of a use that is one number for all rows."""
        return self.wanted.weights[use.entry].on(use.component, use.blocks)

    def of(self, use: Use, layer: str) -> Strength | None:
        """The strength of a use; None when it is without effect. Raises SakugaError when its rows were not set."""
        wanted = self.wanted
        if use.entry not in wanted.varying or use.component.startswith("text_encoder"):
            return self.constant(use) or None
        if use.entry not in wanted.tables:
            raise SakugaError(
                "a layer whose weights differ inside a batch was called without them",
                given=layer,
                do="call set_rows before each call of the network",
            )
        table = wanted.tables[use.entry].times(wanted.weights[use.entry].factor(use.blocks))
        return None if table.silent else table


def scale_of(strengths: Sequence[Strength], widths: Sequence[int], like: Tensor) -> Tensor:
    """Strengths as factors of columns, each of as many as its width: [columns], or [halves, frames, columns]."""
    size = next((strength.size for strength in strengths if isinstance(strength, Table)), None)
    columns = []
    for strength, width in zip(strengths, widths, strict=True):
        numbers = torch.tensor(strength.numbers if isinstance(strength, Table) else strength)
        columns.append(numbers[..., None].expand(*(size or ()), width))
    return torch.cat(columns, -1).to(like.device, like.dtype)


def scaled(y: Tensor, scale: Tensor, *, axis: int, motion: bool, layer: str) -> Tensor:
    """``y`` times ``scale``, whose columns are dimension ``axis`` (from the end) of ``y``.

    Raises SakugaError, naming the layer, when the rows of ``y`` are not those of the table.
    """
    after = -axis - 1
    if scale.ndim == 1:
        return y * scale.reshape(-1, *[1] * after)
    halves, frames, columns = scale.shape
    if motion and y.ndim == 3:
        if y.shape[0] % halves or y.shape[1] != frames:
            raise _misfit(layer, y, f"[{halves} halves · pixels, {frames} frames, …], as it is a motion layer")
        return (y.unflatten(0, (halves, -1)) * scale[:, None]).flatten(0, 1)
    if y.shape[0] != halves * frames:
        raise _misfit(layer, y, f"{halves} halves · {frames} frames = {halves * frames} rows")
    return y * scale.reshape(halves * frames, *[1] * (y.ndim - 2 - after), columns, *[1] * after)


def _no_table(given: object) -> SakugaError:
    return SakugaError(
        "this is no table of halves by frames",
        given=reprlib.repr(given),
        expected="one number, or a list of numbers for each half of the batch",
        do="give as many numbers for each half",
    )


def _misfit(layer: str, y: Tensor, expected: str) -> SakugaError:
    return SakugaError(
        "the rows of a layer are not those that its weights were set for",
        given=f"{layer}: {list(y.shape)}",
        expected=expected,
        do="set the rows of this very call; a layer that mixes frames in another way cannot have a weight for each",
    )
