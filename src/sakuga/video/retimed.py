"""A clip shown at another speed: the same frames, evenly, so many a second. Its sound is left out, which is told.

Sound could only be kept by playing it faster or slower, and it is never encoded again here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from sakuga.video.clip import Clip, Frame, Kind
from sakuga.video.tags import Colour

SAME = Fraction(1, 400)  # speeds nearer than this are one: 29.97 is what people call 30


def retimed(clip: Clip, rate: float | None) -> Clip:
    """``clip`` at ``rate`` frames a second; itself where that is None or its own speed."""
    if rate is None or abs(Fraction(rate) - clip.rate) <= SAME * clip.rate:
        return clip
    return Retimed(clip=clip, rate=Fraction(rate).limit_denominator(1001))


@dataclass(frozen=True, kw_only=True, eq=False)
class Retimed:
    """A ``Clip`` of the frames of another, ``rate`` of them a second. Closing it leaves the other open."""

    clip: Clip
    rate: Fraction
    has_audio: bool = False

    @property
    def path(self) -> Path:
        return self.clip.path

    @property
    def kind(self) -> Kind:
        return self.clip.kind

    @property
    def width(self) -> int:
        return self.clip.width

    @property
    def height(self) -> int:
        return self.clip.height

    @property
    def frame_count(self) -> int:
        return self.clip.frame_count

    @property
    def time_base(self) -> Fraction:
        return 1 / self.rate

    @property
    def pixel_aspect(self) -> Fraction:
        return self.clip.pixel_aspect

    @property
    def colour(self) -> Colour:
        return self.clip.colour

    @property
    def content_key(self) -> str:
        return self.clip.content_key

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the clip, and that the sound is left out."""
        if not self.clip.has_audio:
            return self.clip.notes
        told = f"{float(self.rate):.6g} frames a second, where the source has {float(self.clip.rate):.6g}"
        return (*self.clip.notes, f"{told}: the sound is left out, because it would not fit any more")

    def pts_at(self, index: int) -> int:
        assert 0 <= index <= self.frame_count
        return index

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """The frames ``start`` to ``stop`` at their new times. Raises ``ClipError``."""
        return (replace(frame, pts=frame.index, time_base=self.time_base) for frame in self.clip.frames(start, stop))

    def close(self) -> None:
        """The clip belongs to who opened it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
