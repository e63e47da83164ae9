"""GifSink: frames as a GIF, each with 256 colours of its own, at times in hundredths of a second. Holds no sound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from sakuga.video.clip import Clip, Frame
from sakuga.whole import not_written

if TYPE_CHECKING:
    from av.filter import Graph
    from av.video.frame import VideoFrame

HUNDREDTH = 100  # ticks a second


class GifSink:
    """Writes a GIF that is shown again and again. Frames closer than a hundredth of a second fall together (told)."""

    def __init__(self, path: Path, final: Path, like: Clip, size: tuple[int, int], comment: str) -> None:
        import av

        self.final, self.like = final, like
        self.notes: tuple[str, ...] = ("a GIF has 256 colours in each frame",)
        if like.has_audio:
            self.notes += ("the sound is left out: a GIF holds none",)
        if like.pixel_aspect != 1:
            self.notes += (f"the shape of the pixels ({like.pixel_aspect}) is not kept in .gif",)
        self._container = av.open(f"file:{path}", "w", format="gif", container_options={"loop": "0"})
        if comment:
            self.notes += ("the recipe is left out: a GIF holds none; the report beside it has it all",)
        self._stream = self._container.add_stream("gif", rate=HUNDREDTH)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = *size, "pal8"
        self._graph = _palettes(size)
        self._waiting: tuple[int, VideoFrame] | None = None
        self._first: int | None = None
        self._end, self._lost, self._rounded = 0, 0, False

    def write(self, frame: Frame) -> None:
        import av

        exact = (frame.time - self.like.pts_at(0) * self.like.time_base) * HUNDREDTH
        if self._first is None:
            self._first = round(exact)
        tick = round(exact) - self._first
        self._rounded |= bool(exact % 1)
        until = (self.like.pts_at(frame.index + 1) - self.like.pts_at(0)) * self.like.time_base * HUNDREDTH
        self._end = max(tick + 1, round(until) - self._first)
        if self._waiting is not None and self._waiting[0] >= tick:
            self._lost += 1
            return
        with self._told():
            self._flush(tick)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), format="rgb24")
            picture.pts, picture.time_base = tick, Fraction(1, HUNDREDTH)
            self._graph.push(picture)
            self._waiting = (tick, cast("VideoFrame", self._graph.pull()))

    def finish(self) -> None:
        with self._told():
            self._flush(self._end)
            self._container.close()
        if self._rounded:
            self.notes += ("the times are rounded to hundredths of a second, as a GIF counts them",)
        if self._lost:
            self.notes += (f"{self._lost} frames are left out: they come within a hundredth of a second of another",)

    def abandon(self) -> None:
        """Let go of the file."""
        import av

        with contextlib.suppress(av.FFmpegError):
            self._container.close()

    def _flush(self, until: int) -> None:
        """Store the frame that waits; it lasts up to the tick ``until``."""
        if self._waiting is None:
            return
        tick, picture = self._waiting
        picture.pts, picture.duration = tick, until - tick
        self._waiting = None
        for packet in self._stream.encode(picture):
            packet.pts = packet.dts = tick
            packet.duration = until - tick
            self._container.mux(packet)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn FFmpeg's errors into ``OutputError``."""
        import av

        try:
            yield
        except av.FFmpegError as error:
            self.abandon()
            raise not_written(self.final, error.errno, error.strerror or str(error)) from error


def _palettes(size: tuple[int, int]) -> Graph:
    """A filter that chooses 256 colours for each frame and spreads what they cannot show over the pixels beside."""
    from av import VideoFormat
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(
        width=size[0], height=size[1], format=VideoFormat("rgb24", *size), time_base=Fraction(1, HUNDREDTH)
    )
    split, choose = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    use, sink = graph.add("paletteuse", "new=1"), graph.add("buffersink")
    for one, other, out, into in (
        (source, split, 0, 0), (split, use, 0, 0), (split, choose, 1, 0), (choose, use, 0, 1), (use, sink, 0, 0),
    ):  # fmt: skip
        one.link_to(other, out, into)
    graph.configure()
    return graph
