"""Write frames as a video with the source's times and sound, as one picture, or as a folder of pictures.

A video is H.264 (VP9 in WebM), unless another codec is wanted, at the very times of the source; its sound is copied
packet for packet, never encoded again. An output appears whole or not at all. What a container cannot hold is told in
``notes``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from sakuga.errors import OutputError
from sakuga.video.clip import Clip, Frame
from sakuga.video.codecs import USUAL, Quality, check_codec, encoding
from sakuga.video.encode import VideoSink
from sakuga.video.gif import GifSink
from sakuga.video.outputs import check_output, ours_in
from sakuga.video.stills import FolderSink, PictureSink, Sink
from sakuga.whole import Appearing, appearing_whole


class ClipWriter:
    """Writes the frames of ``like``, changed, to ``path``, in a ``with`` block: whole at its end, nothing on an error.

    ``path`` says the kind: .mp4, .mov, .mkv, .webm; .png, .jpg (one frame); no suffix: a folder of PNGs. The size is
    free; odd sizes are kept exactly. ``start`` is the index of the first frame that will be written: from 0 on, all
    times are the source's; a later part is moved so that it begins where the source does. ``comment`` is a text that
    goes along inside a video or a picture; ``codec`` and ``quality`` are those of ``video/codecs.py``. ``placing`` is
    called with the hidden file when all is written, right before it takes its place. ``notes`` says what was left out,
    once the block has ended. Raises ``OutputError`` and ``OutputExists``.

    >>> with open_clip(source) as clip, ClipWriter(Path("toon.mp4"), clip, 640, 360) as writer:  # doctest: +SKIP
    ...     for frame in clip.frames():
    ...         writer.write(dataclasses.replace(frame, pixels=toon(frame.pixels)))
    """

    def __init__(
        self,
        path: Path,
        like: Clip,
        width: int,
        height: int,
        *,
        start: int = 0,
        overwrite: bool = False,
        comment: str = "",
        codec: str | None = None,
        quality: Quality | None = None,
        placing: Callable[[Path], None] | None = None,
    ) -> None:
        assert width > 0 and height > 0 and 0 <= start < like.frame_count
        check_output(path, overwrite=overwrite)
        if path.exists() and path.samefile(like.path):
            raise OutputError("the output is the source itself", given=str(path), do="choose another name")
        self.path, self.like, self.size, self.start = path, like, (width, height), start
        self.comment, self._placing = comment, placing
        check_codec(path.suffix, codec, quality)
        video = path.suffix.lower() in USUAL
        self._encoding = encoding(path.suffix, (width, height), codec, quality) if video else None
        self.notes: tuple[str, ...] = ()
        self._overwrite, self._empty = overwrite, True
        self._sink: Sink | None = None
        self._appearing: Appearing | None = None
        self._block = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as block:
            whole = appearing_whole(self.path, overwrite=self._overwrite, ours=ours_in(self.path))
            self._appearing = block.enter_context(whole)
            self._sink = self._open(self._appearing.hidden)
            block.push(self._end)
            self._block = block.pop_all()
        return self

    def write(self, frame: Frame) -> None:
        """Add the next frame, RGB uint8 (height, width, 3) of the writer's size."""
        assert self._sink is not None, "a ClipWriter is used in a with block"
        assert frame.pixels.shape == (self.size[1], self.size[0], 3), (frame.pixels.shape, self.size)
        self._sink.write(frame)
        self._empty = False

    def keep_as(self, path: Path) -> None:
        """What was written so far is whole enough to keep: at the end of the block it appears as ``path`` instead.

        ``path`` is of the same kind and in the same folder as the output. Raises ``OutputError``, ``OutputExists``.
        """
        assert path.suffix == self.path.suffix and path.parent == self.path.parent and self._appearing is not None
        check_output(path)
        self.path = self._appearing.final = path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.__exit__(kind, error, trace)

    def _open(self, hidden: Path) -> Sink:
        suffix = self.path.suffix.lower()
        if suffix == ".gif":
            return GifSink(hidden, self.path, self.like, self.size, self.comment)
        if self._encoding is not None:
            return VideoSink(hidden, self.path, self.like, self.size, self.start, self._encoding, self.comment)
        return (
            PictureSink(hidden, self.path, self.like, self.comment)
            if suffix
            else FolderSink(hidden, self.path, self.like)
        )

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        sink, self._sink = self._sink, None
        assert sink is not None and self._appearing is not None
        try:
            if kind is None and self._empty:
                raise OutputError(f"no frame was written to {self.path.name}", do="choose at least one frame")
            if kind is None:
                sink.finish()
                if self._placing is not None:
                    self._placing(self._appearing.hidden)
                self.notes = sink.notes + self._appearing.notes
        finally:
            sink.abandon()
