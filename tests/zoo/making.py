"""Makes the clips of the zoo with PyAV: a few frames of four flat colours and a mark that moves, in any dress.

Colours are turned into the numbers of a video by the formulas of H.273 in float64, not by the library under test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

QUADRANTS = np.array([[200, 60, 40], [40, 160, 80], [50, 70, 190], [225, 205, 90]], np.float64)
KR_KB = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
EVEN = tuple(range(8))
RATE = 12
SOUND_RATE = 48_000


@dataclass(frozen=True, kw_only=True)
class Dress:
    """How a clip is made. ``times`` are ticks of ``base``; ``sounds``: (codec, language); ``colour``: matrix,
    primaries, transfer as H.273 numbers them, 2 for none.
    """

    suffix: str = ".mp4"
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (64, 48)
    times: Sequence[int] = EVEN
    base: Fraction = Fraction(1, RATE)
    options: dict[str, str] = field(default_factory=dict)
    container: str | None = None
    container_options: dict[str, str] = field(default_factory=dict)
    colour: tuple[int, int, int] = (2, 2, 2)
    full: bool = False
    sounds: Sequence[tuple[str, str]] = ()
    subtitles: bool = False
    chapters: bool = False
    turned: int = 0
    mirrored: bool = False
    aspect: Fraction = Fraction(1)
    title: str = ""
    cover: bool = False


def rgb(number: int, size: tuple[int, int]) -> np.ndarray:
    """Frame ``number``: four flat colours, and a white bar along the lower edge that grows by an eighth each frame."""
    width, height = size
    down, across = np.mgrid[0:height, 0:width]
    pixels = QUADRANTS[2 * (down >= height // 2) + (across >= width // 2)]
    pixels[-max(2, height // 8) :, : max(1, width * (number % 8 + 1) // 8)] = 255
    return pixels


def made(path: Path, dress: Dress) -> Path:
    """Write the clip."""
    with av.open(str(path), "w", format=dress.container, container_options=dress.container_options) as out:
        stream: Any = out.add_stream(dress.codec, rate=RATE, options=dict(dress.options))
        context = stream.codec_context
        context.width, context.height = dress.size
        context.pix_fmt = dress.pix_fmt
        context.time_base = stream.time_base = dress.base
        context.sample_aspect_ratio = dress.aspect
        if dress.pix_fmt.startswith("yuv"):
            context.color_range = 2 if dress.full else 1
            context.colorspace, context.color_primaries, context.color_trc = dress.colour
        if dress.title:
            out.metadata["title"] = dress.title
        voices = [_voice(out, codec, language) for codec, language in dress.sounds]
        if dress.turned or dress.mirrored:
            stream.set_display_rotation(dress.turned, hflip=dress.mirrored)
        if dress.chapters:
            out.set_chapters(
                [
                    {
                        "id": n,
                        "start": n * 300,
                        "end": n * 300 + 300,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": t},
                    }
                    for n, t in enumerate(("one", "two"))
                ]
            )
        out.start_encoding()
        for number, pts in enumerate(dress.times):
            picture = _picture(number, dress)
            picture.pts, picture.time_base = pts, dress.base
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
        for voice in voices:
            _speak(out, voice)
    return path


def _voice(out: Any, codec: str, language: str) -> Any:
    voice = out.add_stream(codec, rate=SOUND_RATE)
    voice.metadata["language"] = language
    return voice


def _speak(out: Any, voice: Any) -> None:
    wave = (0.3 * np.sin(np.arange(SOUND_RATE // 2) * 0.06)).astype(np.float32)[None].repeat(2, 0)
    frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
    for part in av.AudioResampler(voice.codec_context.format, "stereo", SOUND_RATE, _block(voice)).resample(frame):
        out.mux(voice.encode(part))
    out.mux(voice.encode(None))


def _block(voice: Any) -> int:
    return voice.codec_context.frame_size or 1024


def _picture(number: int, dress: Dress) -> Any:
    """The frame in the clip's own format."""
    pixels = rgb(number, dress.size)
    if not dress.pix_fmt.startswith("yuv"):
        flat = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        if "a" in dress.pix_fmt.replace("gray", "").replace("pal8", ""):
            opaque = np.dstack([flat, np.full(flat.shape[:2], 255, np.uint8)])
            return av.VideoFrame.from_ndarray(opaque, format="rgba").reformat(format=dress.pix_fmt)
        return av.VideoFrame.from_ndarray(flat, format="rgb24").reformat(format=dress.pix_fmt)
    planes = np.stack(numbers(pixels, dress.colour[0], full=dress.full))
    whole = av.VideoFrame.from_ndarray(np.rint(planes).astype(np.uint8), format="yuv444p", channel_last=False)
    ranges = {"src_color_range": 2 if dress.full else 1, "dst_color_range": 2 if dress.full else 1}
    alpha = "yuva" in dress.pix_fmt
    found = whole.reformat(format=dress.pix_fmt.replace("yuva", "yuv"), src_colorspace=5, dst_colorspace=5, **ranges)
    if alpha:
        opaque = av.VideoFrame(*dress.size, dress.pix_fmt)
        for mine, other in zip(opaque.planes, found.planes, strict=False):
            mine.update(bytes(other))
        opaque.planes[3].update(b"\xff" * opaque.planes[3].buffer_size)
        return opaque
    return found


def numbers(pixels: np.ndarray, matrix: int, *, full: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y', Cb and Cr, 8 bits, of R'G'B' from 0 to 255, by H.273; an untagged small clip is BT.601."""
    red, blue = KR_KB.get(matrix, KR_KB[6])
    r, g, b = (pixels[..., channel] / 255 for channel in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    if full:
        return 255 * y, 255 * cb + 128, 255 * cr + 128
    return 219 * y + 16, 224 * cb + 128, 224 * cr + 128
