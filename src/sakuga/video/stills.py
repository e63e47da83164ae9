"""Pictures as outputs: one frame as one file, or every frame as a numbered PNG in a folder.

Pictures hold neither times nor sound; what is left out so is told in ``notes``. Sinks for ``ClipWriter``.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from sakuga.errors import OutputError
from sakuga.video.clip import Clip, Frame
from sakuga.video.comment import with_comment
from sakuga.video.outputs import NUMBERED_PICTURE, PICTURES_OUT, check_output, one_frame_only
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

    def __init__(self, path: Path, final: Path, like: Clip, comment: str) -> None:
        self.path, self.final, self.comment = path, final, comment
        self.notes = _sound_note(like)
        self._filled = False

    def write(self, frame: Frame) -> None:
        if self._filled:
            raise one_frame_only(self.final.suffix, f"a second frame, number {frame.index}")
        with writing(self.final):
            self.path.write_bytes(with_comment(encode_picture(frame.pixels, self.final.suffix), self.comment))
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


class NumberedPictures:
    """Finished frames as PNGs in a folder of their own, 0.png, 1.png …, in a ``with`` block: whole at its end, nothing
    on an error. A ``path`` of None is no folder, and nothing is written. Raises ``OutputError``, ``OutputExists``.
    """

    def __init__(self, path: Path | None, *, overwrite: bool = False) -> None:
        self.path, self._overwrite, self._count = path, overwrite, 0
        self._hidden: Path | None = None
        self._block = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self.path is not None:
            with contextlib.ExitStack() as block:
                whole = appearing_whole(self.path, overwrite=self._overwrite, ours=NUMBERED_PICTURE.fullmatch)
                self._hidden = block.enter_context(whole).hidden
                with writing(self.path):
                    self._hidden.mkdir()
                self._block = block.pop_all()
        return self

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Add the next frame, RGB uint8 (height, width, 3)."""
        if self.path is not None and self._hidden is not None:
            with writing(self.path):
                (self._hidden / f"{self._count}.png").write_bytes(encode_picture(pixels, ".png"))
            self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.__exit__(kind, error, trace)


def _sound_note(like: Clip) -> tuple[str, ...]:
    return ("the sound is left out: pictures hold none",) if like.has_audio else ()
