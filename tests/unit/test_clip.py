"""What is read of a video: colours to the number, its shape, and what is told of it."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from sakuga.video.read import open_clip
from sakuga.video.tags import Colour, assumed_matrix, decided

av = pytest.importorskip("av")


def film(path: Path, pictures: list[np.ndarray], codec: str = "libx264", **given: object) -> Path:
    """A video of RGB pictures at 12 a second; ``given`` are attributes of the encoder."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=12, options={"crf": "4"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for name, value in given.items():
            setattr(stream.codec_context, name, value)
        for pixels in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def grey(level: int, width: int = 32, height: int = 32) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def noise(frames: int, side: int = 64) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (side, side, 3)).astype(np.uint8) for _ in range(frames)]


def plain(path: Path, values: tuple[int, int, int], *, matrix: int, full: bool, pixels: str, size: int = 32) -> Path:
    """A lossless video of one picture with these stored numbers (Y, U, V) everywhere, tagged so."""
    depth = 10 if "10" in pixels else 8
    picture = av.VideoFrame(size, size, pixels)
    for plane, value in zip(picture.planes, values, strict=True):
        line = np.full(plane.buffer_size // (depth // 5), value, np.uint16 if depth == 10 else np.uint8)
        plane.update(line.tobytes())
    picture.colorspace, picture.color_range = matrix, 2 if full else 1
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=12)
        stream.width = stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def expected_rgb(values: tuple[int, int, int], red: float, blue: float, *, full: bool, depth: int = 8) -> np.ndarray:
    """The RGB of Y'CbCr numbers by the formulas of BT.601 and BT.709."""
    unit = 2 ** (depth - 8)
    y, cb, cr = (float(value) for value in values)
    peak = 2**depth - 1
    if full:
        y, cb, cr = y / peak, (cb - 128 * unit) / peak, (cr - 128 * unit) / peak
    else:
        y, cb, cr = (y / unit - 16) / 219, (cb / unit - 128) / 224, (cr / unit - 128) / 224
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.array([r, g, b]) * 255, 0, 255)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (6, 0.299, 0.114)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_colours_are_those_of_the_matrix_and_range(
    tmp_path: Path, pixels: str, matrix: int, red: float, blue: float, full: bool
) -> None:
    depth = 10 if "10" in pixels else 8
    values = tuple(value * 2 ** (depth - 8) for value in (120, 100, 160))
    path = plain(tmp_path / "a.mkv", values, matrix=matrix, full=full, pixels=pixels)  # type: ignore[arg-type]
    wanted = expected_rgb(values, red, blue, full=full, depth=depth)  # type: ignore[arg-type]
    with open_clip(path) as clip:
        (frame,) = clip.frames()
        assert (clip.colour.matrix, clip.colour.full_range) == (matrix, full)
    assert np.abs(frame.pixels - wanted).max() <= 1.01


def test_an_untagged_video_is_read_as_players_do(tmp_path: Path) -> None:
    assert assumed_matrix(1279, 719) == 6
    assert assumed_matrix(1280, 536) == 1
    assert assumed_matrix(960, 720) == 1
    values = (120, 100, 160)
    path = plain(tmp_path / "a.mkv", values, matrix=2, full=False, pixels="yuv420p")
    with open_clip(path) as clip:
        assert clip.colour == Colour(matrix=6, primaries=6, transfer=6, full_range=False)
        (frame,) = clip.frames()
    assert np.abs(frame.pixels - expected_rgb(values, 0.299, 0.114, full=False)).max() <= 1.01


def test_tags_that_cannot_be_followed_are_told() -> None:
    tags = Colour(matrix=8, primaries=2, transfer=16, full_range=False)
    colour, notes = decided(tags, 64, 64)
    assert (colour.matrix, colour.primaries, colour.transfer) == (6, 6, 16)
    assert [note for note in notes if "matrix" in note and "8" in note]
    assert [note for note in notes if "HDR" in note]
    assert decided(Colour(matrix=9, primaries=9, transfer=14, full_range=False), 64, 64)[1] == ()


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    clear = np.zeros((16, 16, 4), np.uint8)
    clear[:8] = (200, 100, 0, 255)
    clear[8:, :8] = (200, 100, 0, 51)  # a fifth
    path = tmp_path / "clear.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=12)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgra"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(clear, format="rgba")))
        out.mux(stream.encode(None))
    cv2.imwrite(str(tmp_path / "clear.png"), clear[..., [2, 1, 0, 3]])
    for name in ("clear.mkv", "clear.png"):
        with open_clip(tmp_path / name) as clip:
            (frame,) = clip.frames()
        assert frame.pixels[0, 0].tolist() == [200, 100, 0]
        assert frame.pixels[12, 2].tolist() == [244, 224, 204]
        assert frame.pixels[12, 12].tolist() == [255, 255, 255]


def test_the_shape_of_pixels_is_known_and_turned_with_them(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [grey(90)], sample_aspect_ratio=Fraction(4, 3))
    with open_clip(path) as clip:
        assert clip.pixel_aspect == Fraction(4, 3)
    with av.open(str(tmp_path / "b.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(90)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(grey(90, 48), format="rgb24")))
        out.mux(stream.encode(None))
    with open_clip(tmp_path / "b.mp4") as clip:
        assert (clip.width, clip.height, clip.pixel_aspect) == (32, 48, Fraction(3, 4))


def test_other_streams_are_told(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("libx264", rate=12) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for level, stream in enumerate(streams):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey(40 + 100 * level), format="rgb24")))
            out.mux(stream.encode(None))
    with open_clip(path) as clip:
        (frame,) = clip.frames()
        (note,) = clip.notes
    assert "not used: video" in note
    assert abs(int(frame.pixels.mean()) - 40) < 4, "the first one counts"


def test_a_file_that_is_cut_off_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        whole = tmp_path / f"whole{suffix}"
        with av.open(str(whole), "w", container_options={"movflags": "+faststart"} if suffix == ".mp4" else {}) as out:
            stream = out.add_stream("libx264", rate=12, options={"crf": "10", "bf": "0"})
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for pixels in noise(20):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            out.mux(stream.encode(None))
        data = whole.read_bytes()
        part = tmp_path / f"part{suffix}"
        part.write_bytes(data[: len(data) * 6 // 10])
        with open_clip(whole) as clip, open_clip(part) as cut:
            assert clip.frame_count == 20
            assert 5 < cut.frame_count < 15
            (note,) = cut.notes
            assert f"last {20 - cut.frame_count} of 20 frames" in note
            assert len(list(cut.frames())) == cut.frame_count
            assert cut.rate == clip.rate == 12
            assert cut.notes == (note,)


def test_a_damaged_frame_is_told(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", noise(12))
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 400):
        data[at] = data[at] * 7 + 13 & 255
    path.write_bytes(data)
    with open_clip(path) as clip:
        assert clip.notes == ()
        assert len(list(clip.frames())) == 12
        assert any("could be decoded" in note or "could not be decoded" in note for note in clip.notes)


def test_names_that_mean_something_to_ffmpeg_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "http:a %d b.mp4"
    film(tmp_path / "a.mp4", [grey(9)] * 2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with open_clip(Path(name)) as clip:
        assert len(list(clip.frames())) == 2


def broken(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_one_decoded_frame_is_held_at_a_time(tmp_path: Path) -> None:
    side = 96
    path = film(tmp_path / "a.mp4", noise(24, side))
    with open_clip(path) as clip:
        run = clip.frames()
        next(run)
        tracemalloc.start()
        total = sum(int(frame.pixels[0, 0, 0]) for frame in run)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert total > 0
    assert peak_bytes < 4 * side * side * 3
