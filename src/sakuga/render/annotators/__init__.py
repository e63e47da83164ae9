"""Annotators: one frame in, one picture for a ControlNet out, both uint8 RGB of the same size.

The table is all there is to know: a new annotator is one file with ``draw`` and one line here. None of them keeps
anything from frame to frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sakuga.errors import JobError, nearest_name
from sakuga.render.annotators import canny, lineart, tile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """An annotator by its name, which is also the kind of the ControlNet it draws for.

    ``draw``: uint8 (height, width, 3) → the same. ``needs``: a module that must be installed for it, or None.
    """

    name: str
    draw: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    needs: str | None = None


ANNOTATORS: tuple[Annotator, ...] = (
    Annotator(name="canny", draw=canny.draw, needs="cv2"),
    Annotator(name="lineart", draw=lineart.draw, needs="cv2"),
    Annotator(name="tile", draw=tile.draw),
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
