"""Frame and Clip: what every source of moving pictures looks like to the rest of the house.

Times are exact: ``pts * time_base`` in Fractions, never frame number over rate. This file reads nothing and knows no
codec; it refuses a range of frames that the clip does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from sakuga.errors import ClipError, nearest_file
from sakuga.video.tags import Colour

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["video", "moving", "picture", "folder"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture of a clip. ``pixels`` is RGB, uint8 (height, width, 3); ``index`` counts from 0 in the whole clip."""

    index: int
    pts: int
    time_base: Fraction
    pixels: NDArray[np.uint8]

    @property
    def time(self) -> Fraction:
        """The moment at which it is shown, in seconds, exactly."""
        return self.pts * self.time_base


class Clip(Protocol):
    """Frames with exact times, read lazily, and the source's sound by reference. Use it in a ``with`` block.

    ``rate`` is the average number of frames a second, for people and encoders; times come from ``pts_at``.
    ``pixel_aspect`` is the width of a pixel over its height. ``content_key`` is the sha256 of the source's bytes (of a
    folder: of names and bytes). ``notes`` says what of the source is not used or was mended, a sentence each.
    """

    @property
    def path(self) -> Path: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def frame_count(self) -> int: ...
    @property
    def time_base(self) -> Fraction: ...
    @property
    def rate(self) -> Fraction: ...
    @property
    def pixel_aspect(self) -> Fraction: ...
    @property
    def colour(self) -> Colour: ...
    @property
    def has_audio(self) -> bool: ...
    @property
    def content_key(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def pts_at(self, index: int) -> int:
        """The pts of frame ``index``; for ``frame_count`` the pts at which the last frame ends."""
        ...

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """The frames ``start`` to ``stop`` (exclusive; None: the end), one decoded at a time. Raises ``ClipError``."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def frame_range(clip: Clip, start: int, stop: int | None) -> range:
    """The indices from ``start`` to ``stop`` (None: the end). Raises ``ClipError`` when the clip does not have them."""
    last = clip.frame_count if stop is None else stop
    if not 0 <= start <= last <= clip.frame_count:
        raise ClipError(
            f"{clip.path.name} does not have these frames",
            given=f"frames {start} to {last} (exclusive)",
            expected=f"a range within 0 to {clip.frame_count}",
            do="choose fewer frames, or leave the end open",
        )
    return range(start, last)


def no_such_file(path: Path) -> ClipError:
    """The error for a path where there is no file, with the most similar name beside it if there is nothing at all."""
    if path.exists():
        return ClipError(
            f"{path.name} is a pipe or a device, not a file",
            given=str(path),
            expected="a video, a picture or a folder of pictures",
            do="save what it gives to a file first",
        )
    siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest_file(path.name, siblings)
    return ClipError(
        f"there is no file {path.name}",
        given=str(path),
        expected="a video, a picture or a folder of pictures",
        nearest=str(path.with_name(near)) if near else None,
        do="check the name and the folder",
    )


def undecodable(path: Path, given: str) -> ClipError:
    """The error for a video whose frames cannot be had; ``given`` says what is wrong with it."""
    return ClipError(
        f"{path.name} cannot be decoded",
        given=given,
        expected="a video in a codec that this FFmpeg knows",
        do="convert the video to H.264 with another tool",
    )


def not_a_video(path: Path, head: bytes, reason: str, *, ends_early: bool = False) -> ClipError:
    """The error for a file that no demuxer opens; ``head`` are its first bytes, ``reason`` is FFmpeg's."""
    given = f"{path.stat().st_size} bytes that begin with {head[:12]!r} ({reason})"
    if ends_early:
        return ClipError(f"{path.name} has no frames", given=given, expected="a video", do="copy or record it again")
    if head[4:8] == b"ftyp":
        wanted = "a video with its index (moov), which cameras write last"
        return ClipError(f"{path.name} is cut off", given=given, expected=wanted, do="copy or record it again")
    do = "give a video, a picture or a folder of pictures"
    return ClipError(f"{path.name} is not a video", given=given, expected="a video file", do=do)
