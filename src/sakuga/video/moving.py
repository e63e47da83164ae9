"""An animated picture (WebP, PNG) as a clip: OpenCV reads it whole, with the milliseconds that each frame lasts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sakuga.errors import ClipError
from sakuga.video.clip import Frame, Kind, frame_range
from sakuga.video.pictures import over_white, picture_bytes
from sakuga.video.tags import Colour

LARGEST_BYTES = 1 << 30  # of all frames together, which are in memory
SHORTEST_MS = 11  # frames that last less are shown for a tenth of a second, as every browser does
USUAL_MS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class MovingPicture:
    """A ``Clip``; it holds all its frames, and no file open."""

    path: Path
    pictures: tuple[NDArray[np.uint8], ...]
    starts: tuple[int, ...]  # milliseconds, with the end of the last frame
    kind: Kind = "moving"
    notes: tuple[str, ...] = ()
    pixel_aspect: Fraction = Fraction(1)
    has_audio: bool = False
    colour: Colour = field(default_factory=Colour.of_pictures)

    @property
    def width(self) -> int:
        return int(self.pictures[0].shape[1])

    @property
    def height(self) -> int:
        return int(self.pictures[0].shape[0])

    @property
    def frame_count(self) -> int:
        return len(self.pictures)

    @property
    def time_base(self) -> Fraction:
        return Fraction(1, 1000)

    @property
    def rate(self) -> Fraction:
        return Fraction(1000 * self.frame_count, self.starts[-1]).limit_denominator(1001)

    @cached_property
    def content_key(self) -> str:
        """The sha256 of the file."""
        return hashlib.sha256(picture_bytes(self.path)).hexdigest()

    def pts_at(self, index: int) -> int:
        return self.starts[index]

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """The frames ``start`` to ``stop``. Raises ``ClipError`` for those that it does not have."""
        return (
            Frame(index=index, pts=self.starts[index], time_base=self.time_base, pixels=self.pictures[index])
            for index in frame_range(self, start, stop)
        )

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_moving(path: Path, data: bytes, width: int, height: int) -> MovingPicture:
    """The animated picture of these bytes. Raises ``ClipError``."""
    import cv2

    most = LARGEST_BYTES // (3 * width * height)
    found, animation = cv2.imdecodeanimation(np.frombuffer(data, np.uint8), 0, most + 1)
    if not found or not animation.frames:
        raise ClipError(
            f"{path.name} cannot be decoded",
            given=f"an animated picture of {len(data)} bytes",
            expected="frames that OpenCV can decode",
            do="turn it into a video with another tool",
        )
    if len(animation.frames) > most:
        raise ClipError(
            f"{path.name} is too large for an animated picture",
            given=f"more than {most} frames of {width} x {height}",
            expected=f"at most {LARGEST_BYTES >> 20} MiB of frames, which are all in memory",
            do="turn it into a video with another tool",
        )
    given = [int(duration) for duration in animation.durations]
    lasts = [duration if duration >= SHORTEST_MS else USUAL_MS for duration in given]
    notes = ("frames without a time are shown for a tenth of a second, as browsers do",) if lasts != given else ()
    return MovingPicture(
        path=path,
        pictures=tuple(_rgb(np.asarray(frame)) for frame in animation.frames),
        starts=(0, *accumulate(lasts)),
        notes=notes,
    )


def _rgb(frame: NDArray[np.generic]) -> NDArray[np.uint8]:
    pixels = frame.astype(np.uint8, copy=False)
    colours = np.ascontiguousarray(pixels[..., 2::-1])
    return over_white(colours, pixels[..., 3]) if pixels.shape[2] == 4 else colours
