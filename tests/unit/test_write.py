"""What is written as a video: exact times, true colours, any size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sakuga.video.clip import Clip, Frame
from sakuga.video.pictures import encode_picture
from sakuga.video.read import open_clip
from sakuga.video.write import ClipWriter

av = pytest.importorskip("av")


def times(path: Path) -> list[Fraction]:
    with open_clip(path) as clip:
        return [frame.time for frame in clip.frames()]


UNEVEN = (0, 100, 300, 450, 1000, 1001, 1400)


@pytest.mark.parametrize(
    ("moments", "base"),
    [
        (UNEVEN, Fraction(1, 1000)),
        ([7 + 1001 * n for n in range(9)], Fraction(1, 30000)),
        ([1001 * n for n in range(5)], Fraction(1, 24000)),
        (range(6), Fraction(1, 12)),
        ([3, 4, 90000, 90001], Fraction(1, 90000)),
        ([5], Fraction(1, 25)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_times_are_the_very_same_fractions(
    tmp_path: Path,
    suffix: str,
    moments: Sequence[int],
    base: Fraction,
    film: Callable[..., Path],
    copied: Callable[..., tuple[str, ...]],
) -> None:
    source = film(tmp_path / "a.mp4", times=list(moments), base=base)
    assert copied(source, tmp_path / f"b{suffix}") == ()
    assert times(tmp_path / f"b{suffix}") == times(source) == [pts * base for pts in moments]
    with open_clip(source) as clip, open_clip(tmp_path / f"b{suffix}") as copy:
        assert copy.time_base == clip.time_base
        assert copy.pts_at(copy.frame_count) == clip.pts_at(clip.frame_count), "the last frame lasts as long"


def test_matroska_keeps_milliseconds_and_says_when_that_rounds(
    tmp_path: Path, film: Callable[..., Path], copied: Callable[..., tuple[str, ...]]
) -> None:
    exact = film(tmp_path / "a.mkv", times=UNEVEN, base=Fraction(1, 1000))
    for name in ("b.mkv", "b.webm"):
        assert copied(exact, tmp_path / name) == ()
        assert times(tmp_path / name) == times(exact)
    finer = film(tmp_path / "a.mp4")
    (note,) = copied(finer, tmp_path / "c.mkv")
    assert "milliseconds" in note
    assert all(abs(a - b) <= Fraction(1, 2000) for a, b in zip(times(tmp_path / "c.mkv"), times(finer), strict=True))


@pytest.mark.parametrize("tags", [(1, 1), (6, 1), (5, 2), (9, 1), (2, 0)])
@pytest.mark.parametrize("target", ["b.mp4", "b.webm"])
def test_colours_come_back_under_the_tags_of_the_source(
    tmp_path: Path, tags: tuple[int, int], target: str, film: Callable[..., Path]
) -> None:
    source = film(tmp_path / "a.mkv", tags=tags, times=[0], base=Fraction(1, 1000))
    colour = np.zeros((24, 32, 3), np.uint8)
    colour[:] = (210, 90, 30)
    with open_clip(source) as clip, ClipWriter(tmp_path / target, clip, 32, 24) as writer:
        for frame in clip.frames():
            writer.write(dataclasses.replace(frame, pixels=colour))
    with open_clip(source) as clip, open_clip(tmp_path / target) as copy:
        (frame,) = copy.frames()
        assert np.abs(frame.pixels.astype(int) - colour).max() <= 3
        assert copy.colour == dataclasses.replace(clip.colour, full_range=False)
    with av.open(str(tmp_path / target)) as container:
        picture = next(container.decode(video=0))
        assert picture.color_range == 1
        assert picture.colorspace == clip.colour.matrix


def test_the_shape_of_pixels_is_kept_or_told(
    tmp_path: Path, film: Callable[..., Path], copied: Callable[..., tuple[str, ...]]
) -> None:
    source = film(tmp_path / "a.mp4", aspect=Fraction(4, 3))
    for target in ("b.mp4", "b.mov"):
        assert copied(source, tmp_path / target) == ()
        with open_clip(tmp_path / target) as copy:
            assert copy.pixel_aspect == Fraction(4, 3)
    assert any("4/3" in note for note in copied(source, tmp_path / "b.webm"))


@pytest.mark.parametrize("size", [(33, 31), (32, 31), (1, 1), (2, 2), (40, 26)])
@pytest.mark.parametrize("target", ["b.mp4", "b.webm"])
def test_any_size_is_kept(tmp_path: Path, size: tuple[int, int], target: str, film: Callable[..., Path]) -> None:
    source = film(tmp_path / "a.mkv", times=[0, 80], base=Fraction(1, 1000))
    pixels = np.full((size[1], size[0], 3), (30, 160, 90), np.uint8)
    with open_clip(source) as clip, ClipWriter(tmp_path / target, clip, *size) as writer:
        for frame in clip.frames():
            writer.write(dataclasses.replace(frame, pixels=pixels))
    with open_clip(tmp_path / target) as copy:
        assert (copy.width, copy.height, copy.frame_count) == (*size, 2)
        assert np.abs(next(copy.frames()).pixels.astype(int) - pixels).max() <= 4
    odd = size[0] % 2 or size[1] % 2
    assert bool(writer.notes) == bool(odd and target == "b.mp4"), "4:4:4 is told"


def test_a_video_can_be_played_before_it_is_loaded(
    tmp_path: Path, film: Callable[..., Path], copied: Callable[..., tuple[str, ...]]
) -> None:
    copied(film(tmp_path / "a.mkv"), tmp_path / "b.mp4")
    data = (tmp_path / "b.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_a_matroska_file_is_as_long_as_the_source(
    tmp_path: Path, film: Callable[..., Path], copied: Callable[..., tuple[str, ...]]
) -> None:
    source = film(tmp_path / "a.mp4", times=(0, 100, 200, 900), base=Fraction(1, 1000))
    with open_clip(source) as clip:
        end_seconds = clip.pts_at(4) * clip.time_base
    assert end_seconds > 1, "the last frame does not last as long as most"
    copied(source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert container.duration == end_seconds * 1_000_000


def test_a_clip_of_pictures_is_written_as_a_video(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        (folder / f"{index}.png").write_bytes(encode_picture(np.full((24, 32, 3), 40 * index, np.uint8), ".png"))
    with open_clip(folder, rate=Fraction(30000, 1001)) as clip:
        written: Clip = clip
        with ClipWriter(tmp_path / "b.mp4", written, 32, 24) as writer:
            for frame in clip.frames():
                assert isinstance(frame, Frame)
                writer.write(frame)
    assert times(tmp_path / "b.mp4") == [Fraction(1001 * n, 30000) for n in range(4)]


@pytest.mark.parametrize("width", [64, 80, 152])
def test_a_small_video_is_written_alike_twice(tmp_path: Path, width: int) -> None:
    """x264 gave other bytes every time on processors with AVX-512."""
    source = tmp_path / "source.mp4"
    ticks = (0, 1001, 2500, 2501, 4096, 6001, 7000, 8191)
    down, across = np.mgrid[0:48, 0:width]
    with av.open(str(source), "w") as out:
        video = out.add_stream("libx264", rate=12)
        video.codec_context.width, video.codec_context.height, video.codec_context.pix_fmt = width, 48, "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, 12288)
        for number, pts in enumerate(ticks):
            pixels = np.stack([across * 3 % 256, down * 5 % 256, (across + down + 9 * number) % 256], -1)
            picture = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
            picture.pts, picture.time_base = pts, Fraction(1, 12288)
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
    written = set()
    for _ in range(6):
        with open_clip(source) as clip, ClipWriter(tmp_path / "o.mp4", clip, width, 48, overwrite=True) as writer:
            for frame in clip.frames():
                writer.write(frame)
        written.add((tmp_path / "o.mp4").read_bytes())
    assert len(written) == 1
