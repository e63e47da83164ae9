"""Softedge: soft white contours on black, by HED, or without it by the steps of light at several scales.

Without the network: the slope of each colour at three widths; where it is steep at all of them, there is a contour.
Fine ones alone are texture, wide ones alone are shading. Nothing adapts to the frame, so contours do not flicker with
its mean. The measure of a slope is Di Zenzo's (1986), the product over scales Witkin's idea (1983).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sakuga.render.annotators.through import Maps, asked, drawing, worked

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALONE = "contours by picture processing at three scales"
WIDTHS = (1 / 400, 1 / 200, 1 / 100)  # of the Gaussians, as shares of the short side
HALF = 0.15  # the step of colour, black to white being 1, that is drawn half white


def draw(frame: NDArray[np.uint8], network: Maps | None = None) -> NDArray[np.uint8]:
    """Soft edges for one RGB picture, uint8 (height, width, 3) in and out, the same size."""
    if network is not None:
        return drawing(asked(network, worked(frame)), frame)
    picture = frame.astype(np.float32) / np.float32(255)
    short = min(frame.shape[:2])
    product = np.ones(frame.shape[:2], dtype=np.float32)
    for width in WIDTHS:
        step = _steps(picture, max(0.7, width * short))
        product *= step**2 / (step**2 + HALF**2)
    return drawing((product ** (1 / len(WIDTHS)))[..., None], frame)


def _steps(picture: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """How large a step of colour each pixel stands on, 0 … 1: the slope times the width of the Gaussian."""
    import cv2

    smooth = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    padded = np.pad(smooth, ((1, 1), (1, 1), (0, 0)), mode="edge")
    gx = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    gy = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    a, b, c = ((one * two).mean(axis=2) for one, two in ((gx, gx), (gx, gy), (gy, gy)))
    steepest = (a + c + np.sqrt((a - c) ** 2 + 4 * b * b)) / 2
    return np.asarray(np.sqrt(steepest) * sigma * np.sqrt(2 * np.pi), dtype=np.float32)
