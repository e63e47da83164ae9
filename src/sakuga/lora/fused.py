"""Fused: the change is added into the weight itself. Computes the new weight from the pristine one, into other memory
or in its place, and decides nothing. See docs/decisions/0004.

What all adapters of low rank do to a tensor is one product of their factors side by side; everything else is added to
it. All of it is summed in fp32, by ranges of rows, and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import Algorithm, Factors

CHUNK_BYTES = 4 * 2**20  # of the fp32 sum at a time: it stays in the processor's cache, and is all the extra memory
SAFE = 1e30  # a sum below this leaves every finite fp32 or bf16 weight finite
# Integers of the same size, so that copying moves bits and never numbers (a NaN keeps its payload).
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One change at a strength, of the rows ``into`` of the weight (None: all)."""

    strength: float
    record: Algorithm
    into: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """Factors [rows, r] and [r, columns] of the rows ``first`` … ``end``, the strength inside ``up``."""

    up: Tensor
    down: Tensor
    first: int
    end: int


class Scratch:
    """Memory that is used again for every tensor: fresh pages would cost more than the sums that are put there."""

    def __init__(self) -> None:
        self._kept: dict[torch.device, Tensor] = {}

    def numbers(self, count: int, device: torch.device) -> Tensor:
        """``count`` fp32 numbers, which are lost when the next are asked for."""
        kept = self._kept.get(device)
        if kept is None or kept.numel() < count:
            with torch.inference_mode(False):
                kept = self._kept[device] = torch.empty(count, device=device)
        return kept[:count]


class _Sum:
    """Σ s ΔW of one tensor, ready to be read by ranges of rows."""

    def __init__(self, pristine: Tensor, parts: Sequence[Part]) -> None:
        self._shape, self._device = pristine.shape, pristine.device
        self._pairs: list[_Pair] = []
        self._dense: Tensor | None = None
        self._spans: list[tuple[int, int]] = []  # rows of the dense sum
        self._cuts = {0, pristine.shape[0]}
        for part in parts:
            first, end = part.into or (0, pristine.shape[0])
            self._cuts |= {first, end}
            pair = part.record.factors()
            if pair is None:
                self._add(part, pristine[first:end], first, end)
            else:
                self._pairs.append(self._pair(pair, part.strength, first, end))

    def _add(self, part: Part, rows: Tensor, first: int, end: int) -> None:
        change = part.record.delta(rows)
        self._spans.append((first, end))
        if self._dense is None and rows.shape == self._shape:
            self._dense = change * part.strength
            return
        if self._dense is None:
            self._dense = torch.zeros(self._shape, device=self._device)
        self._dense[first:end].add_(change, alpha=part.strength)

    def _pair(self, pair: Factors, strength: float, first: int, end: int) -> _Pair:
        up = pair.up.to(self._device)
        down = pair.down_for((end - first, *self._shape[1:])).to(self._device).flatten(1)
        return _Pair(up=up if strength == 1 else up * strength, down=down, first=first, end=end)

    def bound(self) -> float:
        """No number of the sum is larger; infinite or NaN when that cannot be said."""
        found = 0.0 if self._dense is None else _largest(self._dense)
        return found + sum(pair.up.shape[1] * _largest(pair.up) * _largest(pair.down) for pair in self._pairs)

    def chunks(self, scratch: Scratch) -> Iterator[tuple[int, int, Tensor | None]]:
        """(first row, end, the sum there) from top to bottom; None where nothing changes. Each sum is overwritten by
        the next.
        """
        columns = max(1, math.prod(self._shape[1:]))
        step = max(1, CHUNK_BYTES // 4 // columns)
        for first, end in pairwise(sorted(self._cuts)):
            here = [pair for pair in self._pairs if pair.first <= first and end <= pair.end]
            dense = any(one <= first and end <= last for one, last in self._spans)
            if not here and not dense:
                yield first, end, None
                continue
            up = torch.cat([pair.up[first - pair.first : end - pair.first] for pair in here], 1) if here else None
            down = torch.cat([pair.down for pair in here]) if here else None
            for start in range(first, end, step):
                stop = min(start + step, end)
                added = self._dense[start:stop] if dense and self._dense is not None else None
                if up is None or down is None:
                    yield start, stop, added
                    continue
                total = scratch.numbers((stop - start) * columns, self._device).view(stop - start, columns)
                torch.mm(up[start - first : stop - first], down, out=total)
                total = total.view(stop - start, *self._shape[1:])
                yield start, stop, total if added is None else total.add_(added)


def fused(pristine: Tensor, parts: Sequence[Part], out: Tensor, scratch: Scratch) -> bool:
    """round(W + Σ s ΔW) into ``out``, which is of the format of ``pristine``; rows that no part means keep their bits.
    ``out`` may be ``pristine`` itself: what looks at the whole of W has done so before the first row is written.

    False when the sum is zero everywhere; ``out`` is not to be used then, its zeros may have lost their sign. The order
    of ``parts`` is that of the sum: the caller gives one that does not depend on how the user listed the adapters.
    Raises AdapterDoesNotFit when the result is beyond the format's range.
    """
    changed = False
    with _exact(pristine.device):
        total = _Sum(pristine, parts)
        safe = pristine.dtype != torch.float16 and total.bound() < SAFE
        for first, end, rows in total.chunks(scratch):
            old, new = pristine[first:end], out[first:end]
            if rows is None:
                if out is not pristine:
                    copy_bits(new, old)
                continue
            if out is pristine and not safe:
                old = old.clone()  # to be looked at when it is written over
            changed = changed or bool(rows[0].any()) or bool(rows.any())
            if old.element_size() >= 4:
                torch.add(old, rows, out=new)
            else:
                new.copy_(rows.add_(old))
            if not safe and not _finite(new) and _finite(old):
                raise AdapterDoesNotFit("the sum of the adapters is beyond the range of the weight's number format")
    return changed


def summed(pristine: Tensor, parts: Sequence[Part]) -> Tensor:
    """Σ s ΔW as ``fused`` takes it, in fp32."""
    with _exact(pristine.device):
        whole = torch.zeros(pristine.shape, device=pristine.device)
        for first, end, rows in _Sum(pristine, parts).chunks(Scratch()):
            if rows is not None:
                whole[first:end] = rows
    return whole


def copy_bits(into: Tensor, source: Tensor) -> None:
    """The bits of ``source`` into the memory of ``into``, which is of the same format."""
    bits = _BITS[into.element_size()]
    into.view(bits).copy_(source.view(bits))


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one format are the same to the bit; a NaN equals itself, and 0 is not −0."""
    bits = _BITS[one.element_size()]
    return torch.equal(one.view(bits), other.view(bits))


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Sums in fp32 under autocast too, and nothing remembered for gradients."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def _largest(tensor: Tensor) -> float:
    """The greatest absolute number in one pass; NaN when there is a NaN."""
    low, high = torch.aminmax(tensor)
    return max(abs(float(low)), abs(float(high)))


def _finite(tensor: Tensor) -> bool:
    return math.isfinite(_largest(tensor))
