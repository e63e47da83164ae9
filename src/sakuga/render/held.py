"""Held frames: which frames of a Span are the same picture as one before, so that it is drawn once. Pure arrays.

Drawn animation holds a picture for two or three frames, and screens stand still for minutes. A codec lets such frames
differ by a level here and there, so blocks of pixels are compared by their means: noise goes away, a small mouth stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sakuga.render.stage import Shot, StageParts
from sakuga.spec.vary import Curve

Picture = NDArray[np.uint8]
T = TypeVar("T")

BLOCK = 4  # pixels
NOISE = 2.0  # levels of 255 that the mean of a block may change by; H.264 at usual qualities stays below


def same(first: Picture, second: Picture) -> bool:
    """Whether two frames, RGB uint8 (height, width, 3), show one picture but for a codec's noise."""
    if first.shape != second.shape:
        return False
    if np.array_equal(first, second):
        return True
    import cv2

    height, width = first.shape[:2]
    size = (max(1, width // BLOCK), max(1, height // BLOCK))
    small = [cv2.resize(one, size, interpolation=cv2.INTER_AREA).astype(np.int16) for one in (first, second)]
    if np.abs(small[0] - small[1]).max() > NOISE:
        return False
    # a line of one pixel may hide in the mean of a block that it crosses
    apart = np.abs(first.astype(np.int16) - second).max(axis=-1).astype(np.float32)
    return bool(cv2.blur(apart, (3, 3)).max() <= 3 * NOISE)


@dataclass(frozen=True, kw_only=True)
class Held:
    """``drawn``: the positions that are drawn. ``shows``: for each position which of ``drawn`` it shows."""

    drawn: tuple[int, ...]
    shows: tuple[int, ...]

    def pick(self, items: Sequence[T]) -> list[T]:
        """The items of the positions that are drawn."""
        return [items[position] for position in self.drawn]

    def spread(self, items: Sequence[T]) -> list[T]:
        """An item for every position, from one for each that is drawn."""
        assert len(items) == len(self.drawn), (len(items), len(self.drawn))
        return [items[index] for index in self.shows]

    def shot(self, shot: Shot) -> Shot:
        """The same shot with the frames that are drawn alone."""
        others = {clip: self.pick(pictures) for clip, pictures in shot.others.items()}
        return replace(
            shot,
            frames=self.pick(shot.frames),
            times=self.pick(shot.times),
            source=self.pick(shot.source),
            others=others,
        )


def held_in(pictures: Sequence[Picture], others: Mapping[Any, Sequence[Picture]]) -> Held:
    """Which frames are the picture before them, in the source and in all clips that controls draw from.

    Each is held against the first of its run, so that slow changes do not add up unseen.
    """
    drawn, shows = list[int](), list[int]()
    for position, picture in enumerate(pictures):
        first = drawn[-1] if drawn else None
        still = first is not None and same(pictures[first], picture)
        if first is None or not still or not all(same(clip[first], clip[position]) for clip in others.values()):
            drawn.append(position)
        shows.append(len(drawn) - 1)
    return Held(drawn=tuple(drawn), shows=tuple(shows))


def may_hold(stage: StageParts) -> bool:
    """Whether a Stage draws the same from the same picture: nothing in it changes over the frames of the clip."""
    controls = (use for control in stage.controls for use in (control.use.scale,))
    return not stage.moves and not any(isinstance(scale, Curve) and scale.over != "steps" for scale in controls)
