"""Pictures as outputs: one frame as one file, or every frame as a numbered PNG in a folder.

Pictures hold neither times nor sound; what is left out so is told in ``notes``. Sinks for ``ClipWriter``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sakuga.errors import OutputError
from sakuga.video.clip import Clip, Frame
from sakuga.video.outputs import PICTURES_OUT, check_output, one_frame_only
from sakuga.video.pictures import encode_picture
from sakuga.whole import appearing_whole, writing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIGITS = 6  # of the frame's number in a file name


class Sink(Protocol):
    """Where the frames go: one kind of output under a hidden name."""

    notes: tuple[str, ...]

    def write(self, frame: Frame) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


class PictureSink:
    """One frame as a PNG or JPEG, as the suffix of ``final`` says, written at the hidden ``path``."""

    def __init__(self, path: Path, final: Path, like: Clip) -> None:
        self.path, self.final = path, final
        self.notes = _sound_note(like)
        self._filled = False

    def write(self, frame: Frame) -> None:
        if self._filled:
            raise one_frame_only(self.final.suffix, f"a second frame, number {frame.index}")
        with writing(self.final):
            self.path.write_bytes(encode_picture(frame.pixels, self.final.suffix))
        self._filled = True

    def finish(self) -> None:
        """Nothing is left to do: the picture was written when it came."""

    def abandon(self) -> None:
        """Nothing is held open."""


class FolderSink:
    """Every frame as a PNG in the hidden folder ``path``, named by its number in the clip: 000000.png, 000001.png …"""

    def __init__(self, path: Path, final: Path, like: Clip) -> None:
        self.path, self.final = path, final
        self.notes = _sound_note(like)
        if like.kind == "video":
            self.notes += (f"pictures carry no times; the clip has {float(like.rate):.6g} frames a second",)
        with writing(final):
            path.mkdir()

    def write(self, frame: Frame) -> None:
        name = f"{frame.index:0{DIGITS}d}.png"
        with writing(self.final):
            (self.path / name).write_bytes(encode_picture(frame.pixels, ".png"))

    def finish(self) -> None:
        """Nothing is left to do: each picture was written when it came."""

    def abandon(self) -> None:
        """Nothing is held open."""


def write_picture(path: Path, pixels: NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Write RGB pixels, uint8 (height, width, 3), as a .png or .jpg, whole or not at all. Raises ``OutputError``."""
    check_output(path, frames=1, overwrite=overwrite)
    if path.suffix.lower() not in PICTURES_OUT:
        raise OutputError(f"{path.name} is no name for a picture", given=str(path), expected=".png or .jpg")
    with appearing_whole(path, overwrite=overwrite) as appearing, writing(path):
        appearing.hidden.write_bytes(encode_picture(pixels, path.suffix))


def _sound_note(like: Clip) -> tuple[str, ...]:
    return ("the sound is left out: pictures hold none",) if like.has_audio else ()
