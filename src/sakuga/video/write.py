"""Write frames as a video with the source's times and sound, as one picture, or as a folder of pictures.

A video is H.264 (VP9 in WebM) at the very times of the source; its sound is copied packet for packet, never encoded
again. An output appears whole or not at all. Refuses GIF, and sound that a container cannot hold (told in ``notes``).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import numpy as np

from sakuga.errors import OutputError
from sakuga.video.clip import Clip, Frame
from sakuga.video.outputs import (
    CONTAINERS,
    ENCODERS,
    MATROSKA_BASE,
    check_output,
    container_options,
    ours_in,
)
from sakuga.video.sound import SoundCopy
from sakuga.video.stills import FolderSink, PictureSink, Sink
from sakuga.whole import Appearing, appearing_whole, not_written

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class ClipWriter:
    """Writes the frames of ``like``, changed, to ``path``, in a ``with`` block: whole at its end, nothing on an error.

    ``path`` says the kind: .mp4, .mov, .mkv, .webm; .png, .jpg (one frame); no suffix: a folder of PNGs. The size is
    free; odd sizes are kept exactly. ``start`` is the index of the first frame that will be written: from 0 on, all
    times are the source's; a later part is moved so that it begins where the source does. ``notes`` says what was left
    out, once the block has ended. Raises ``OutputError`` and ``OutputExists``.

    >>> with open_clip(source) as clip, ClipWriter(Path("toon.mp4"), clip, 640, 360) as writer:  # doctest: +SKIP
    ...     for frame in clip.frames():
    ...         writer.write(dataclasses.replace(frame, pixels=toon(frame.pixels)))
    """

    def __init__(
        self, path: Path, like: Clip, width: int, height: int, *, start: int = 0, overwrite: bool = False
    ) -> None:
        assert width > 0 and height > 0 and 0 <= start < like.frame_count
        check_output(path, overwrite=overwrite)
        if path.exists() and path.samefile(like.path):
            raise OutputError("the output is the source itself", given=str(path), do="choose another name")
        self.path, self.like, self.size, self.start = path, like, (width, height), start
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
        if suffix in CONTAINERS:
            return _VideoSink(hidden, self.path, self.like, self.size, self.start)
        return PictureSink(hidden, self.path, self.like) if suffix else FolderSink(hidden, self.path, self.like)

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        sink, self._sink = self._sink, None
        assert sink is not None and self._appearing is not None
        try:
            if kind is None and self._empty:
                raise OutputError(f"no frame was written to {self.path.name}", do="choose at least one frame")
            if kind is None:
                sink.finish()
                self.notes = sink.notes + self._appearing.notes
        finally:
            sink.abandon()


class _VideoSink:
    """Encodes frames with the source's times and colours, and lets the sound come along."""

    def __init__(self, path: Path, final: Path, like: Clip, size: tuple[int, int], start: int) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self.final, self.like = final, like
        # a later part begins where the source does; and nothing can begin before 0
        self.shift = like.pts_at(start) - like.pts_at(0) + min(0, like.pts_at(0))
        self.notes: tuple[str, ...] = ()
        self._reformatter = VideoReformatter()
        self._durations: dict[int, int] = {}
        self._delay: int | None = None
        self._held: Packet[VideoStream] | None = None
        self._last: Frame | None = None
        self._coarse, self._rounded = final.suffix.lower() in (".mkv", ".webm"), False
        self._sound: SoundCopy[Packet[AudioStream]] | None = None
        self._open: list[InputContainer | OutputContainer] = []
        with self._told():
            kind = CONTAINERS[final.suffix.lower()]
            options = container_options(kind, like.time_base)
            self._container = av.open(f"file:{path}", "w", format=kind, container_options=options)
            self._open.append(self._container)
            self._stream = self._video_stream(size)
            if like.has_audio:
                source = av.open(f"file:{like.path}")
                self._open.append(source)
                self._sound = self._copy_of(source, start)
            self._container.start_encoding()

    def _video_stream(self, size: tuple[int, int]) -> VideoStream:
        from av.video.reformatter import ColorRange

        webm, odd = self._container.format.name == "webm", size[0] % 2 or size[1] % 2
        encoder, options = ENCODERS["vp9" if webm else "h264"]
        stream = cast("VideoStream", self._container.add_stream(encoder, rate=self.like.rate, options=options))
        context, colour = stream.codec_context, self.like.colour
        context.width, context.height = size
        context.pix_fmt = "yuv444p" if odd and not webm else "yuv420p"  # H.264 halves the colours of even sizes only
        context.time_base = stream.time_base = self.like.time_base
        context.sample_aspect_ratio = self.like.pixel_aspect
        context.color_range = ColorRange.MPEG
        context.colorspace, context.color_primaries, context.color_trc = (
            colour.matrix,
            colour.primaries,
            colour.transfer,
        )
        if odd and not webm:
            self.notes += ("an odd size is kept with full colour resolution (4:4:4), which some players do not know",)
        if webm and self.like.pixel_aspect != 1:
            self.notes += (f"the shape of the pixels ({self.like.pixel_aspect}) is not kept in WebM",)
        return stream

    def _copy_of(self, source: InputContainer, start: int) -> SoundCopy[Packet[AudioStream]]:
        """The sound streams that this container can hold, ready to be copied."""
        kind, copies = self._container.format.name, {}
        for stream in source.streams.audio:
            if _holds(kind, stream):
                copies[stream.index] = self._container.add_stream_from_template(stream)
            else:
                self.notes += (f"its sound ({stream.name}) is left out: a {self.final.suffix} file cannot hold it",)

        def send(packet: Packet[AudioStream]) -> None:
            packet.stream = copies[packet.stream_index]
            self._container.mux(packet)

        chosen = [stream for stream in source.streams.audio if stream.index in copies]
        base = self.like.time_base
        return SoundCopy(
            packets=_readable(source, chosen),
            send=send,
            begin=self.like.pts_at(start) * base if start else None,
            shift=self.shift * base,
        )

    def write(self, frame: Frame) -> None:
        assert frame.time_base == self.like.time_base, "a frame keeps the time base of its clip"
        assert self._last is None or frame.pts > self._last.pts, "frames come in the order of their times"
        with self._told():
            self._encode(self._picture(frame))
            if self._sound:
                self._sound.until(frame.time)
        self._last = frame
        self._rounded |= self._coarse and bool((frame.pts - self.shift) * frame.time_base % MATROSKA_BASE)

    def finish(self) -> None:
        assert self._last is not None
        after = self._last.index + 1
        end = self.like.pts_at(after)
        with self._told():
            self._encode(None)
            self._mux_last(end - self.shift)
            if self._sound:
                self._sound.until(None if after == self.like.frame_count else end * self.like.time_base)
                self.notes += self._sound.notes()
            while self._open:
                self._open.pop().close()
        if self._rounded:
            self.notes += (f"the times are rounded to milliseconds, as {self.final.suffix} files count them",)

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

        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), format="rgb24"),
            format=self._stream.codec_context.pix_fmt,
            dst_colorspace=self.like.colour.matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )
        picture.pts, picture.time_base = frame.pts - self.shift, frame.time_base
        self._durations[picture.pts] = self.like.pts_at(frame.index + 1) - frame.pts
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


def _holds(kind: str, stream: AudioStream) -> bool:
    """Whether a container can hold this sound, asked of FFmpeg itself by writing a header into memory."""
    import av

    try:
        with av.open(io.BytesIO(), "w", format=kind) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    return True


def _readable(source: InputContainer, streams: list[AudioStream]) -> Iterator[Packet[AudioStream]]:
    """The packets with sound in them, as far as the source goes."""
    import av

    if streams:
        with contextlib.suppress(av.FFmpegError):
            yield from (packet for packet in source.demux(tuple(streams)) if packet.size)
