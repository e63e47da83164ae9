"""FastBlend: each frame becomes a mean over its neighbours in time, whose pixels are first moved to where they belong.

The correspondence comes from the guides (the frames of the clip before it was drawn) by ``patch_match.py``; no model.

    fast      a weighted mean over the window, through a tree of frames that are blended beforehand: few matches
    balanced  the mean of the frame and of every other frame in the window, each moved to it
    accurate  the mean of all frames in the window, while those of a batch are pulled towards their common picture

Works on one shot, and keeps two windows of it, whatever its length. Refuses to know where a shot ends.
Source: Duan et al., "FastBlend: a Powerful Model-Free Toolkit Making Video Stylization Easier" (2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sakuga.render.smoothers.patch_compiled import has_numba
from sakuga.render.smoothers.patch_match import Pair, Picture, Pyramid, Search, pyramid, remapped
from sakuga.spec.smoothing import FastBlendOptions

Sum: TypeAlias = NDArray[np.float32]  # of pictures, [height, width, 3]


class Source(NamedTuple):
    """Something to be moved: the frame whose guide it goes by, its pyramid, and a name for the random tries."""

    frame: int
    style: Pyramid
    name: str


def smooth(
    frames: Sequence[Picture],
    guides: Sequence[Picture],
    options: FastBlendOptions,
    seed: int,
    device: torch.device,
) -> Iterator[Picture]:
    """The frames of one shot, blended; a frame is asked for at most once for each time it enters the window."""
    clip = _Clip(frames, guides, options, seed, device)
    return _fast(clip) if options.mode == "fast" else _thorough(clip)


def hint() -> str | None:
    """What the user should know before a long wait."""
    if has_numba():
        return None
    return "without numba a CPU takes several times as long for the same result: pip install 'sakuga[smooth]'"


class _Clip:
    """Frames and guides of the shot with their pyramids, as far as they are in use, and the moving of pixels."""

    def __init__(
        self,
        frames: Sequence[Picture],
        guides: Sequence[Picture],
        options: FastBlendOptions,
        seed: int,
        device: torch.device,
    ) -> None:
        self.frames, self.guides, self.options, self.device = frames, guides, options, device
        self.search = Search(
            patch=options.patch,
            iterations=options.iterations,
            guide_weight=options.guide_weight,
            start=options.initialize,
            tracking=options.tracking,
            shared=options.mode == "accurate",
            seed=seed,
        )
        self._kept: dict[int, tuple[Pyramid, Pyramid]] = {}

    def levels(self, picture: Picture) -> Pyramid:
        return pyramid(picture, self.search.largest_patch)

    def guide(self, frame: int) -> Pyramid:
        return self._of(frame)[0]

    def style(self, frame: int) -> Pyramid:
        return self._of(frame)[1]

    def _of(self, frame: int) -> tuple[Pyramid, Pyramid]:
        if frame not in self._kept:
            self._kept[frame] = self.levels(self.guides[frame]), self.levels(self.frames[frame])
        return self._kept[frame]

    def forget(self, before: int) -> None:
        """Give up the memory of all frames before that one."""
        for frame in [frame for frame in self._kept if frame < before]:
            del self._kept[frame]

    def moved(self, sources: Sequence[Source], target: int) -> Iterator[Picture]:
        """The sources with their pixels where the target frame has them, matched batch by batch."""
        for first in range(0, len(sources), self.options.batch):
            batch = sources[first : first + self.options.batch]
            pairs = [
                Pair(self.guide(target), self.guide(one.frame), one.style, f"{one.name}>{target}") for one in batch
            ]
            yield from remapped(pairs, self.search, self.device)


def _thorough(clip: _Clip) -> Iterator[Picture]:
    """Balanced and accurate: the mean of all frames in the window, each moved to the frame in its middle."""
    count, window = len(clip.frames), clip.options.window
    for target in range(count):
        clip.forget(target - window)
        near = list(range(max(0, target - window), min(count, target + window + 1)))
        total = np.zeros(clip.frames[target].shape, dtype=np.float32)
        if not clip.search.shared:  # the frame itself needs no moving
            near.remove(target)
            total += clip.frames[target]
        for picture in clip.moved([Source(n, clip.style(n), str(n)) for n in near], target):
            total += picture
        yield _mean(total, len(near) + (not clip.search.shared))


def _fast(clip: _Clip) -> Iterator[Picture]:
    """Fast: the window's half before the frame and its half behind, each from a tree; the frame is in both."""
    count, window = len(clip.frames), clip.options.window
    before = _Half(clip, lambda place: place, "b")
    behind = _Half(clip, lambda place: count - 1 - place, "a")
    for target in range(count):
        clip.forget(target - window)
        before.keep(range(target - window, count))
        behind.keep(range(count - target))
        total, frames = before.window_sum(target, window)
        other, others = behind.window_sum(count - 1 - target, window)
        yield _mean(total + other - clip.frames[target], frames + others - 1)


class _Half:
    """A tree of blended frames over one direction of time: cell (place, level) is the mean of the 2^level frames up to
    its place, moved there. Cells are made when they are asked for. Sum over binary ranges as in Fenwick's tree (1994).
    """

    def __init__(self, clip: _Clip, frame_at: Callable[[int], int], name: str) -> None:
        self.clip, self.frame_at, self.name = clip, frame_at, name
        self._cells: dict[tuple[int, int], Pyramid] = {}

    def cell(self, place: int, level: int) -> Pyramid:
        """The blended frame of a cell, of which ``cell_exists`` must hold."""
        if level == 0:
            return self.clip.style(self.frame_at(place))
        if (place, level) not in self._cells:
            frames = [self.frame_at(left) for left in left_places(place, level)]
            total = self.cell(place, level - 1)[-1].numpy().astype(np.float32) * len(frames)
            sources = [Source(frame, self.clip.style(frame), str(frame)) for frame in frames]
            for picture in self.clip.moved(sources, self.frame_at(place)):
                total += picture
            self._cells[place, level] = self.clip.levels(_mean(total, 2 * len(frames)))
        return self._cells[place, level]

    def window_sum(self, place: int, window: int) -> tuple[Sum, int]:
        """The sum of the frames from ``place - window`` to ``place``, moved to ``place``, and their number."""
        (_, level), *others = cells_of(max(place - window, 0), place)
        total = self.cell(place, level)[-1].numpy().astype(np.float32) * 2**level
        sources = [
            Source(self.frame_at(end), self.cell(end, depth), f"{self.name}{self.frame_at(end)}.{depth}")
            for end, depth in others
        ]
        target = self.frame_at(place)
        for picture, (_, depth) in zip(self.clip.moved(sources, target), others, strict=True):
            total += picture.astype(np.float32) * 2**depth
        return total, place - max(place - window, 0) + 1

    def keep(self, places: range) -> None:
        """Give up the memory of all cells at other places."""
        for key in [key for key in self._cells if key[0] not in places]:
            del self._cells[key]


def left_places(place: int, level: int) -> range:
    """The places whose frames join cell (place, level) at that level: the left half of its block.

    >>> left_places(7, 3), left_places(7, 1)
    (range(0, 4), range(6, 7))
    """
    return range(place - 2**level + 1, place - 2 ** (level - 1) + 1)


def cell_exists(place: int, level: int) -> bool:
    """Whether a block of 2^level places, counted from 0, ends at ``place``."""
    return (place + 1) % 2**level == 0


def cells_of(low: int, high: int) -> list[tuple[int, int]]:
    """The (place, level) of the cells that make up ``low`` … ``high``, from the right, each as large as can be.

    >>> cells_of(0, 6)
    [(6, 0), (5, 1), (3, 2)]
    """
    cells = []
    while high >= low:
        level = 0
        while cell_exists(high, level + 1) and high - 2 ** (level + 1) + 1 >= low:
            level += 1
        cells.append((high, level))
        high -= 2**level
    return cells


def _mean(total: Sum, count: int) -> Picture:
    return np.rint(total / count).clip(0, 255).astype(np.uint8)
