"""VideoSink: frames encoded as a video with the source's times and colours; its sound and all else come along.

What the container cannot hold is told in ``notes``. One of the doors to PyAV.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from sakuga.video.along import Along
from sakuga.video.clip import Clip, Frame
from sakuga.video.codecs import Encoding
from sakuga.video.outputs import CONTAINERS, MATROSKA_BASE, container_options
from sakuga.video.tags import RGB
from sakuga.whole import not_written

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

STEADY = {"fflags": "+bitexact"}  # no random numbers and no time of day in the file


class VideoSink:
    """Encodes frames with the source's times and colours, and lets the sound come along."""

    def __init__(
        self, path: Path, final: Path, like: Clip, size: tuple[int, int], start: int, encoding: Encoding, comment: str
    ) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self.final, self.like = final, like
        # a later part begins where the source does; and nothing can begin before 0
        self.shift = like.pts_at(start) - like.pts_at(0) + min(0, like.pts_at(0))
        self.notes: tuple[str, ...] = ()
        self._reformatter, self._encoding = VideoReformatter(), encoding
        self._durations: dict[int, int] = {}
        self._delay: int | None = None
        self._held: Packet[VideoStream] | None = None
        self._last: Frame | None = None
        coarse = final.suffix.lower() in (".mkv", ".webm")
        self._base = MATROSKA_BASE if coarse else like.time_base
        self._rounded, self._tick = False, -1
        self._along: Along | None = None
        self._open: list[InputContainer | OutputContainer] = []
        with self._told():
            kind = CONTAINERS[final.suffix.lower()]
            options = STEADY | container_options(kind, like.time_base)
            self._container = av.open(f"file:{path}", "w", format=kind, container_options=options)
            self._open.append(self._container)
            if like.kind == "video":
                self._along = Along(self._container, like, start, self.shift, final.suffix)
                self._open.append(self._along.source)
            if comment:
                self._container.metadata["comment"] = comment
            self._stream = self._video_stream(size, encoding)
            if self._along is not None:
                self._along.begin()
            self._container.start_encoding()

    def _video_stream(self, size: tuple[int, int], encoding: Encoding) -> VideoStream:
        from av.video.reformatter import ColorRange

        options = dict(encoding.options)
        stream = cast("VideoStream", self._container.add_stream(encoding.encoder, rate=self.like.rate, options=options))
        context, colour = stream.codec_context, self.like.colour
        context.width, context.height = size
        context.pix_fmt = encoding.pix_fmt
        context.time_base = stream.time_base = self._base
        context.sample_aspect_ratio = self.like.pixel_aspect
        context.color_range = ColorRange.JPEG if encoding.rgb else ColorRange.MPEG
        matrix = RGB if encoding.rgb else colour.matrix
        context.colorspace, context.color_primaries, context.color_trc = matrix, colour.primaries, colour.transfer
        self.notes += encoding.notes
        if self._container.format.name == "webm" and self.like.pixel_aspect != 1:
            self.notes += (f"the shape of the pixels ({self.like.pixel_aspect}) is not kept in WebM",)
        return stream

    def write(self, frame: Frame) -> None:
        assert frame.time_base == self.like.time_base, "a frame keeps the time base of its clip"
        assert self._last is None or frame.pts > self._last.pts, "frames come in the order of their times"
        with self._told():
            self._encode(self._picture(frame))
            if self._along is not None:
                self._along.until(frame.time)
        self._last = frame

    def finish(self) -> None:
        assert self._last is not None
        after = self._last.index + 1
        end = self.like.pts_at(after)
        with self._told():
            self._encode(None)
            self._mux_last(self._ticks(end))
            if self._along is not None:
                self._along.until(None if after == self.like.frame_count else end * self.like.time_base)
                self.notes += self._along.notes()
            while self._open:
                self._open.pop().close()
        if self._rounded:
            self.notes += (f"the times are rounded to milliseconds, as {self.final.suffix} files count them",)

    def _ticks(self, pts: int) -> int:
        """A time of the source in the result's own ticks."""
        exact = (pts - self.shift) * self.like.time_base / self._base
        self._rounded |= bool(exact % 1)
        return round(exact)

    def abandon(self) -> None:
        """Let go of the files."""
        import av

        while self._open:
            with contextlib.suppress(av.FFmpegError):
                self._open.pop().close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn FFmpeg's errors into ``OutputError``."""
        import av

        try:
            yield
        except av.FFmpegError as error:
            self.abandon()
            raise not_written(self.final, error.errno, error.strerror or str(error)) from error

    def _picture(self, frame: Frame) -> VideoFrame:
        """The frame in the encoder's format: the source's matrix, and limited range, as every player expects."""
        import av
        from av.video.reformatter import ColorRange, Interpolation

        rgb = self._encoding.rgb
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), format="rgb24"),
            format=self._stream.codec_context.pix_fmt,
            dst_colorspace=None if rgb else self.like.colour.matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if rgb else ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )
        tick, behind = self._ticks(frame.pts), self._ticks(self.like.pts_at(frame.index + 1))
        if behind <= tick:  # two frames within a tick: both are shown, this one a little earlier
            tick = math.floor((frame.pts - self.shift) * self.like.time_base / self._base)
        picture.pts = self._tick = max(tick, self._tick + 1)
        picture.time_base = self._base
        self._durations[picture.pts] = max(1, behind - picture.pts)
        return picture

    def _encode(self, picture: VideoFrame | None) -> None:
        """Encode and store. The newest packet is held back: how long the last one lasts is known at the end only."""
        for packet in self._stream.encode(picture):
            assert packet.pts is not None and packet.dts is not None
            packet.duration = self._durations.pop(packet.pts)
            if self._delay is None:
                self._delay = packet.pts - packet.dts
            if self._held is not None:
                self._container.mux(self._held)
            self._held = packet

    def _mux_last(self, end: int) -> None:
        """Store the last packet so that the video ends at ``end``.

        MP4 measures durations in the order of decoding, and shows everything ``_delay`` later than it is decoded.
        """
        last, delay = self._held, self._delay
        assert last is not None and last.dts is not None and delay is not None
        if self._container.format.name in ("mp4", "mov"):
            last.duration = max(1, end - delay - last.dts)
        self._container.mux(last)
