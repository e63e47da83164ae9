"""Lineart: the contours of a frame as white lines on black, by a network, or without it by picture processing alone.

Without: a flow-based difference of Gaussians, taken across the local edge direction and averaged along it, so that
lines come out long and clean and texture does not. Refuses nothing: any size, one picture in, one picture out.
Sources: Kang et al., "Coherent Line Drawing" (2007); Kyprianidis and Döllner, "Image Abstraction by Structure Adaptive
Filtering" (2008); Winnemöller et al., "XDoG" (2012).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sakuga.render.annotators.through import Maps, asked, drawing, worked

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALONE = "lines by picture processing (XDoG)"
WORK_SHORT_SIDE = 384  # small frames are enlarged to this first, so that a line may be thinner than a pixel
SIGMA_AT_WORK = 1.25  # width of the inner Gaussian in pixels at the work size
RATIO = 1.6  # outer over inner Gaussian; 1.6 approximates the Laplacian
EDGE_WEIGHT = 0.985  # share of the outer Gaussian that is taken off; below 1 keeps flat areas silent
SHARPNESS = 110.0  # slope of the soft threshold
FLOW_RADIUS = 7  # how far a line is averaged along its direction, in work pixels
MIN_AREA = 26  # connected lines of fewer work pixels are specks and are dropped


def draw(frame: NDArray[np.uint8], network: Maps | None = None) -> NDArray[np.uint8]:
    """White lines on black for one RGB picture, uint8 (height, width, 3) in and out, the same size."""
    if network is not None:
        return drawing(asked(network, worked(frame)), frame, inverted=True)
    import cv2

    height, width = frame.shape[:2]
    zoom = max(1.0, WORK_SHORT_SIDE / min(height, width))
    work = frame
    if zoom > 1:
        size = (round(width * zoom), round(height * zoom))
        work = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    smooth = cv2.bilateralFilter(work, 9, 26, 5)
    light = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32) / 255
    sigma = SIGMA_AT_WORK * max(1.0, min(work.shape[:2]) / WORK_SHORT_SIDE) ** 0.5
    ink = _drop_specks(_soft_threshold(_flow_dog(light, sigma)))
    line = (np.clip(ink, 0, 1) * 255).astype(np.uint8)
    if zoom > 1:
        line = cv2.resize(line, (width, height), interpolation=cv2.INTER_AREA)
    return np.repeat(line[..., None], 3, axis=2)


def _flow_dog(light: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Difference of Gaussians across the edge direction, averaged along it; negative on the dark side of an edge."""
    tangent_x, tangent_y = _edge_tangent(light, sigma)
    across = _difference_across(light, -tangent_y, tangent_x, sigma)
    return _average_along(across, tangent_x, tangent_y)


def _edge_tangent(light: NDArray[np.float32], sigma: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors along the edges: the minor eigenvector of the smoothed structure tensor."""
    import cv2

    gx = cv2.Sobel(light, cv2.CV_32F, 1, 0)
    gy = cv2.Sobel(light, cv2.CV_32F, 0, 1)
    blur = 2.2 * sigma
    e, f, g = (cv2.GaussianBlur(p, (0, 0), blur) for p in (gx * gx, gx * gy, gy * gy))
    major = 0.5 * (e + g + np.sqrt((e - g) ** 2 + 4 * f * f))
    x, y = major - e, -f
    length = np.sqrt(x * x + y * y)
    flat = length < 1e-9
    x, y = np.where(flat, 0, x), np.where(flat, 1, y)
    length = np.where(flat, 1, length)
    return (x / length).astype(np.float32), (y / length).astype(np.float32)


def _difference_across(
    light: NDArray[np.float32], normal_x: NDArray[np.float32], normal_y: NDArray[np.float32], sigma: float
) -> NDArray[np.float32]:
    """The one-dimensional difference of Gaussians along the given unit vectors."""
    import cv2

    rows, columns = np.indices(light.shape, dtype=np.float32)
    reach = int(np.ceil(2.5 * sigma * RATIO))
    inner = np.zeros_like(light)
    outer = np.zeros_like(light)
    inner_sum = outer_sum = 0.0
    for step in range(-reach, reach + 1):
        a = float(np.exp(-(step**2) / (2 * sigma**2)))
        b = float(np.exp(-(step**2) / (2 * (sigma * RATIO) ** 2)))
        at = cv2.remap(
            light, columns + step * normal_x, rows + step * normal_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        inner += a * at
        outer += b * at
        inner_sum += a
        outer_sum += b
    return inner / inner_sum - EDGE_WEIGHT * outer / outer_sum


def _average_along(
    values: NDArray[np.float32], tangent_x: NDArray[np.float32], tangent_y: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Line integral: a Gaussian mean of ``values`` along the curve that follows the tangents both ways."""
    import cv2

    grid = np.indices(values.shape, dtype=np.float32)
    rows, columns = grid[0], grid[1]
    total = values.copy()
    weight_sum = 1.0
    for sign in (1.0, -1.0):
        x, y = columns.copy(), rows.copy()
        last_x, last_y = sign * tangent_x, sign * tangent_y
        for step in range(1, FLOW_RADIUS + 1):
            x, y = x + last_x, y + last_y
            weight = float(np.exp(-(step**2) / (2 * (FLOW_RADIUS / 2) ** 2)))
            total += weight * cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            weight_sum += weight
            next_x = cv2.remap(tangent_x, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            next_y = cv2.remap(tangent_y, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            turn = np.where(next_x * last_x + next_y * last_y < 0, -1, 1).astype(np.float32)  # a tangent has no sign
            last_x, last_y = next_x * turn, next_y * turn
    return total / weight_sum


def _soft_threshold(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """XDoG's ramp: 0 where the picture is lighter than its surroundings, rising to 1 in a dark line."""
    return np.where(difference >= 0, 0, np.tanh(-SHARPNESS * difference)).astype(np.float32)


def _drop_specks(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the connected lines that are long enough and somewhere strong enough."""
    import cv2

    mask = (ink > 0.25).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    strongest = np.zeros(count, dtype=np.float32)
    np.maximum.at(strongest, labels.ravel(), ink.ravel())
    keep = (stats[:, cv2.CC_STAT_AREA] >= MIN_AREA) & (strongest > 0.6)
    keep[0] = False
    kept = cv2.dilate(keep[labels].astype(np.uint8), np.ones((3, 3), np.uint8))
    return ink * kept
