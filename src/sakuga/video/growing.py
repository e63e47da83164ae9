"""Growing: a small video that can be watched while it is written, frame by frame. Not for keeps: no sound, and when the
run ends it is what it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from sakuga.errors import OutputError
from sakuga.video.clip import Clip, Frame
from sakuga.video.colour import resize
from sakuga.whole import check_place, not_written

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

SIDE = 480  # pixels of the longer side, at most
LIVE = {"flush_packets": "1", "cluster_time_limit": "1000", "live": "1"}


class Growing:
    """Writes frames of ``like`` to ``path``, a Matroska file, in a ``with`` block; None: nothing is written.

    Raises ``OutputError``, ``OutputExists``.
    """

    def __init__(self, path: Path | None, like: Clip, width: int, height: int, *, overwrite: bool = False) -> None:
        self.path, self.like = path, like
        share = min(1.0, SIDE / max(width, height))
        self._size = tuple(max(2, round(side * share / 2) * 2) for side in (width, height))
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._tick = -1
        if path is not None:
            check_growing(path, overwrite=overwrite)

    def __enter__(self) -> Self:
        if self.path is None:
            return self
        import av

        with self._told(self.path):
            self._container = av.open(f"file:{self.path}", "w", format="matroska", container_options=LIVE)
            options = {"preset": "ultrafast", "crf": "23", "tune": "zerolatency", "g": "12"}
            self._stream = self._container.add_stream("libx264", rate=self.like.rate, options=options)
            context = self._stream.codec_context
            context.width, context.height = self._size
            context.pix_fmt = "yuv420p"
        return self

    def write(self, frame: Frame) -> None:
        """Add the next frame, RGB uint8 (height, width, 3)."""
        if self._container is None or self._stream is None or self.path is None:
            return
        import av

        pixels = np.ascontiguousarray(resize(frame.pixels, *self._size))
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        moment = frame.time - self.like.pts_at(0) * self.like.time_base
        rate = self._stream.codec_context.framerate
        self._tick = max(self._tick + 1, round(moment * rate))
        picture.pts = self._tick
        with self._told(self.path):
            self._container.mux(self._stream.encode(picture))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is None or self._stream is None or self.path is None:
            return
        with self._told(self.path):
            self._container.mux(self._stream.encode(None))
            self._container.close()

    @contextlib.contextmanager
    def _told(self, path: Path) -> Iterator[None]:
        """Turn FFmpeg's errors into ``OutputError``."""
        import av

        try:
            yield
        except av.FFmpegError as error:
            raise not_written(path, error.errno, error.strerror or str(error)) from error


def check_growing(path: Path, *, overwrite: bool) -> None:
    """Raise ``OutputError`` or ``OutputExists`` where no growing video can be written. Creates nothing."""
    if path.suffix.lower() != ".mkv":
        raise OutputError(
            "a video that can be watched while it grows is a Matroska file",
            given=str(path),
            expected="a name in .mkv",
            do=f"name it {path.with_suffix('.mkv').name}",
        )
    check_place(path, overwrite=overwrite)
