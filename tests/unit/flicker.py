"""A clip that flickers, and how much: frames of the demo, painted flat, with another light for each frame.

``flicker``: how much the deviation from the clean clip changes from one frame to the next, in levels of 255, mean over
all pixels. ``edges``: the mean gradient against that of the clean clip. What moves or is blurred evenly is no flicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import sakuga
from sakuga.video.read import open_clip

Picture = NDArray[np.uint8]
DEMO = Path(sakuga.__file__).parent / "starter" / "demo.mp4"


@cache
def demo(start: int, stop: int, size: tuple[int, int] = (64, 48)) -> tuple[Picture, ...]:
    """Frames of the demo clip, whose second shot begins at frame 28; ``size`` is (width, height)."""
    with open_clip(DEMO) as clip:
        frames = clip.frames(start, stop)
        return tuple(cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA) for frame in frames)


def painted(frames: Sequence[Picture]) -> list[Picture]:
    """The frames as flat paint."""
    return [cv2.bilateralFilter(frame, 5, 50, 5) for frame in frames]


def flickering(frames: Sequence[Picture], *, light: float = 1.0, grain: float = 0.0) -> list[Picture]:
    """Each frame with a gain up to 10 % and an offset up to 8 levels of its own, both a little apart for each channel,
    and with soft blotches of ``grain`` levels (standard deviation), as drawing each frame anew gives them.
    """
    dice, result = np.random.default_rng(0), []
    for frame in frames:
        gain = 1 + light * (dice.uniform(-0.1, 0.1) + dice.uniform(-0.03, 0.03, 3))
        offset = light * (dice.uniform(-8, 8) + dice.uniform(-4, 4, 3))
        blotches = cv2.GaussianBlur(dice.standard_normal(frame.shape), (0, 0), 2.0)
        changed = frame * gain + offset + grain * blotches / blotches.std()
        result.append(np.rint(changed).clip(0, 255).astype(np.uint8))
    return result


def flicker(frames: Sequence[Picture], clean: Sequence[Picture]) -> float:
    apart = [frame.astype(np.float32) - of for frame, of in zip(frames, clean, strict=True)]
    return float(np.mean([np.abs(after - before).mean() for before, after in pairwise(apart)]))


def edges(frames: Sequence[Picture], clean: Sequence[Picture]) -> float:
    return _gradient(frames) / _gradient(clean)


def _gradient(frames: Sequence[Picture]) -> float:
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in frames]
    return float(np.mean([cv2.magnitude(cv2.Sobel(one, -1, 1, 0), cv2.Sobel(one, -1, 0, 1)).mean() for one in grey]))
