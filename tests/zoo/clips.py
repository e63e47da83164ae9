"""The zoo: over sixty clips of every dress that people's cameras, phones and programs give them, each with what must
come of it. Nothing is kept: ``tests/zoo/making.py`` makes them when they are wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tests.zoo.making import Dress, made, rgb

from sakuga.video.pictures import encode_picture

FINE = Fraction(1, 90_000)
VARIABLE = (0, 3003, 6006, 12_500, 12_501, 20_000, 40_000, 40_100)
LONG = tuple(range(24))
EXACT, CLOSE, FAR = 3, 14, 40  # grey levels that a codec may be away from what was drawn


@dataclass(frozen=True, kw_only=True)
class Animal:
    """A clip: how it is made, and what must come of it.

    ``frames``: how many; ``near``: how far its colours may be from those drawn, None where they are another matter;
    ``refused``: words of the error instead; ``noted``: words that a note must have; ``output``: the suffix it is
    rendered to; ``sounds``: how many streams of sound must be there afterwards; ``times``: seconds from the
    first frame.
    """

    make: Callable[[Path], Path]
    frames: int = 8
    size: tuple[int, int] = (64, 48)
    near: int | None = CLOSE
    refused: str | None = None
    noted: str | None = None
    output: str = ".mkv"
    sounds: int = 0
    times: tuple[Fraction, ...] | None = None


def of(dress: Dress, **changed: object) -> Animal:
    def make(folder: Path) -> Path:
        return made(folder / f"clip{dress.suffix}", dress)

    first = dress.times[0] * dress.base
    told: dict[str, object] = {
        "make": make,
        "frames": len(dress.times),
        "size": dress.size,
        "sounds": len(dress.sounds),
        "times": tuple(pts * dress.base - first for pts in dress.times),
    }
    return Animal(**(told | changed))  # type: ignore[arg-type]


def cut_short(dress: Dress, share: float) -> Callable[[Path], Path]:
    """The clip without its end."""

    def make(folder: Path) -> Path:
        path = made(folder / f"clip{dress.suffix}", dress)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return path

    return make


def scratched(dress: Dress, at: float) -> Callable[[Path], Path]:
    """The clip with a hundred wrong bytes inside."""

    def make(folder: Path) -> Path:
        path = made(folder / f"clip{dress.suffix}", dress)
        data = bytearray(path.read_bytes())
        begin = int(len(data) * at)
        data[begin : begin + 100] = bytes(255 - byte for byte in data[begin : begin + 100])
        path.write_bytes(bytes(data))
        return path

    return make


def folder_of(names: list[str], size: tuple[int, int] = (64, 48)) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "pictures"
        path.mkdir()
        for number, name in enumerate(names):
            pixels = np.clip(np.rint(rgb(number, size)), 0, 255).astype(np.uint8)
            (path / name).write_bytes(encode_picture(pixels, Path(name).suffix))
        return path

    return make


def file_of(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def sound_alone(folder: Path) -> Path:
    path = folder / "sound.mp4"
    with av.open(str(path), "w") as out:
        voice = out.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 48_000), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        out.mux(voice.encode(frame))
        out.mux(voice.encode(None))
    return path


def moving_webp(folder: Path) -> Path:
    return made(folder / "clip.webp", Dress(suffix=".webp", codec="libwebp_anim", pix_fmt="bgra", container="webp"))


def late(folder: Path, first: int) -> Path:
    return made(folder / "clip.mkv", Dress(suffix=".mkv", times=[first + n for n in range(8)]))


def with_subtitles(folder: Path) -> Path:
    """A Matroska file with a text stream, put together from a video and a subtitle file."""
    film = made(folder / "bare.mkv", Dress(suffix=".mkv", sounds=[("aac", "eng")]))
    words = folder / "words.srt"
    words.write_text("1\n00:00:00,100 --> 00:00:00,400\nhello\n\n2\n00:00:00,450 --> 00:00:00,600\nthere\n")
    path = folder / "clip.mkv"
    with av.open(str(film)) as one, av.open(str(words)) as other, av.open(str(path), "w") as out:
        copies = {}
        for number, source in enumerate((one, other)):
            for stream in source.streams:
                copies[number, stream.index] = out.add_stream_from_template(stream)
        out.start_encoding()
        for number, source in enumerate((one, other)):
            for packet in source.demux():
                if packet.size:
                    packet.stream = copies[number, packet.stream_index]
                    out.mux(packet)
    film.unlink()
    words.unlink()
    return path


PLAIN = Dress()
MKV = Dress(suffix=".mkv")
LOSSLESS = Dress(suffix=".mkv", codec="ffv1", pix_fmt="yuv444p")
AAC = ("aac", "eng")
B_FRAMES = {"bf": "3", "g": "12", "crf": "12"}

ZOO: dict[str, Animal] = {
    # times
    "constant rate": of(PLAIN),
    "variable rate": of(replace(PLAIN, times=VARIABLE, base=FINE)),
    "variable rate, Matroska": of(replace(MKV, times=(0, 33, 67, 150, 151, 400, 410, 900), base=Fraction(1, 1000))),
    "NTSC": of(replace(PLAIN, base=Fraction(1001, 30_000))),
    "film of 23.976": of(replace(PLAIN, base=Fraction(1001, 24_000))),
    "B-frames": of(replace(PLAIN, times=LONG, options=B_FRAMES)),
    "B-frames, variable rate": of(replace(PLAIN, times=VARIABLE, base=FINE, options=B_FRAMES)),
    "open groups": of(replace(PLAIN, times=LONG, options=B_FRAMES | {"x264-params": "open-gop=1:keyint=6"})),
    "only key frames": of(replace(PLAIN, options={"g": "1"})),
    "a late first frame": of(replace(PLAIN, times=range(30, 38))),
    "a late first frame, Matroska": Animal(make=lambda folder: late(folder, 30), frames=8),
    "a first frame before zero, which players hide": of(
        replace(PLAIN, times=range(-3, 5), container_options={"avoid_negative_ts": "disabled"}),
        frames=5,
        near=None,
        times=None,
    ),
    "an edit list": of(replace(PLAIN, times=LONG, options=B_FRAMES, container_options={"movflags": "+faststart"})),
    "fragments": of(replace(PLAIN, container_options={"movflags": "frag_keyframe+empty_moov"})),
    "one frame": of(replace(PLAIN, times=(0,))),
    "a transport stream": of(replace(PLAIN, suffix=".ts", base=FINE, times=[n * 7500 for n in range(8)])),
    # shapes
    "odd sizes": of(replace(LOSSLESS, size=(63, 47)), near=EXACT),
    "an odd height, halved colours": of(replace(MKV, codec="ffv1", size=(64, 47))),
    "turned by 90": of(replace(PLAIN, turned=90), size=(48, 64), near=None),
    "turned by 180": of(replace(PLAIN, turned=180), near=None),
    "turned by 270": of(replace(PLAIN, turned=270), size=(48, 64), near=None),
    "mirrored": of(replace(PLAIN, mirrored=True), near=None),
    "pixels that are not square": of(replace(PLAIN, aspect=Fraction(4, 3))),
    "one pixel wide": of(replace(LOSSLESS, size=(2, 2)), near=None),
    "interlaced": of(replace(PLAIN, options={"flags": "+ildct+ilme", "x264-params": "tff=1"}), noted="interlaced"),
    # colours
    "BT.601": of(replace(LOSSLESS, colour=(6, 6, 6)), near=EXACT),
    "BT.470BG": of(replace(LOSSLESS, colour=(5, 5, 6)), near=EXACT),
    "BT.709": of(replace(LOSSLESS, colour=(1, 1, 1)), near=EXACT),
    "BT.2020": of(replace(LOSSLESS, colour=(9, 9, 14)), near=EXACT),
    "full range": of(replace(LOSSLESS, colour=(1, 1, 1), full=True), near=EXACT),
    "full range, BT.601, H.264": of(replace(PLAIN, colour=(6, 6, 6), full=True)),
    "HDR, PQ": of(replace(LOSSLESS, pix_fmt="yuv444p10le", colour=(9, 9, 16)), near=EXACT, noted="HDR"),
    "HDR, HLG": of(replace(LOSSLESS, pix_fmt="yuv420p10le", colour=(9, 9, 18)), noted="HDR"),
    "untagged": of(LOSSLESS, near=EXACT),
    "10 bits": of(replace(PLAIN, pix_fmt="yuv420p10le")),
    "10 bits, 4:2:2": of(replace(PLAIN, pix_fmt="yuv422p10le")),
    "4:2:2": of(replace(PLAIN, pix_fmt="yuv422p")),
    "4:4:4": of(replace(PLAIN, pix_fmt="yuv444p")),
    "grey": of(replace(MKV, codec="ffv1", pix_fmt="gray"), near=None),
    "red, green and blue": of(replace(MKV, codec="ffv1", pix_fmt="bgr0"), near=1),
    "H.264 of red, green and blue": of(
        replace(PLAIN, codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"}), near=1
    ),
    "alpha": of(replace(MKV, codec="ffv1", pix_fmt="bgra"), near=1),
    "alpha, VP9": of(Dress(suffix=".webm", codec="libvpx-vp9", pix_fmt="yuva420p"), near=FAR),
    "alpha, ProRes": of(Dress(suffix=".mov", codec="prores_ks", pix_fmt="yuva444p10le", options={"profile": "4444"})),
    # codecs and containers
    "MPEG-4": of(Dress(suffix=".mp4", codec="mpeg4", options={"q": "2"}), near=FAR),
    "MPEG-4 in AVI": of(Dress(suffix=".avi", codec="mpeg4"), near=FAR),
    "H.265": of(Dress(codec="libx265", size=(256, 192), options={"x265-params": "log-level=none"})),
    "VP8": of(Dress(suffix=".webm", codec="libvpx"), near=FAR),
    "VP9": of(Dress(suffix=".webm", codec="libvpx-vp9"), near=FAR),
    "AV1": of(Dress(codec="libsvtav1", size=(128, 96), options={"preset": "10"}), near=FAR),
    "ProRes": of(Dress(suffix=".mov", codec="prores_ks", pix_fmt="yuv422p10le")),
    "FFV1": of(LOSSLESS, near=EXACT),
    "DNxHD": of(
        Dress(suffix=".mov", codec="dnxhd", pix_fmt="yuv422p", size=(256, 120), options={"profile": "dnxhr_sq"}),
        near=FAR,
    ),
    "MJPEG": of(Dress(suffix=".avi", codec="mjpeg", pix_fmt="yuvj420p", options={"q": "2"}), near=None),
    "Huffyuv": of(Dress(suffix=".avi", codec="huffyuv", pix_fmt="rgb24"), near=1),
    "PNG in MOV": of(Dress(suffix=".mov", codec="png", pix_fmt="rgb24"), near=1),
    "QuickTime animation": of(Dress(suffix=".mov", codec="qtrle", pix_fmt="rgb24"), near=1),
    "MPEG-2": of(
        Dress(suffix=".mpg", codec="mpeg2video", times=range(24), base=Fraction(1, 25)), near=None, times=None
    ),
    "Flash": of(Dress(suffix=".flv", codec="flv", base=Fraction(1, 1000), times=[n * 83 for n in range(8)]), near=FAR),
    "Windows Media": of(
        Dress(suffix=".wmv", codec="wmv2", base=Fraction(1, 1000), times=[n * 83 for n in range(8)]), near=FAR
    ),
    "GIF": of(
        Dress(suffix=".gif", codec="gif", pix_fmt="rgb8", base=Fraction(1, 100), times=[n * 8 for n in range(8)]),
        near=FAR,
    ),
    "animated WebP": Animal(make=moving_webp, near=FAR),
    # what comes along
    "sound": of(replace(PLAIN, sounds=[AAC])),
    "two languages": of(replace(PLAIN, sounds=[AAC, ("aac", "jpn")])),
    "MP3": of(replace(PLAIN, sounds=[("libmp3lame", "eng")])),
    "Opus": of(Dress(suffix=".webm", codec="libvpx-vp9", sounds=[("libopus", "eng")]), near=FAR),
    "FLAC": of(replace(MKV, sounds=[("flac", "eng")])),
    "PCM": of(Dress(suffix=".mov", codec="prores_ks", pix_fmt="yuv422p10le", sounds=[("pcm_s16le", "eng")])),
    "AC-3": of(replace(MKV, sounds=[("ac3", "eng")])),
    "sound that WebM cannot hold": of(replace(PLAIN, sounds=[AAC]), output=".webm", sounds=0, noted="cannot hold"),
    "subtitles": Animal(make=with_subtitles, sounds=1),
    "chapters": of(replace(PLAIN, chapters=True)),
    "a title": of(replace(PLAIN, title="日本の夏")),
    # pictures
    "a folder of pictures": Animal(make=folder_of([f"{n:03}.png" for n in range(8)]), near=1),
    "a folder with gaps": Animal(make=folder_of(["1.png", "2.png", "10.png", "11.png"]), frames=4, near=1),
    "a picture": Animal(make=lambda folder: folder_of(["a.png"])(folder) / "a.png", frames=1, near=1),
    # broken
    "cut short": Animal(
        make=cut_short(replace(MKV, times=LONG, options={"g": "6"}), 0.7), frames=0, near=None, noted="cut off"
    ),
    "cut short, MP4": Animal(make=cut_short(PLAIN, 0.7), refused="cannot be decoded"),
    "scratched in the middle": Animal(
        make=scratched(replace(MKV, times=LONG, options={"g": "6"}), 0.6), frames=0, near=None
    ),
    "no frames": Animal(make=lambda folder: made(folder / "clip.mkv", replace(MKV, times=())), refused="no frames"),
    "sound alone": Animal(make=sound_alone, refused="no frames"),
    "nothing at all": Animal(make=file_of("clip.mp4", b""), refused="is empty"),
    "a text": Animal(make=file_of("clip.mp4", b"hello, this is no video" * 9), refused="not a video"),
    "a playlist": Animal(
        make=file_of("clip.m3u8", b"#EXTM3U\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"), refused="not a video"
    ),
    "a list of files": Animal(
        make=file_of("clip.mp4", b"ffconcat version 1.0\nfile other.mp4\n"), refused="not a video"
    ),
}
