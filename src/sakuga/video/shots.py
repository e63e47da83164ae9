"""Where hard cuts are, so that nothing is blended across them. Finds cuts only: dissolves and fades are one shot.

Each frame is made small and compared with the one before, block by block, at the best of all small displacements, and
counts as much as two thirds of its blocks changed at least. So pans, zooms and people that pass by cost little, while
another picture costs much everywhere. A cut must stand out from its neighbours (in fast motion all are high) and from
an absolute floor. A flash is no cut: if the frame just before comes back within two frames, the shot goes on.

Sources: block matching as in every video coder; the ratio to the neighbours after PySceneDetect's AdaptiveDetector;
the test for flashes after Heng and Ngan, "Post shot boundary detection: flashlight scene determination" (1999).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONG_SIDE = 48  # pixels of the small picture
BLOCK = 7  # pixels of a block, in the small picture
REACH = 5  # how far a block is looked for: a tenth of the picture from one frame to the next
SOFTNESS = 1.0  # pixels: blurred so much that movements by parts of a pixel cost little
WEIGHTS = np.array((1.0, 0.5, 0.5), np.float32)  # of lightness and the two colour differences (Lab)
QUIET = 2.0  # levels of 255: below it nothing moves, and no displacement need be tried
SHARE = 100 / 3  # percentile of the blocks: two thirds of the picture have changed at least as much
FLOOR = 6.0  # levels of 255: no cut below this distance
RATIO = 3.0  # a cut is this many times as strong as its neighbours are
NEIGHBOURS = 5  # frames on either side
FLASH = 2  # frames: a disturbance up to this long, after which the old picture is back, is no cut


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is new at a frame: its distance from the frame before, and from those two and three before."""

    by_one: float
    by_more: tuple[float, ...] = ()


def cuts(frames: Iterable[NDArray[np.uint8]]) -> tuple[int, ...]:
    """The indices at which a new shot begins (never 0), for RGB frames, uint8 (height, width, 3) of any one size.

    Frames are taken one at a time; only four small copies are kept.

    >>> cuts(frame.pixels for frame in clip.frames())          # doctest: +SKIP
    (28,)
    """
    changes: list[Change] = []
    recent: deque[NDArray[np.float32]] = deque(maxlen=FLASH + 2)
    strong = -FLASH - 1  # the last frame that may begin a shot
    for index, frame in enumerate(frames):
        recent.append(_small(frame))
        if index == 0:
            changes.append(Change(by_one=0.0))
            continue
        by_one = distance(recent[-2], recent[-1])
        strong = index if by_one >= FLOOR else strong
        near = index - strong <= FLASH
        older = [recent[-2 - lag] for lag in range(1, FLASH + 1) if near and lag + 2 <= len(recent)]
        changes.append(Change(by_one=by_one, by_more=tuple(distance(old, recent[-1]) for old in older)))
    return chosen(changes)


def chosen(changes: Sequence[Change]) -> tuple[int, ...]:
    """Which of the changes are cuts. Pure."""
    found: list[int] = []
    for index, change in enumerate(changes):
        least = max(FLOOR, RATIO * _usual(changes, index))
        if change.by_one < least or _flash(changes, index, least):
            continue
        if not found or index - found[-1] > 1:  # a single frame between two cuts belongs to what follows it
            found.append(index)
    return tuple(found)


def distance(old: NDArray[np.float32], new: NDArray[np.float32]) -> float:
    """How unlike two small Lab pictures are, in levels of 255, when every block may come from nearby.

    Each point of ``new`` is given the smallest difference that the block around it has to ``old``, over all
    displacements up to ``REACH``; the result is what two thirds of the picture reach.
    """
    import cv2

    best = _differences(old, new)
    if best.mean() < QUIET:
        return float(np.percentile(best, SHARE))
    height, width = new.shape[:2]
    best = cv2.blur(best, (BLOCK, BLOCK))
    around = np.pad(old, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    for top in range(2 * REACH + 1):
        for left in range(2 * REACH + 1):
            moved = around[top : top + height, left : left + width]
            np.minimum(best, cv2.blur(_differences(moved, new), (BLOCK, BLOCK)), out=best)
    return float(np.percentile(best, SHARE))


def _differences(old: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    apart = np.abs(old - new)
    return np.asarray(apart @ WEIGHTS, dtype=np.float32)


def _small(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The frame in Lab, its long side ``LONG_SIDE`` pixels."""
    import cv2

    height, width = frame.shape[:2]
    scale = LONG_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    little = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    colours = cv2.cvtColor(little, cv2.COLOR_RGB2LAB).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(colours, (0, 0), SOFTNESS), dtype=np.float32)


def _usual(changes: Sequence[Change], index: int) -> float:
    """How strong the changes around ``index`` are: their median, or those right beside it unless they may be cuts."""
    around = range(max(1, index - NEIGHBOURS), min(len(changes), index + NEIGHBOURS + 1))
    others = {n: changes[n].by_one for n in around if n != index}
    beside = [change for n, change in others.items() if abs(n - index) == 1 and change < FLOOR]
    return max([median(others.values()), *beside]) if others else 0.0


def _flash(changes: Sequence[Change], index: int, least: float) -> bool:
    """Whether the picture before ``index`` comes back at once, or the one at ``index`` was there just before.

    ``least`` is what makes two pictures different here.
    """
    if any(far < least for far in changes[index].by_more):
        return True
    later = [changes[index + lag].by_more[lag - 1 : lag] for lag in range(1, FLASH + 1) if index + lag < len(changes)]
    return any(far < least for one in later for far in one)
