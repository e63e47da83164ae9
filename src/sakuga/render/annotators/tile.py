"""Tile: the frame itself, for a ControlNet that keeps colours and places.

Refuses to blur or shrink: what a tile ControlNet leaves open is its training's business, not ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def draw(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of the RGB picture, uint8 (height, width, 3)."""
    return frame.copy()
