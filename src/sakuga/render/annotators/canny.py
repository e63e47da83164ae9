"""Canny: thin white edges on black (Canny 1986), as the ControlNets of that name were trained with.

Refuses to choose thresholds by the picture: they are fixed, so that edges do not flicker with the mean of a frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOW, HIGH = 100, 200  # of controlnet-aux and of Diffutoon


def draw(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """White edges on black for one RGB picture, uint8 (height, width, 3) in and out, the same size."""
    import cv2

    edges = cv2.Canny(np.ascontiguousarray(frame), LOW, HIGH)
    return np.repeat(edges[..., None], 3, axis=2).astype(np.uint8, copy=False)
