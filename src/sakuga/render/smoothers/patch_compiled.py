"""The kernels of ``patch_kernels.py`` for a CPU, compiled by numba where it is installed: the same bytes, sooner.

A candidate is given up as soon as the sum so far exceeds the best error, which changes no result. Each picture is
worked off in stripes of rows, one for each of torch's threads. Refuses CUDA devices, and to be needed: without numba,
torch does the same.
"""

# The functions below are compiled, so they are written as C would be: no objects, and indices without a sign, since
# numba asks of each signed index whether it counts from the end.

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sakuga.render.smoothers.patch_kernels import Level, edges_repeated

NUMBA = "numba"  # a package that is asked for by those who smooth with patch match on a CPU, and by nobody else
LEAST_PIXELS = 4096  # of a stripe; smaller ones are not worth a thread
Bytes = NDArray[np.uint8]


def has_numba() -> bool:
    """Whether the compiled kernels can be used here."""
    return importlib.util.find_spec(NUMBA) is not None


class CompiledKernels:
    """The kernels by numba, for tensors on a CPU."""

    def __init__(self, level: Level, reach: int, guide_weight: float) -> None:
        self.reach, self.guide_weight = reach, guide_weight
        self.pairs, self.height, self.width, _ = level.target_guides.shape
        self.target_guides = _rows(level.target_guides)
        self.target_styles = self.target_guides
        self.source_guides = _rows(edges_repeated(level.source_guides, reach))
        self.source_styles = _rows(edges_repeated(level.source_styles, reach))

    def aim(self, styles: Tensor) -> None:
        self.target_styles = _rows(styles)

    def rate(self, field: Tensor, patch: int) -> Tensor:
        errors = torch.full((self.pairs, self.height, self.width), torch.inf)
        self._try(field, errors, field, patch, known=False)
        return errors

    def attempt(self, field: Tensor, errors: Tensor, candidates: Tensor, patch: int) -> None:
        self._try(field, errors, candidates, patch, known=True)

    def _try(self, field: Tensor, errors: Tensor, candidates: Tensor, patch: int, *, known: bool) -> None:
        work = _compiled(_attempt)
        fields, candidate_fields, error_maps = field.numpy(), candidates.numpy(), errors.numpy()

        def stripe(pair: int, first: int, last: int) -> None:
            pictures = self.target_guides, self.target_styles, self.source_guides, self.source_styles
            arrays = (*(picture[pair] for picture in pictures), fields[pair], error_maps[pair], candidate_fields[pair])
            work(*arrays, patch // 2, self.reach, self.guide_weight, known, first, last)

        self._in_stripes(stripe)

    def reconstruct(self, field: Tensor, patch: int) -> Tensor:
        work = _compiled(_reconstruct)
        result = torch.empty(self.pairs, self.height, self.width, 3, dtype=torch.uint8)
        fields, results = field.numpy(), _rows(result)

        def stripe(pair: int, first: int, last: int) -> None:
            work(self.source_styles[pair], fields[pair], results[pair], patch // 2, self.reach, first, last)

        self._in_stripes(stripe)
        return result

    def _in_stripes(self, work: Callable[[int, int, int], None]) -> None:
        """Call ``work`` (pair, first row, row behind the last) for all rows of all pairs, spread over the threads."""
        threads = torch.get_num_threads()
        parts = min(-(-threads // self.pairs), max(1, self.height * self.width // LEAST_PIXELS))
        cuts = [self.height * part // parts for part in range(parts + 1)]
        stripes = [(pair, *ends) for pair in range(self.pairs) for ends in pairwise(cuts)]
        if threads == 1 or self.height * self.width * self.pairs < 2 * LEAST_PIXELS:
            for one in stripes:
                work(*one)
        else:
            list(_pool(threads).map(lambda one: work(*one), stripes))


def _rows(pictures: Tensor) -> Bytes:
    """uint8 [pairs, height, width · 3], the same memory where the tensor is contiguous."""
    array: Bytes = pictures.contiguous().numpy()
    return array.reshape(*array.shape[:2], -1)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="patch")


@cache
def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    numba: Any = importlib.import_module(NUMBA)
    result: Callable[..., None] = numba.njit(nogil=True)(function)
    return result


def _attempt(
    target_guide: Bytes,
    target_style: Bytes,
    source_guide: Bytes,
    source_style: Bytes,
    field: NDArray[np.int16],
    errors: NDArray[np.float32],
    candidates: NDArray[np.int16],
    half: int,
    reach: int,
    guide_weight: float,
    known: bool,
    first: int,
    last: int,
) -> None:
    """Take each candidate whose error is below the one in ``errors``; ``known``: equal matches need no second look."""
    height, width = errors.shape
    for row in range(first, last):
        top, bottom = max(-half, -row), min(half, height - 1 - row)
        for column in range(width):
            down, right = candidates[0, row, column], candidates[1, row, column]
            if known and down == field[0, row, column] and right == field[1, row, column]:
                continue
            left, count = max(-half, -column), min(half, width - 1 - column)
            length = np.uint64((count - left + 1) * 3)
            target_at = np.uint64((column + left) * 3)
            source_at = np.uint64((column + right + reach + left) * 3)
            best = errors[row, column]
            guide_sum, style_sum = np.int64(0), np.int64(0)
            error = np.float32(0.0)
            for step in range(top, bottom + 1):
                y, z = np.uint64(row + step), np.uint64(row + step + down + reach)
                part = np.int32(0)
                for i in range(length):
                    d = np.int32(target_guide[y, target_at + np.uint64(i)]) - np.int32(
                        source_guide[z, source_at + np.uint64(i)]
                    )
                    part += d * d
                guide_sum += part
                part = np.int32(0)
                for i in range(length):
                    d = np.int32(target_style[y, target_at + np.uint64(i)]) - np.int32(
                        source_style[z, source_at + np.uint64(i)]
                    )
                    part += d * d
                style_sum += part
                error = np.float32(guide_weight * guide_sum + style_sum)
                if error >= best:
                    break
            if error < best:
                errors[row, column] = error
                field[0, row, column], field[1, row, column] = down, right


def _reconstruct(
    source_style: Bytes, field: NDArray[np.int16], result: Bytes, half: int, reach: int, first: int, last: int
) -> None:
    """The mean of what the matches of all neighbours say of a pixel, without those that lie outside the source."""
    _, height, width = field.shape
    for row in range(first, last):
        top, bottom = max(0, row - half), min(height - 1, row + half)
        for column in range(width):
            red, green, blue, count = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
            for y in range(np.uint64(top), np.uint64(bottom + 1)):
                for x in range(np.uint64(max(0, column - half)), np.uint64(min(width - 1, column + half) + 1)):
                    from_row = row + field[0, y, x]
                    from_column = column + field[1, y, x]
                    if 0 <= from_row < height and 0 <= from_column < width:
                        z, at = np.uint64(from_row + reach), np.uint64((from_column + reach) * 3)
                        red += source_style[z, at]
                        green += source_style[z, at + np.uint64(1)]
                        blue += source_style[z, at + np.uint64(2)]
                        count += 1
            result[row, column * 3] = (2 * red + count) // (2 * count)
            result[row, column * 3 + 1] = (2 * green + count) // (2 * count)
            result[row, column * 3 + 2] = (2 * blue + count) // (2 * count)
