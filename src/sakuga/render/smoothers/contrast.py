"""Contrast: every level is moved away from the frame's mean grey, in the arithmetic of Pillow's ImageEnhance.

Refuses to look at other frames: it evens nothing out, and stands among the smoothers because old jobs have it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

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
    """Each frame with its contrast multiplied by the rate."""
    for frame in frames:
        yield away_from(np.full_like(frame, _mean_grey(frame)), frame, options.rate)


def away_from(plain: NDArray[np.uint8], frame: NDArray[np.uint8], rate: float) -> NDArray[np.uint8]:
    """plain + rate · (frame − plain), cut to 0 … 255 and rounded down."""
    base = plain.astype(np.float32)
    result: NDArray[np.uint8] = (base + np.float32(rate) * (frame - base)).clip(0, 255).astype(np.uint8)
    return result


def _mean_grey(frame: NDArray[np.uint8]) -> int:
    """The rounded mean of the luma of ITU-R BT.601, in 16-bit fixed point."""
    grey = (frame.astype(np.int64) @ np.array([19595, 38470, 7471]) + 0x8000) >> 16
    return int(grey.mean() + 0.5)
