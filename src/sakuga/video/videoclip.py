"""VideoClip: the frames of one video file by its index, whatever decodes them. Knows no codec and opens no video.

It promises exactly the frames of the index: one that the decoder skips shows the one before it, and the notes tell it.
"""

from __future__ import annotations

import contextlib
import hashlib
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sakuga.video.clip import Frame, Kind, frame_range, undecodable
from sakuga.video.index import FrameIndex
from sakuga.video.tags import Colour

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LISTED = 8  # frames that a note names


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A decoded picture: when it is shown, its RGB pixels once they are asked for, and whether parts of it are lost."""

    pts: int
    pixels: Callable[[], NDArray[np.uint8]]
    damaged: bool = False


Decoder = Callable[[int], Generator[Shown]]
"""The pictures as they are shown, from the given frame of the index or a little before it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoClip:
    """A video file as a ``Clip``. Each run over its frames decodes for itself, so runs may overlap."""

    path: Path
    kind: Kind
    index: FrameIndex
    decoder: Decoder
    width: int
    height: int
    rate: Fraction
    pixel_aspect: Fraction
    colour: Colour
    has_audio: bool
    found: tuple[str, ...]
    lost: set[int] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)
    runs: weakref.WeakSet[Generator[Frame]] = field(default_factory=weakref.WeakSet)

    @property
    def frame_count(self) -> int:
        return len(self.index.pts)

    @property
    def time_base(self) -> Fraction:
        return self.index.time_base

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found on opening, and which frames could not be decoded so far."""
        lost, damaged = _listed(self.lost), _listed(self.damaged)
        told = (f"frames that could not be decoded, and show the one before: {lost}",) if lost else ()
        return self.found + told + ((f"frames that could be decoded in part only: {damaged}",) if damaged else ())

    @cached_property
    def content_key(self) -> str:
        """The sha256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def pts_at(self, index: int) -> int:
        return self.index.end if index == self.frame_count else self.index.pts[index]

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """The frames ``start`` to ``stop`` (None: the end), one decoded at a time.

        Raises ``ClipError`` for frames that the clip does not have, or when nothing there can be decoded.
        """
        run = self._run(frame_range(self, start, stop))
        self.runs.add(run)
        return run

    def close(self) -> None:
        """End all runs over the frames and let go of their files."""
        for run in list(self.runs):
            run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, indices: range) -> Generator[Frame]:
        if not indices:
            return
        index, stop, latest = indices.start, indices.stop, None
        with contextlib.closing(self.decoder(index)) as decoded:
            for shown in decoded:
                while index < stop and self.index.pts[index] < shown.pts:
                    yield self._instead(index, latest or shown)
                    index += 1
                if index < stop and self.index.pts[index] == shown.pts:
                    yield self._frame(index, shown)
                    index += 1
                if index == stop:
                    return
                latest = shown
        if latest is None:
            raise undecodable(self.path, f"frames {index} to {stop}: nothing came out of the decoder")
        for missing in range(index, stop):
            yield self._instead(missing, latest)

    def _instead(self, index: int, shown: Shown) -> Frame:
        self.lost.add(index)
        return Frame(index=index, pts=self.index.pts[index], time_base=self.time_base, pixels=shown.pixels())

    def _frame(self, index: int, shown: Shown) -> Frame:
        if shown.damaged:
            self.damaged.add(index)
        return Frame(index=index, pts=shown.pts, time_base=self.time_base, pixels=shown.pixels())


def _listed(frames: set[int]) -> str:
    return ", ".join(str(index) for index in sorted(frames)[:LISTED]) + (" …" if len(frames) > LISTED else "")
