"""Light: brightness, contrast and colour of each frame become those of the frames around it. The default smoother.

Flicker shows where the guides (the frames of the clip before it was drawn) stay the same, so only those places count:

    places   w = exp(−d² / T²), d² the mean of (guide_t − guide_s)² in small copies, and then once more divided by
             1 + r² / T², r being what the fit below leaves there: places drawn in another way count less
    fit      for each channel a = σ_s / σ_t and b = μ_s − a · μ_t, means and deviations under these weights; to each σ²
             150 is added, so that the noise of a flat picture is no contrast
    result   the mean of a and of b over the window, where s counts W / (W + 0.3), W being the mean of its w;
             every level x becomes x + strength · (a · x + b − x)

What the clip itself does, such as a lamp that goes out, stays, and so does every edge: pixels are never moved or mixed.
Works on one shot and keeps small copies of one window. Refuses to know where a shot ends.
Sources: Reinhard et al., "Color Transfer between Images" (2001), for the fit; the mean over time after Delon and
Desolneux, "Stabilization of Flicker-Like Effects in Image Sequences through Local Contrast Correction" (2010).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from sakuga.spec.smoothing import LightOptions

Picture: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
SHORT_SIDE = 32  # pixels of the small copies
TOLERANCE = 6.0  # levels of 255 between pixels that count as the same (T above)
FEW = 0.3  # a frame with this share of equal places counts half
FLAT = 150.0  # squared levels, added to each variance


class _Small(NamedTuple):
    """Small copies of a frame and its guide, float32 [places, 3] each."""

    frame: Floats
    guide: Floats


def smooth(
    frames: Sequence[Picture],
    guides: Sequence[Picture],
    options: LightOptions,
    _seed: int,
    _device: torch.device,
) -> Iterator[Picture]:
    """The frames of one shot with their light evened over the window; each is asked for twice."""
    if options.strength == 0:
        yield from frames
        return
    near: deque[_Small] = deque()
    count, window = len(frames), options.window
    for number in range(count):
        for new in range(number + window if number else 0, min(number + window + 1, count)):
            near.append(_Small(_small(frames[new]), _small(guides[new])))
        if number > window:
            near.popleft()
        gain, offset = _light(near, min(number, window))
        yield _changed(frames[number], gain, offset, options.strength)


def _light(near: Sequence[_Small], middle: int) -> tuple[Floats, Floats]:
    """(gain, offset) of each channel that bring the frame at ``middle`` to the mean of all that are near."""
    frames, guides = np.stack([one.frame for one in near]), np.stack([one.guide for one in near])
    own = frames[middle]
    same = np.exp(-np.square(guides - guides[middle]).mean(-1, keepdims=True) / TOLERANCE**2)
    gains, offsets = _fit(own, frames, same)
    left = frames - gains * own - offsets
    same /= 1 + np.square(left).mean(-1, keepdims=True) / TOLERANCE**2
    gains, offsets = _fit(own, frames, same)
    share = same.mean(1, keepdims=True)
    weights = share / (share + FEW)
    total = weights.sum()
    return (weights * gains).sum((0, 1)) / total, (weights * offsets).sum((0, 1)) / total


def _fit(own: Floats, others: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(gain, offset), each [frames, 1, 3], that give ``own`` [places, 3] the mean and deviation of each of ``others``
    [frames, places, 3] where ``weights`` [frames, places, 1] are high.
    """
    total = weights.sum(1, keepdims=True) + 1e-6
    own_mean = (weights * own).sum(1, keepdims=True) / total
    mean = (weights * others).sum(1, keepdims=True) / total
    own_spread = (weights * np.square(own - own_mean)).sum(1, keepdims=True) / total
    spread = (weights * np.square(others - mean)).sum(1, keepdims=True) / total
    gain = np.sqrt((spread + FLAT) / (own_spread + FLAT))
    return gain, mean - gain * own_mean


def _changed(frame: Picture, gain: Floats, offset: Floats, strength: float) -> Picture:
    """Every level x of each channel as x + strength · (gain · x + offset − x), rounded and cut to 0 … 255."""
    import cv2

    levels = np.arange(256, dtype=np.float32)[:, None]
    table = levels + np.float32(strength) * (gain * levels + offset - levels)
    return np.asarray(cv2.LUT(frame, np.rint(table).clip(0, 255).astype(np.uint8)[:, None]), dtype=np.uint8)


def _small(picture: Picture) -> Floats:
    """[places, 3]: the picture with a short side of ``SHORT_SIDE`` pixels at most."""
    import cv2

    height, width = picture.shape[:2]
    scale = min(1.0, SHORT_SIDE / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    little = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    return little.reshape(-1, 3).astype(np.float32)
