"""Along: what of a source video goes along into another one: sound and subtitles packet for packet, chapters, words.

Decodes nothing and encodes nothing. What a container cannot hold is told in ``notes``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from sakuga.video.clip import Clip
from sakuga.video.sound import SoundCopy

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

KINDS = {"audio": "sound", "subtitle": "subtitles"}
# what the muxer writes itself, or what says how the source was made and not what it shows
TECHNICAL = frozenset(
    ("encoder", "major_brand", "minor_version", "compatible_brands", "comment", "duration", "handler_name")
)


class Along:
    """Copies from the source of ``like`` into ``target``. ``begin`` before the first packet, then ``until`` by time."""

    def __init__(self, target: OutputContainer, like: Clip, start: int, shift: int, suffix: str) -> None:
        import av

        self.source: InputContainer = av.open(f"file:{like.path}", metadata_errors="replace")
        self._target, self._like, self._start, self._shift = target, like, start, shift * like.time_base
        self._suffix, self._notes = suffix, list[str]()
        self._copy: SoundCopy[Packet[Stream]] | None = None
        for key, value in self.source.metadata.items():
            if key.lower() not in TECHNICAL:
                target.metadata[key] = value

    def begin(self) -> None:
        """Make the streams; to be called when that of the pictures is there."""
        kind = self._target.format.name
        copies: dict[int, Stream] = {}
        for stream in self.source.streams:
            if stream.type not in KINDS or (stream.type == "audio" and not self._like.has_audio):
                continue
            if _holds(kind, stream):
                copy = copies[stream.index] = self._target.add_stream_from_template(stream)
                copy.metadata.update({k: v for k, v in stream.metadata.items() if k.lower() not in TECHNICAL})
            else:
                name = getattr(stream, "name", None) or "of an unknown kind"
                self._notes.append(
                    f"its {KINDS[stream.type]} ({name}) is left out: a {self._suffix} file cannot hold it"
                )

        def send(packet: Packet[Stream]) -> None:
            packet.stream = copies[packet.stream_index]
            self._target.mux(packet)

        chosen = [stream for stream in self.source.streams if stream.index in copies]
        begin = self._like.pts_at(self._start) * self._like.time_base if self._start else None
        self._copy = SoundCopy(packets=_readable(self.source, chosen), send=send, begin=begin, shift=self._shift)
        self._chapters()

    def until(self, seconds: Fraction | None) -> None:
        """Copy what begins before ``seconds`` of the source; None: all that is left."""
        if self._copy is not None:
            self._copy.until(seconds)

    def notes(self) -> tuple[str, ...]:
        """What was left out."""
        return (*self._notes, *(self._copy.notes() if self._copy else ()))

    def _chapters(self) -> None:
        """Chapters stay with a clip that is written from its beginning; a later part has none."""
        chapters = self.source.chapters()
        if not chapters:
            return
        if self._start or self._shift or self._target.format.name not in ("mp4", "mov", "matroska", "webm"):
            self._notes.append(f"its {len(chapters)} chapters are left out")
            return
        self._target.set_chapters(chapters)


def _holds(kind: str, stream: Stream) -> bool:
    """Whether a container can hold such a stream, asked of FFmpeg itself by writing a header into memory."""
    import av

    try:
        with av.open(io.BytesIO(), "w", format=kind) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (ValueError, TypeError, AttributeError, av.FFmpegError):
        return False
    return True


def _readable(source: InputContainer, streams: list[Stream]) -> Iterator[Packet[Stream]]:
    """The packets with something in them, as far as the source goes."""
    import av

    if streams:
        with contextlib.suppress(av.FFmpegError):
            yield from (packet for packet in source.demux(tuple(streams)) if packet.size)
