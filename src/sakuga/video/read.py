"""Open anything that shows pictures as a Clip: a video through PyAV, a picture or a folder of them through OpenCV.

A video's frames are counted and timed once, by reading its packets, so that nothing rests on what the container claims;
then they are decoded one at a time, from the key frame before the first one wanted. What a file has and we do not use
is told in ``notes``. Refuses everything but files on disk: a playlist that points elsewhere is not followed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sakuga.errors import ClipError
from sakuga.video.clip import Clip, no_such_file, not_a_video, undecodable
from sakuga.video.folder import PICTURE_RATE, open_folder, open_picture
from sakuga.video.index import FrameIndex, Mark, Scan, counted_index, timed_index
from sakuga.video.limits import DEMUXERS, check_limits
from sakuga.video.picture_tags import colour_in, turn_in
from sakuga.video.pictures import HEAD_BYTES, PICTURE_SUFFIXES, is_picture, over_white
from sakuga.video.tags import Colour
from sakuga.video.turn import Turn
from sakuga.video.videoclip import Shown, VideoClip

if TYPE_CHECKING:
    import numpy as np
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# Containers and codecs in which a packet is a frame and its pts is to be trusted; of all others every frame is decoded
# once to count them (hidden frames of VP8, two fields in two packets, AVI's missing pts).
TIMED_CONTAINERS = frozenset(("mov", "matroska", "mpegts"))
TIMED_CODECS = frozenset(("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "png", "ffv1", "prores", "dnxhd"))


def open_clip(path: Path, *, rate: Fraction = PICTURE_RATE) -> Clip:
    """A video, a picture or a folder of pictures as a Clip; ``rate`` is for pictures, which carry no times.

    Raises ``ClipError``, with what is wrong, for anything else.

    >>> with open_clip(Path("dance.mp4")) as clip:              # doctest: +SKIP
    ...     times = [frame.time for frame in clip.frames(10, 20)]
    """
    assert rate > 0
    if path.is_dir():
        return open_folder(path, rate)
    if not path.is_file():
        raise no_such_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ClipError(
            f"{path.name} cannot be read", given=f"{path}: {error.strerror}", do="see its rights"
        ) from error
    if not head:
        raise ClipError(f"{path.name} is empty", given="a file of 0 bytes", expected="a video", do="copy it again")
    if is_picture(head) or path.suffix.lower() in PICTURE_SUFFIXES:
        return open_picture(path, rate)
    if importlib.util.find_spec("av") is None:
        raise ClipError("videos need PyAV", given=path.name, do="pip install av, or give a folder of pictures")
    return _open_video(path, head)


@dataclass(kw_only=True)
class _Painter:
    """Turns decoded pictures into RGB: the source's matrix and range, transparency over white, the display's turn.

    Pictures of another size than the first (a stream may change it on its way) are scaled to that of the first.
    """

    size: tuple[int, int]
    colour: Colour
    turn: Turn

    def pixels(self, picture: VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
        from av.video.reformatter import ColorRange, Interpolation

        clear = picture.format.name == "pal8" or any(part.is_alpha for part in picture.format.components)
        converted = reformatter.reformat(
            picture,
            *self.size,
            format="rgba" if clear else "rgb24",
            src_colorspace=self.colour.matrix,
            src_color_range=ColorRange.JPEG if self.colour.full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            threads=1,
        )
        pixels = cast("NDArray[np.uint8]", converted.to_ndarray())
        return self.turn.apply(over_white(pixels[..., :3], pixels[..., 3]) if clear else pixels)


def _open_video(path: Path, head: bytes) -> VideoClip:
    notes: list[str] = []
    with _opened(path, head) as container:
        number = _video_stream(container, path, notes)
        stream = container.streams.video[number]
        scan = _scan(container, stream)
        kind, codec = container.format.name, stream.codec.canonical_name
        has_audio, aspect = bool(container.streams.audio), stream.sample_aspect_ratio or Fraction(1)
    trusted = kind.split(",")[0] in TIMED_CONTAINERS and codec in TIMED_CODECS
    index = (scan.index() if trusted else None) or _decoded_index(path, number, scan, notes)
    if missing := scan.missing(index):
        notes.append(f"the file is cut off: the last {missing} of {len(index.pts) + missing} frames are not in it")
    first = next(_pictures(path, number), None)
    if first is None:
        raise undecodable(path, "nothing came out of the decoder")
    check_limits(path, first.width, first.height, len(index.pts))
    turn = turn_in(first, notes)
    width, height = turn.size(first.width, first.height)
    painter = _Painter(size=(first.width, first.height), colour=colour_in(first, notes), turn=turn)
    return VideoClip(
        path=path,
        kind="picture" if len(index.pts) == 1 and (kind == "image2" or kind.endswith("_pipe")) else "video",
        index=index,
        decoder=partial(_decode, path, number, index, painter),
        width=width,
        height=height,
        rate=index.rate(scan.told),
        pixel_aspect=1 / aspect if turn.transpose else aspect,
        colour=painter.colour,
        has_audio=has_audio,
        found=tuple(notes),
    )


def container_comment(path: Path) -> str | None:
    """The comment in a video's metadata; None where there is none. Raises ``ClipError``."""
    with _opened(path) as container:
        told = {key.lower(): value for key, value in container.metadata.items()}
        return told.get("comment")


def _opened(path: Path, head: bytes = b"") -> InputContainer:
    """The container, from a plain file and nothing else. Raises ``ClipError``."""
    import av

    try:
        # "file:" keeps names like "a:b.mp4" from being taken for an address
        container = av.open(
            f"file:{path}",
            "r",
            options={"protocol_whitelist": "file", "format_whitelist": DEMUXERS},
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise not_a_video(path, head, error.strerror or "", ends_early=isinstance(error, av.EOFError)) from error
    return container


def _video_stream(container: InputContainer, path: Path, notes: list[str]) -> int:
    """Which of the video streams is the clip; the others, subtitles and data go to the notes. Raises ``ClipError``."""
    from av.stream import Disposition

    films = [n for n, stream in enumerate(container.streams.video) if not stream.disposition & Disposition.attached_pic]
    if not films:
        kinds = ", ".join(f"{stream.type} {stream.name or ''}".strip() for stream in container.streams)
        raise ClipError(
            f"{path.name} has no frames",
            given=f"a file with {kinds}, and no video" if kinds else "a file without streams",
            expected="a video",
            do="give a file that has pictures in it",
        )
    stream = container.streams.video[films[0]]
    if getattr(stream, "codec_context", None) is None:
        raise undecodable(path, "there is no decoder for its video codec, or the file breaks off before it is named")
    rest = [other.type for other in container.streams if other.index != stream.index and other.type != "audio"]
    if rest:
        notes.append(f"streams that are not used: {', '.join(rest)}; of videos the first counts")
    return films[0]


def _scan(container: InputContainer, stream: VideoStream) -> Scan:
    """Read all packets once, decoding none. A file that breaks off is read as far as it goes."""
    import av

    scan = Scan(
        time_base=stream.time_base or Fraction(1, 1000),
        told=stream.average_rate or stream.guessed_rate,
        promised=stream.frames,
        length=stream.duration,
        promised_seconds=Fraction((container.duration or 0) + (container.start_time or 0), 1_000_000),
    )
    with contextlib.suppress(av.FFmpegError):  # what is missing then is told by the scan
        for packet in container.demux():
            if not packet.size or packet.stream.type not in ("video", "audio"):
                continue
            if packet.pts is not None:
                scan.reaches((packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream_index == stream.index and packet.is_discard:
                scan.hidden += 1
            elif packet.stream_index == stream.index:
                scan.marks.append(Mark(pts=packet.pts, duration=packet.duration or 0, key=packet.is_keyframe))
                scan.torn = packet.is_corrupt
    scan.finish()
    return scan


def _decoded_index(path: Path, number: int, scan: Scan, notes: list[str]) -> FrameIndex:
    """Count the frames by decoding them all, for files whose packets do not tell. Raises ``ClipError`` for none."""
    marks = [
        Mark(pts=picture.pts, duration=picture.duration or 0, key=bool(picture.key_frame))
        for picture in _pictures(path, number)
    ]
    if not marks:
        raise ClipError(
            f"{path.name} has no frames",
            given="a video stream of 0 frames",
            expected="at least one frame",
            do="give another video, or record it again",
        )
    index = timed_index(marks, scan.time_base, scan.told)
    if index is None:
        index = counted_index(len(marks), scan.told)
        notes.append(
            f"it carries no usable times: its frames are shown evenly, {float(1 / index.time_base):g} a second"
        )
    return index


def _decode(path: Path, number: int, index: FrameIndex, painter: _Painter, start: int) -> Generator[Shown]:
    """The ``Decoder`` of a clip."""
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    for count, picture in enumerate(_pictures(path, number, index.key_before(start))):
        pts = picture.pts if index.timed else count
        if pts is not None:
            pixels = partial(painter.pixels, picture, reformatter)
            yield Shown(pts=pts, pixels=pixels, damaged=bool(picture.is_corrupt))


def _pictures(path: Path, number: int, key: int | None = None) -> Generator[VideoFrame]:
    """The decoded pictures as they are shown, from the key frame at ``key`` or, if that fails, from the beginning."""
    import av

    with _opened(path) as container:
        stream = container.streams.video[number]
        packets = _packets(container, stream, key)
        if packets is not None:
            for packet in itertools.chain(_readable(packets), [None]):  # None empties the decoder
                with contextlib.suppress(av.FFmpegError):  # frames that do not come are told by the clip
                    yield from stream.decode(packet)
            return
    yield from _pictures(path, number)


def _packets(container: InputContainer, stream: VideoStream, key: int | None) -> Iterator[Packet[VideoStream]] | None:
    """The stream's packets, from the key frame at ``key``; None when the file does not let us get there exactly."""
    import av

    if key is None:
        return container.demux(stream)
    try:
        container.seek(key, stream=stream)
        packets = container.demux(stream)
        first = next(packets, None)
    except av.FFmpegError:
        return None
    if first is None or not first.is_keyframe or first.pts is None or first.pts > key:
        return None
    return itertools.chain([first], packets)


def _readable(packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """The packets with data in them, as far as the file goes."""
    import av

    with contextlib.suppress(av.FFmpegError):
        yield from (packet for packet in packets if packet.size)
