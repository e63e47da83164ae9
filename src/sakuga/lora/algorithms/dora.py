"""DoRA: the changed weight V = W + ΔW brought to stated lengths, W' = V · m / ‖V‖, for any additive ΔW.

One number m for each row, or for each column, of the weight: the shape tells which, by the spelling of its writer.
Refuses any other shape and never broadcasts. Source: Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation" (2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.dense import beside_dense
from sakuga.lora.algorithms.layers import weight_of
from sakuga.lora.algorithms.lora import RESHAPED
from sakuga.lora.algorithms.record import Algorithm, Facts, Kind, Rows
from sakuga.lora.algorithms.rows import taken

SPELLINGS = ("dora_scale", "magnitude")  # LyCORIS and OneTrainer; PEFT and ai-toolkit
NAMES = {"LoRA": "DoRA", "LoCon with a Tucker core": "DoRA with a Tucker core", "LoHa": "DoHa", "LoKr": "DoKr"}
ROWS, COLUMNS = 0, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Dora:
    """``inner`` gives ΔW; ``lengths`` are m as in the file, of PEFT's ``spelling`` "magnitude" or of "dora_scale".

    Raises AdapterDoesNotFit when ``lengths`` have the shape of neither axis.
    """

    inner: Algorithm
    lengths: Tensor
    spelling: str
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        shape = tuple(self.lengths.shape)
        if not shape or self.lengths.numel() not in shape[:2] or self.inner.needs_base:
            raise AdapterDoesNotFit(f"a magnitude of {list(shape)} is not one number for each row or column")

    @property
    def _axes(self) -> tuple[int, ...]:
        """The axes of the weight that the shape of m leaves open, the preferred one first."""
        shape, count = tuple(self.lengths.shape), self.lengths.numel()
        if len(shape) == 1 or (self.spelling == "magnitude" and len(shape) > 2 and shape[0] == 1):
            return (ROWS,)  # PEFT writes [1, out, 1, 1] on convolutions
        return tuple(axis for axis in (ROWS, COLUMNS) if shape[axis] == count)

    def axis(self, shape: tuple[int, ...]) -> int | None:
        """The axis that m belongs to of a weight of this shape: rows where both would fit; None where neither does."""
        count = self.lengths.numel()
        return next((axis for axis in self._axes if len(shape) >= 2 and shape[axis] == count), None)

    @property
    def rank(self) -> int | None:
        """The rank of ΔW."""
        return self.inner.rank

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a weight of this shape cannot be changed."""
        if self.axis(shape) is None:
            return f"its weight is {list(shape)}, its magnitude {list(self.lengths.shape)}"
        return self.inner.misfit(shape)

    def remarks(self) -> tuple[str, ...]:
        """Those of ΔW, and an axis that had to be guessed."""
        shape = list(self.lengths.shape)
        unheard = self.spelling == "magnitude" and len(shape) == 2 and shape[0] == 1
        if len(self._axes) == 1 and not unheard:
            return self.inner.remarks()
        side = "rows" if self._axes[0] == ROWS else "columns"
        guessed = f"nothing tells whether a magnitude of {shape} is of rows or columns: {side} are taken"
        return (*self.inner.remarks(), guessed)

    def delta(self, base: Tensor) -> Tensor:
        """V · m / ‖V‖ − W, as ΔW · g + W · (g − 1) with g = m / ‖V‖.

        The lengths in fp64: they hardly differ from m where training was short, and g − 1 is all of the change then.
        """
        weight, change = base.float(), self.inner.delta(base)
        own = self.axis(tuple(base.shape))
        others = tuple(axis for axis in range(base.ndim) if axis != own)
        precise = torch.float32 if base.device.type == "mps" else torch.float64  # Apple's GPUs have no fp64
        norm = torch.linalg.vector_norm(weight + change, dim=others, keepdim=True, dtype=precise)
        if self.spelling == "dora_scale":
            norm = norm + torch.finfo(torch.float32).eps  # as LyCORIS trains it
        norm = norm.clamp_min(torch.finfo(torch.float32).tiny)
        lengths = self.lengths.to(base.device, precise).reshape(norm.shape)
        return change * (lengths / norm).float() + weight * ((lengths - norm) / norm).float()

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The change as one weight."""
        return beside_dense(self.delta(weight_of(layer)), x, layer)

    def factors(self) -> None:
        """None: the lengths of the whole weight change."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Rows with their lengths. Raises AdapterDoesNotFit for columns, whose lengths are those of the whole."""
        if self.axis((total, 0)) != ROWS:
            raise AdapterDoesNotFit("its magnitude is that of whole columns, of which the model has only parts")
        part = self.inner.rows(take, total)
        return replace(self, inner=part, lengths=taken(self.lengths.reshape(-1), take, total))


def with_magnitude(kind: Kind) -> Kind:
    """``kind``, additive, with a magnitude beside its leaves."""

    def read(tensors: Mapping[str, Tensor], facts: Facts) -> Dora:
        (spelling,) = (leaf for leaf in SPELLINGS if leaf in tensors)
        others = {leaf: tensor for leaf, tensor in tensors.items() if leaf != spelling}
        return Dora(inner=kind.read(others, facts), lengths=tensors[spelling], spelling=spelling)

    needed = tuple(given | {spelling} for given in kind.needed for spelling in SPELLINGS)
    name = NAMES.get(kind.name, f"DoRA ({kind.name.split(' (')[0]})")
    return replace(
        kind,
        name=name,
        needed=needed,
        optional=kind.optional - {RESHAPED},  # nobody says whether the lengths are those of the wider weight
        read=read,
        additive=False,
        silent_at_zero=False,
    )
