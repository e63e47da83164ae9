"""Lineart of drawings: white lines on black, by the anime network, or without it those of ``lineart``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sakuga.render.annotators import lineart
from sakuga.render.annotators.through import Maps, asked, back, worked

if TYPE_CHECKING:
    from numpy.typing import NDArray

MULTIPLE = 256  # the network halves its picture eight times


def draw(frame: NDArray[np.uint8], network: Maps | None = None) -> NDArray[np.uint8]:
    """White lines on black for one RGB picture, uint8 (height, width, 3) in and out, the same size."""
    if network is None:
        return lineart.draw(frame)
    import cv2

    work = worked(frame)
    height, width = work.shape[:2]
    size = (-(-width // MULTIPLE) * MULTIPLE, -(-height // MULTIPLE) * MULTIPLE)
    paper = asked(network, cv2.resize(work, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False))
    paper = cv2.resize(paper[..., 0] * 255, (width, height), interpolation=cv2.INTER_CUBIC)
    return back(255 - np.clip(paper, 0, 255).astype(np.uint8)[..., None], frame)
