"""Videos for the tests that read and write them, made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sakuga.video.read import open_clip
from sakuga.video.write import ClipWriter


@pytest.fixture
def film() -> Callable[..., Path]:
    """``film(path, times=…, base=…, size=…, codec=…, sound=…)`` writes a small video there and returns the path."""
    return make_film


@pytest.fixture
def copied() -> Callable[..., tuple[str, ...]]:
    """``copied(source, output, start, stop)`` puts a clip, or a part of it, through the writer; returns the notes."""
    return copy_clip


def make_film(
    path: Path,
    *,
    times: Sequence[int] = tuple(range(0, 12 * 1024, 1024)),
    base: Fraction = Fraction(1, 12288),
    size: tuple[int, int] = (32, 24),
    codec: str = "libx264",
    sound: str | None = None,
    aspect: Fraction = Fraction(1),
    tags: tuple[int, int] = (2, 0),
) -> Path:
    """A video of grey pictures (level 20 + 9 n) at ``times``, with two seconds of sound from time 0."""
    av = pytest.importorskip("av")
    with av.open(
        str(path), "w", container_options={"movie_timescale": "30000"} if path.suffix == ".mp4" else {}
    ) as out:
        video = out.add_stream(codec, rate=12)
        context = video.codec_context
        context.width, context.height = size
        context.pix_fmt = "yuv420p"
        context.time_base = video.time_base = base
        context.sample_aspect_ratio = aspect
        context.colorspace, context.color_range = tags
        context.color_primaries = context.color_trc = tags[0]
        audio = out.add_stream(sound, rate=48000) if sound else None
        for index, pts in enumerate(times):
            picture = av.VideoFrame.from_ndarray(
                np.full((size[1], size[0], 3), 20 + 9 * index, np.uint8), format="rgb24"
            )
            picture.pts, picture.time_base = pts, base
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        if audio:
            wave = 0.3 * np.sin(np.arange(96000) ** 1.1 * 0.02)
            tone = av.AudioFrame.from_ndarray(
                wave.astype(np.float32)[None].repeat(2, 0), format="fltp", layout="stereo"
            )
            tone.sample_rate, tone.pts, tone.time_base = 48000, 0, Fraction(1, 48000)
            out.mux(audio.encode(tone))
            out.mux(audio.encode(None))
    return path


def copy_clip(source: Path, output: Path, start: int = 0, stop: int | None = None) -> tuple[str, ...]:
    """The clip, or a part of it, through the writer; returns the notes."""
    with open_clip(source) as clip, ClipWriter(output, clip, clip.width, clip.height, start=start) as writer:
        for frame in clip.frames(start, stop):
            writer.write(frame)
    return writer.notes
