"""Annotators: one frame in, one picture for a ControlNet out, both uint8 RGB of the same size.

The table is all there is to know: a new annotator is one file with ``draw`` and one line here. None of them keeps
anything from frame to frame. Refuses to find or load networks: they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sakuga.errors import JobError, nearest_name
from sakuga.render.annotators import (
    canny,
    depth,
    inpaint,
    lineart,
    lineart_anime,
    none,
    normal,
    openpose,
    softedge,
    tile,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sakuga.render.annotators.through import Maps

FRAME = "the frame itself"


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """An annotator by its name, which is also the kind of the ControlNet it draws for.

    ``draw``: uint8 (height, width, 3) → the same; behind the frame it takes what is in ``networks``, names of
    ``models.annotators``: the first draws, the others add to that. ``alone``: how it draws without them, as the Report
    tells it; None if it cannot. ``needs``: a module that must be installed for it, or None.
    """

    name: str
    draw: Callable[..., NDArray[np.uint8]]
    alone: str | None
    networks: tuple[str, ...] = ()
    needs: str | None = None

    def with_networks(self, loaded: Sequence[Maps | None]) -> Annotator:
        """The same annotator, drawing with these networks, in the order of ``networks``."""
        draw = self.draw
        alone = all(network is None for network in loaded)
        return self if alone else replace(self, draw=lambda frame: draw(frame, *loaded))


ANNOTATORS: tuple[Annotator, ...] = (
    Annotator(name="canny", draw=canny.draw, alone="the edges of OpenCV", needs="cv2"),
    Annotator(name="depth", draw=depth.draw, alone=None, networks=("midas",), needs="cv2"),
    Annotator(name="inpaint", draw=inpaint.draw, alone=FRAME),
    Annotator(name="lineart", draw=lineart.draw, alone=lineart.ALONE, networks=("lineart",), needs="cv2"),
    Annotator(
        name="lineart_anime", draw=lineart_anime.draw, alone=lineart.ALONE, networks=("lineart_anime",), needs="cv2"
    ),
    Annotator(name="none", draw=none.draw, alone=FRAME),
    Annotator(name="normal", draw=normal.draw, alone=None, networks=("normalbae",), needs="cv2"),
    Annotator(name="openpose", draw=openpose.draw, alone=None, networks=("body", "hand", "face"), needs="cv2"),
    Annotator(name="softedge", draw=softedge.draw, alone=softedge.ALONE, networks=("hed",), needs="cv2"),
    Annotator(name="tile", draw=tile.draw, alone=FRAME),
)


def find_annotator(name: str) -> Annotator:
    """The annotator of that name. Raises ``JobError`` with the nearest name."""
    for annotator in ANNOTATORS:
        if annotator.name == name:
            return annotator
    names = [annotator.name for annotator in ANNOTATORS]
    raise JobError(
        "there is no such annotator",
        given=name,
        expected="one of " + ", ".join(names),
        nearest=nearest_name(name, names),
        do="choose one of these for the control",
    )
