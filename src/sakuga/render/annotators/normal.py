"""Normal: the direction of every surface as a colour, by NormalBae. Nothing draws it without the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sakuga.render.annotators.through import Maps, asked, drawing, worked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def draw(frame: NDArray[np.uint8], network: Maps) -> NDArray[np.uint8]:
    """Normals as RGB for one RGB picture, uint8 (height, width, 3) in and out, the same size."""
    return drawing(asked(network, worked(frame)), frame)
