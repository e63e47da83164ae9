"""Sharpness: every pixel is moved away from a blurred frame, with the arithmetic of Pillow's ImageEnhance.Sharpness.

Refuses to look at other frames: it evens nothing out, and stands among the smoothers because old jobs have it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sakuga.render.smoothers.contrast import away_from

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from sakuga.spec.smoothing import RateOptions


def smooth(
    frames: Sequence[NDArray[np.uint8]],
    _guides: Sequence[NDArray[np.uint8]],
    options: RateOptions,
    _seed: int,
    _device: torch.device,
) -> Iterator[NDArray[np.uint8]]:
    """Each frame with the difference to its blurred self multiplied by the rate."""
    for frame in frames:
        yield away_from(_blurred(frame), frame, options.rate)


def _blurred(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mean of three by three pixels in which the middle counts five times, rounded; the outermost pixels stay."""
    result = frame.copy()
    height, width = frame.shape[:2]
    if height > 2 and width > 2:
        wide = frame.astype(np.int64)
        total = 4 * wide[1:-1, 1:-1]
        for down in range(3):
            for right in range(3):
                total = total + wide[down : down + height - 2, right : right + width - 2]
        result[1:-1, 1:-1] = (2 * total + 13) // 26
    return result
