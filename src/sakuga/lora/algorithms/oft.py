"""OFT: the weight turned by a block-diagonal rotation, on the side of its rows or of its columns.

One record for all dialects; which blocks turn which way is the table in ``oft_dialects``. Refuses blocks that do not
divide the side. Source: Qiu et al., "Controlling Text-to-Image Diffusion by Orthogonal Finetuning" (2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.layers import of_input, of_output, output_with, takes_features_alone, weight_of
from sakuga.lora.algorithms.record import Algorithm, Rows
from sakuga.lora.algorithms.rows import check_rows, taken
from sakuga.lora.algorithms.turns import Turn, turned, unlike_rotations

Side = Literal["rows", "columns"]
ROUGH = 1e-2  # above this root mean square, stored rotations are worth a word


@dataclass(frozen=True, kw_only=True, eq=False)
class Oft:
    """``blocks`` as in the file, read by ``turn`` (by ``kernel_turn`` on convolutions, where that is another one).

    ``side`` "rows": W' = M · W; "columns": W' = W · M, with the kernel among the columns. ``rescale`` [out] multiplies
    the turned rows. ``shared``: a single block serves the whole side. ``overhang``: the blocks are equal parts of the
    side, rounded up, so that the last may reach beyond it. ``kernels``: whether a kernel above 1 may be changed.
    ``kept``: the blocks that are used; None: all.

    Raises AdapterDoesNotFit for blocks that are none.
    """

    blocks: Tensor
    turn: Turn
    side: Side
    kernel_turn: Turn | None = None
    rescale: Tensor | None = None
    shared: bool = False
    overhang: bool = False
    kernels: bool = True
    kept: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    needs_base: ClassVar[bool] = True
    rank: ClassVar[None] = None

    def __post_init__(self) -> None:
        shape, ndim = self.blocks.shape, 2 if self.turn.stored == "triangle" else 3
        if not self.turn.size(self.blocks) or len(shape) != ndim or 0 in shape:
            raise AdapterDoesNotFit(f"blocks of {list(shape)} are not those of an OFT")

    @property
    def size(self) -> int:
        """The rows of one block."""
        return self.turn.size(self.blocks) or 0

    @property
    def count(self) -> int:
        """How many blocks are used."""
        return len(self.blocks) if self.kept is None else len(self.kept)

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a weight of this shape cannot be changed."""
        if len(shape) < 2:
            return f"its weight is {list(shape)}, which has no two sides to turn"
        if not self.kernels and any(size != 1 for size in shape[2:]):
            return "PEFT's OFT turns patches of the input on a kernel above 1, which no change of the weight equals"
        length = shape[0] if self.side == "rows" else math.prod(shape[1:])
        if self.shared and self.count == 1:
            whole = self.overhang or length % self.size == 0
        else:
            whole = self.size == (math.ceil(length / self.count) if self.overhang else length / self.count)
        if not whole:
            return f"its weight {list(shape)} has {length} {self.side}, the adapter turns {self.count} x {self.size}"
        if self.rescale is not None and len(self.rescale) != shape[0]:
            return f"its weight is {list(shape)}, the adapter scales {len(self.rescale)} rows"
        return None

    def remarks(self) -> tuple[str, ...]:
        """What was assumed, and rotations that are none."""
        if self.turn.stored != "rotation" or self.blocks.is_meta:
            return self.notes
        one = torch.eye(self.size, device=self.blocks.device)
        rough = min(unlike_rotations(self.blocks), unlike_rotations(self.blocks + one))
        return self.notes if rough < ROUGH else (*self.notes, "its stored rotations are none: they stretch")

    def delta(self, base: Tensor) -> Tensor:
        """M · W − W or W · M − W, and the rows scaled."""
        weight = base.float()
        flat = weight.flatten(1)
        change = self._change(base.device, kernel=base.ndim > 2)
        difference = turned(change, flat.T).T if self.side == "rows" else turned(change.mT, flat)
        return rescaled(difference.reshape(base.shape), weight, self.rescale, 0)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The layer's output or input turned."""
        kernel = not isinstance(layer, nn.Linear)
        if self.side == "rows":
            return of_output(x, layer, lambda y: self.of_rows(y, kernel=kernel))
        if self.rescale is not None or not takes_features_alone(layer):
            return output_with(x, layer, self.delta(weight_of(layer)))
        return of_input(x, layer, lambda features: turned(self._change(x.device, kernel=kernel), features))

    def of_rows(self, outputs: Tensor, *, kernel: bool) -> Tensor:
        """The change of the layer's outputs, which lie in the last dimension, when the rows are turned."""
        change = self._change(outputs.device, kernel=kernel)
        return rescaled(turned(change, outputs), outputs, self.rescale, -1)

    def factors(self) -> None:
        """None: a rotation is not of low rank."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """Turned columns are those of every row; of turned rows, whole blocks."""
        check_rows(take, total)
        rescale = None if self.rescale is None else taken(self.rescale, take, total)
        if self.side == "columns":
            return replace(self, rescale=rescale)
        if self.misfit((total, 1)):
            raise AdapterDoesNotFit(f"{self.count} blocks of {self.size} rows are not those of {total} rows")
        if any(edge % self.size for edges in take for edge in edges):
            raise AdapterDoesNotFit(f"its blocks of {self.size} rows lie across the parts of a fused weight")
        own = range(total // self.size) if self.kept is None else self.kept
        used = [own[block] for first, end in take for block in range(first // self.size, end // self.size)]
        return replace(self, rescale=rescale, kept=tuple(0 if len(self.blocks) == 1 else block for block in used))

    def _change(self, device: torch.device, *, kernel: bool) -> Tensor:
        turn = self.kernel_turn if kernel and self.kernel_turn is not None else self.turn
        change = turn.change(self.blocks.to(device))  # of all blocks: a limit of the norm is that of the whole
        return change if self.kept is None else change[list(self.kept)]


@dataclass(frozen=True, kw_only=True, eq=False)
class OftParts:
    """Several OFTs, each on its own rows of one fused weight, one after another."""

    parts: tuple[Oft, ...]
    needs_base: ClassVar[bool] = True
    rank: ClassVar[None] = None

    @property
    def _sizes(self) -> list[int]:
        return [part.count * part.size for part in self.parts]

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a weight of this shape cannot be changed."""
        if len(shape) < 2 or shape[0] != sum(self._sizes):
            return f"its weight is {list(shape)}, the adapter turns {' + '.join(map(str, self._sizes))} rows"
        return None

    def remarks(self) -> tuple[str, ...]:
        """Those of the parts."""
        return tuple(dict.fromkeys(text for part in self.parts for text in part.remarks()))

    def delta(self, base: Tensor) -> Tensor:
        """The change of each part of the rows."""
        return torch.cat([part.delta(rows) for part, rows in zip(self.parts, base.split(self._sizes), strict=True)])

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        """Each part of the layer's output turned."""
        kernel = not isinstance(layer, nn.Linear)

        def change(outputs: Tensor) -> Tensor:
            apart = zip(self.parts, outputs.split(self._sizes, -1), strict=True)
            return torch.cat([part.of_rows(own, kernel=kernel) for part, own in apart], -1)

        return of_output(x, layer, change)

    def factors(self) -> None:
        """None: rotations are not of low rank."""

    def rows(self, take: Rows, total: int) -> Algorithm:
        """The parts, and parts of parts, that lie on these rows."""
        check_rows(take, total)
        if total != sum(self._sizes):
            raise AdapterDoesNotFit(f"it turns {sum(self._sizes)} rows, the fused weight has {total}")
        found: list[Oft] = []
        for first, end in take:
            start = 0
            for part, size in zip(self.parts, self._sizes, strict=True):
                low, high = max(first, start) - start, min(end, start + size) - start
                if low < high:
                    own = part.rows(((low, high),), size)
                    assert isinstance(own, Oft)
                    found.append(own)
                start += size
        return OftParts(parts=tuple(found))


def rescaled(difference: Tensor, whole: Tensor, rescale: Tensor | None, axis: int) -> Tensor:
    """s ∘ (whole + difference) − whole, along ``axis``."""
    if rescale is None:
        return difference
    shape = [1] * whole.ndim
    shape[axis] = -1
    scale = rescale.to(whole.device, torch.float32).reshape(shape)
    return (scale * difference + (scale - 1) * whole).to(whole.dtype)
