"""Pictures as a clip: a folder of them in natural order, or a single one as a clip of one frame.

All pictures of a folder must have one size; nothing is scaled or skipped in silence. Subfolders are not looked into.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from sakuga.errors import ClipError
from sakuga.video.clip import Frame, Kind, frame_range
from sakuga.video.moving import MovingPicture, open_moving
from sakuga.video.pictures import PICTURE_SUFFIXES, Head, decode_picture, picture_bytes, picture_head, read_picture
from sakuga.video.tags import Colour

PICTURE_RATE = Fraction(24)  # pictures carry no times; unless told otherwise they are shown like film


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureClip:
    """One picture or many of one size, shown evenly at ``rate``. A ``Clip``; it holds no file open."""

    path: Path
    kind: Kind
    pictures: tuple[Path, ...]
    width: int
    height: int
    rate: Fraction
    notes: tuple[str, ...] = ()
    pixel_aspect: Fraction = Fraction(1)
    has_audio: bool = False
    colour: Colour = field(default_factory=Colour.of_pictures)

    @property
    def frame_count(self) -> int:
        return len(self.pictures)

    @property
    def time_base(self) -> Fraction:
        return 1 / self.rate

    @cached_property
    def content_key(self) -> str:
        """The sha256 of the picture's bytes; of a folder: of each name and each picture's own sha256, in order."""
        digests = [hashlib.sha256(picture_bytes(picture)).digest() for picture in self.pictures]
        if self.kind == "picture":
            return digests[0].hex()
        whole = hashlib.sha256()
        for picture, digest in zip(self.pictures, digests, strict=True):
            whole.update(picture.name.encode() + b"\0" + digest)
        return whole.hexdigest()

    def pts_at(self, index: int) -> int:
        assert 0 <= index <= self.frame_count
        return index

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """The pictures ``start`` to ``stop``, each decoded when it is asked for. Raises ``ClipError``."""
        return self._read(frame_range(self, start, stop))

    def _read(self, indices: range) -> Iterator[Frame]:
        for index in indices:
            path = self.pictures[index]
            pixels = read_picture(path)
            height, width = pixels.shape[:2]
            if (width, height) != (self.width, self.height):
                raise _two_sizes(path, (width, height), self.pictures[0], (self.width, self.height))
            yield Frame(index=index, pts=index, time_base=self.time_base, pixels=pixels)

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_picture(path: Path, rate: Fraction = PICTURE_RATE) -> PictureClip | MovingPicture:
    """A single picture as a clip of one frame, shown for 1 / ``rate`` seconds; an animated one at its own times.

    Raises ``ClipError``.
    """
    data = picture_bytes(path)
    height, width = decode_picture(data, path).shape[:2]
    head = picture_head(data)
    if head and head.moving:
        return open_moving(path, data, width, height)
    return PictureClip(path=path, kind="picture", pictures=(path,), width=width, height=height, rate=rate)


def open_folder(path: Path, rate: Fraction = PICTURE_RATE) -> PictureClip:
    """The JPEG, PNG and WebP pictures in a folder as a clip, in natural order of their names.

    Raises ``ClipError`` when there are none, or when one differs in size (it is named).
    """
    files = sorted((file for file in path.iterdir() if not file.name.startswith(".")), key=natural_order)
    pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()]
    others = [file.name for file in files if file not in pictures]
    if not pictures:
        raise ClipError(
            f"there are no pictures in the folder {path.name or path}",
            given=f"{path}, with " + (f"other files ({_few(others)})" if others else "nothing in it"),
            expected="files that end in " + ", ".join(PICTURE_SUFFIXES),
            do="give a folder of frames, or the video itself",
        )
    moving = _check_sizes(pictures)
    pixels = read_picture(pictures[0])
    notes = _moving_notes(moving)
    if others:
        notes += (f"files in the folder that are not pictures are not used: {_few(others)}",)
    return PictureClip(
        path=path,
        kind="folder",
        pictures=tuple(pictures),
        width=pixels.shape[1],
        height=pixels.shape[0],
        rate=rate,
        notes=notes,
    )


def natural_order(path: Path) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A sorting key by which ``frame2`` comes before ``frame10``; upper and lower case are alike."""
    parts = re.split(r"(\d+)", path.name.lower())
    numbers = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)
    return numbers, path.name


def _check_sizes(pictures: Sequence[Path]) -> list[Path]:
    """Compare the sizes in all headers with the first one's; returns those that hold more than one picture."""
    first: Head | None = None
    moving = []
    for path in pictures:
        head = picture_head(picture_bytes(path))
        if head is None or not head.whole:
            read_picture(path)  # raises, with what is wrong
        assert head is not None
        first = first or head
        if (head.width, head.height) != (first.width, first.height):
            raise _two_sizes(path, (head.width, head.height), pictures[0], (first.width, first.height))
        if head.moving:
            moving.append(path)
    return moving


def _two_sizes(path: Path, size: tuple[int, int], first: Path, wanted: tuple[int, int]) -> ClipError:
    return ClipError(
        f"the pictures in {path.parent.name} differ in size",
        given=f"{path.name} is {size[0]} x {size[1]}",
        expected=f"{wanted[0]} x {wanted[1]}, as {first.name}",
        do="bring them to one size, or put those of another size elsewhere",
    )


def _moving_notes(moving: Sequence[Path]) -> tuple[str, ...]:
    if not moving:
        return ()
    return (f"only the first picture is used of the animated {_few([path.name for path in moving])}",)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
