"""People as ControlNets know them: limbs and joints in fixed colours, hands as lines, faces as white dots, on black.

The colours run around the circle of hues: 18 for joints and limbs, 20 for the bones of a hand.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sakuga.render.annotators.pose_body import BEGINNING, JOINTS, LIMBS, Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HUES = tuple(tuple(round(255 * part) for part in colorsys.hsv_to_rgb(n / JOINTS, 1, 1)) for n in range(JOINTS))
BONES = tuple((0 if n % 4 == 0 else n, n + 1) for n in range(20))  # five fingers of four bones, from the wrist
STICK, DOT, FACE_DOT, HAND_LINE = 4, 4, 3, 2  # pixels
HAND_COLOUR = (0, 0, 255)


def draw_body(canvas: NDArray[np.uint8], joints: dict[int, Point]) -> None:
    """Limbs as flat ellipses at 60 % of their colour, then joints as dots."""
    import cv2

    for (a, b), colour in zip(LIMBS[:BEGINNING], HUES, strict=False):
        if a in joints and b in joints:
            (x0, y0), (x1, y1) = joints[a], joints[b]
            middle = (int((x0 + x1) / 2), int((y0 + y1) / 2))
            axes = (int(math.hypot(x0 - x1, y0 - y1) / 2), STICK)
            angle = int(math.degrees(math.atan2(y0 - y1, x0 - x1)))
            shape = cv2.ellipse2Poly(middle, axes, angle, 0, 360, 1)
            cv2.fillConvexPoly(canvas, shape, [int(part * 0.6) for part in colour])
    for joint, (x, y) in sorted(joints.items()):
        cv2.circle(canvas, (int(x), int(y)), DOT, HUES[joint], thickness=-1)


def draw_hand(canvas: NDArray[np.uint8], points: Sequence[Point | None]) -> None:
    """Bones as thin lines, then points as blue dots."""
    import cv2

    for number, (a, b) in enumerate(BONES):
        start, stop = points[a], points[b]
        if start is not None and stop is not None:
            colour = [255 * part for part in colorsys.hsv_to_rgb(number / len(BONES), 1, 1)]
            cv2.line(canvas, _pixel(start), _pixel(stop), colour, thickness=HAND_LINE)
    for point in points:
        if point is not None:
            cv2.circle(canvas, _pixel(point), DOT, HAND_COLOUR, thickness=-1)


def draw_face(canvas: NDArray[np.uint8], points: Sequence[Point]) -> None:
    """White dots."""
    import cv2

    for point in points:
        cv2.circle(canvas, _pixel(point), FACE_DOT, (255, 255, 255), thickness=-1)


def _pixel(point: Point) -> tuple[int, int]:
    return int(point[0]), int(point[1])
