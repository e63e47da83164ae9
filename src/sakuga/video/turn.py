"""How a decoded picture must be turned before it is shown: the display matrix of a video, as flips and a transpose.

Right angles and mirrors only; any other angle is told to the caller as None, never rounded to the nearest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 1 << 10  # of 1 << 16: below it an entry of the matrix counts as zero (tools write sines with rounding)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Transpose first, then mirror. ``Turn()`` leaves a picture as it is."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The width and height of a turned picture."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture (height, width, 3) as it is to be shown, in memory of its own."""
        turned = pixels.swapaxes(0, 1) if self.transpose else pixels
        turned = turned[:, ::-1] if self.mirror_x else turned
        turned = turned[::-1] if self.mirror_y else turned
        return np.ascontiguousarray(turned)


def turn_of(matrix: bytes) -> Turn | None:
    """The turn that a display matrix asks for; None for an angle that is not a right one.

    ``matrix`` is FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX, which is the ``tkhd`` matrix of ISO/IEC 14496-12: nine int32 in
    rows (a b u, c d v, x y w) that take the stored point (p, q) to (a p + c q, b p + d q).
    """
    if len(matrix) < 36:
        return Turn()
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    straight, crossed = abs(a) > SMALL or abs(d) > SMALL, abs(b) > SMALL or abs(c) > SMALL
    if straight and crossed:
        return None
    if crossed:
        return Turn(transpose=True, mirror_x=c < 0, mirror_y=b < 0)
    return Turn(mirror_x=a < 0, mirror_y=d < 0)


def turn_by(degrees: int) -> Turn | None:
    """The turn by an angle, counter-clockwise; None for one that is not a right angle."""
    return {
        0: Turn(),
        90: Turn(transpose=True, mirror_y=True),
        180: Turn(mirror_x=True, mirror_y=True),
        270: Turn(transpose=True, mirror_x=True),
    }.get(degrees % 360)
