"""Depth: near is white, far is black, by MiDaS. Nothing draws it without the network.

Each frame is stretched to black and white by itself, as its ControlNets were trained; depth of a clip flickers so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sakuga.render.annotators.through import Maps, asked, drawing, worked

if TYPE_CHECKING:
    from numpy.typing import NDArray


def draw(frame: NDArray[np.uint8], network: Maps) -> NDArray[np.uint8]:
    """Depth in grey for one RGB picture, uint8 (height, width, 3) in and out, the same size; level ground is black."""
    near = asked(network, worked(frame))
    near = near - near.min()
    return drawing(near / max(float(near.max()), 1e-12), frame)
