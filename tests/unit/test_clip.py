"""What is read: colours to the number, pictures of every depth, and an error with advice for all that is no clip."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from sakuga.errors import ClipError
from sakuga.video.folder import natural_order
from sakuga.video.index import FrameIndex, Mark, Scan, counted_index, timed_index
from sakuga.video.pictures import encode_picture, is_picture, picture_head, read_picture
from sakuga.video.read import open_clip
from sakuga.video.tags import Colour, assumed_matrix, decided
from sakuga.video.turn import Turn, turn_by, turn_of
from sakuga.video.videoclip import Shown, VideoClip

av = pytest.importorskip("av")
TICK = Fraction(1, 12288)


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


def broken(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def audio_only(folder: Path) -> Path:
    path = folder / "song.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 2048), np.float32), format="fltp", layout="stereo")
        silence.sample_rate, silence.pts = 44100, 0
        out.mux(stream.encode(silence))
        out.mux(stream.encode(None))
    return path


def no_frames(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=12)
        stream.width = stream.height = 32
        out.start_encoding()
    return path


def empty_folder(folder: Path) -> Path:
    (folder / "frames").mkdir()
    (folder / "frames" / "notes.txt").write_text("no pictures")
    return folder / "frames"


def two_sizes(folder: Path) -> Path:
    (folder / "frames").mkdir()
    for name, side in (("a1.png", 16), ("a2.png", 16), ("a10.png", 20)):
        (folder / "frames" / name).write_bytes(encode_picture(grey(9, side, 16), ".png"))
    return folder / "frames"


def old_codec(folder: Path) -> Path:
    data = film(folder / "a.mp4", [grey(10)] * 3).read_bytes()
    return broken(folder / "old.mp4", data.replace(b"avc1", b"zzzz"))


def playlist(folder: Path) -> Path:
    film(folder / "a.mp4", [grey(10)] * 3)
    return broken(folder / "list.mp4", b"ffconcat version 1.0\nfile a.mp4\n")


PNG = encode_picture(np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8), ".png")
JPEG = encode_picture(np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8), ".jpg")
NO_CLIPS = {
    "missing": (lambda folder: folder / "clp.mp4", "there is no file clp.mp4"),
    "empty": (lambda folder: broken(folder / "a.mp4", b""), "is empty"),
    "text renamed": (lambda folder: broken(folder / "a.mp4", b"just some words\n" * 20), "is not a video"),
    "text drawn by FFmpeg": (lambda folder: broken(folder / "a.nfo", b"\x1b[31mwords\n" * 20), "is not a video"),
    "list of other files": (playlist, "is not a video"),
    "random bytes": (lambda folder: broken(folder / "a.mp4", bytes(noise(1)[0])), "is not a video"),
    "index not written": (
        lambda folder: broken(folder / "b.mp4", film(folder / "a.mp4", noise(4)).read_bytes()[:4000]),
        "is cut off",
    ),
    "sound alone": (audio_only, "has no frames"),
    "0 frames, MP4": (lambda folder: no_frames(folder / "a.mp4"), "has no frames"),
    "0 frames, Matroska": (lambda folder: no_frames(folder / "a.mkv"), "has no frames"),
    "codec without decoder": (old_codec, "cannot be decoded"),
    "no pictures": (empty_folder, "no pictures"),
    "pictures of two sizes": (two_sizes, "differ in size"),
    "PNG cut off": (lambda folder: broken(folder / "a.png", PNG[: len(PNG) // 2]), "not a whole picture"),
    "JPEG cut off": (lambda folder: broken(folder / "a.jpg", JPEG[: len(JPEG) // 2]), "not a whole picture"),
    "text renamed as picture": (lambda folder: broken(folder / "a.png", b"some words"), "not a whole picture"),
}


@pytest.mark.parametrize("name", NO_CLIPS)
def test_what_is_no_clip_is_refused_with_advice(name: str, tmp_path: Path) -> None:
    make, title = NO_CLIPS[name]
    path = make(tmp_path)
    with pytest.raises(ClipError) as caught:
        open_clip(path)
    error = caught.value
    assert title in error.title
    assert path.name in error.told()
    assert error.given and error.expected and error.do


def test_the_nearest_name_is_told(tmp_path: Path) -> None:
    film(tmp_path / "clip.mp4", [grey(9)])
    with pytest.raises(ClipError) as caught:
        open_clip(tmp_path / "clp.mp4")
    assert caught.value.nearest == str(tmp_path / "clip.mp4")


def test_the_picture_that_differs_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClipError) as caught:
        open_clip(two_sizes(tmp_path))
    assert caught.value.given == "a10.png is 20 x 16"
    assert caught.value.expected == "16 x 16, as a1.png"


def test_a_folder_is_read_in_natural_order_and_tells_what_it_leaves_out(tmp_path: Path) -> None:
    for level, name in enumerate(("f1.png", "f2.JPG", "f10.jpeg", "g1.webp")):
        (tmp_path / name).write_bytes(encode_picture(grey(50 * level, 8, 8), Path(name).suffix.lower()))
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "readme.md").write_text("x")
    (tmp_path / "sub").mkdir()
    with open_clip(tmp_path, rate=Fraction(12)) as clip:
        levels = [int(frame.pixels.mean()) for frame in clip.frames()]
        assert [frame.time for frame in clip.frames()] == [Fraction(n, 12) for n in range(4)]
        assert clip.notes == ("files in the folder that are not pictures are not used: readme.md, sub",)
        key = clip.content_key
    assert levels == pytest.approx([0, 50, 100, 150], abs=2)
    (tmp_path / "f1.png").rename(tmp_path / "f0.png")
    with open_clip(tmp_path) as clip:
        assert clip.content_key != key, "the names count"


def test_natural_order() -> None:
    names = ["b", "a10", "a2", "A1", "a02b", "10", "9"]
    assert sorted(names, key=lambda name: natural_order(Path(name))) == ["9", "10", "A1", "a2", "a02b", "a10", "b"]


def exif_tag(orientation: int) -> bytes:
    return b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + struct.pack("<HH", orientation, 0) + b"\0\0\0\0"


def with_exif(data: bytes, orientation: int) -> bytes:
    if data.startswith(b"\xff\xd8"):
        body = b"Exif\0\0" + exif_tag(orientation)
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    body = exif_tag(orientation)
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", binascii.crc32(b"eXIf" + body))
    return data[:33] + chunk + data[33:]


def test_pictures_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (6, 10, 3)).astype(np.uint8)
    clear = np.dstack([pixels, random.integers(0, 256, (6, 10)).astype(np.uint8)])
    png = with_exif(encode_picture(pixels, ".png"), 6)
    assert np.array_equal(read_picture(broken(tmp_path / "a.png", png)), np.rot90(pixels, -1))
    jpeg = read_picture(broken(tmp_path / "a.jpg", with_exif(encode_picture(np.full_like(pixels, 99), ".jpg"), 8)))
    assert jpeg.shape == (10, 6, 3)
    stored = cv2.imencode(".png", clear[..., [2, 1, 0, 3]])[1].tobytes()
    straight = read_picture(broken(tmp_path / "b.png", stored))
    turned = read_picture(broken(tmp_path / "c.png", with_exif(stored, 6)))
    assert np.array_equal(turned, np.rot90(straight, -1)), "the opacity turns with the colours"


def test_other_depths_become_eight_bits(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 32896, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert read_picture(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    colours = np.dstack([deep * 0, deep, deep * 0 + 65535])
    cv2.imwrite(str(tmp_path / "colours.png"), colours)
    assert read_picture(tmp_path / "colours.png")[0, 3].tolist() == [255, 128, 0]
    cv2.imwrite(str(tmp_path / "grey.png"), np.array([[7, 200]], np.uint8))
    assert read_picture(tmp_path / "grey.png").tolist() == [[[7, 7, 7], [200, 200, 200]]]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_picture_is_known_by_its_bytes(suffix: str) -> None:
    data = encode_picture(grey(120, 37, 21), suffix)
    head = picture_head(data)
    assert is_picture(data[:64])
    assert head is not None
    assert (head.width, head.height, head.whole, head.moving) == (37, 21, True, False)
    for length in range(0, len(data) - 1, max(1, len(data) // 40)):
        part = picture_head(data[:length])
        assert part is None or not part.whole, length


def test_an_animated_picture_says_that_one_frame_is_used(tmp_path: Path) -> None:
    data = encode_picture(grey(120, 8, 8), ".png")
    control = struct.pack(">II", 1, 0)
    chunk = struct.pack(">I", 8) + b"acTL" + control + struct.pack(">I", binascii.crc32(b"acTL" + control))
    path = broken(tmp_path / "moving.png", data[:33] + chunk + data[33:])
    with open_clip(path) as clip:
        assert clip.frame_count == 1
        assert clip.notes == ("only the first picture is used of the animated moving.png",)


def test_names_that_mean_something_to_ffmpeg_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "http:a %d b.mp4"
    film(tmp_path / "a.mp4", [grey(9)] * 2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with open_clip(Path(name)) as clip:
        assert len(list(clip.frames())) == 2


# The parts


@pytest.mark.parametrize(
    ("matrix", "wanted"),
    [
        ((1, 0, 0, 1), Turn()),
        ((0, 1, -1, 0), Turn(transpose=True, mirror_x=True)),
        ((0, -1, 1, 0), Turn(transpose=True, mirror_y=True)),
        ((-1, 0, 0, -1), Turn(mirror_x=True, mirror_y=True)),
        ((-1, 0, 0, 1), Turn(mirror_x=True)),
        ((0, 1, 1, 0), Turn(transpose=True)),
        ((0.7, 0.7, -0.7, 0.7), None),
    ],
)
def test_a_display_matrix(matrix: tuple[float, float, float, float], wanted: Turn | None) -> None:
    a, b, c, d = (round(value * 65536) for value in matrix)
    turn = turn_of(struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))
    assert turn == wanted
    if turn:  # the stored point (p, q) is shown at (a p + c q, b p + d q), moved into the picture
        stored = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
        shown = turn.apply(stored)
        spots = {
            (q, p): (matrix[0] * p + matrix[2] * q, matrix[1] * p + matrix[3] * q) for q in (0, 1) for p in range(3)
        }
        left, top = min(u for u, _ in spots.values()), min(v for _, v in spots.values())
        for (q, p), (u, v) in spots.items():
            assert shown[int(v - top), int(u - left), 0] == stored[q, p, 0]


def test_a_turn_by_an_angle() -> None:
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    for degrees in (-180, -90, 0, 90, 180, 270):
        turn = turn_by(degrees)
        assert turn is not None
        assert np.array_equal(turn.apply(picture), np.rot90(picture, degrees // 90))
    assert turn_by(45) is None


def marks(*pts: int | None, duration: int = 0, keys: tuple[int, ...] = (0,)) -> list[Mark]:
    return [Mark(pts=moment, duration=duration, key=moment in keys) for moment in pts]


def test_an_index_sorts_times_and_ends_as_the_last_frame_does() -> None:
    index = timed_index(marks(0, 40, 10, 20, duration=7, keys=(0, 20)), Fraction(1, 100), None)
    assert index is not None
    assert (index.pts, index.end, index.keys) == ((0, 10, 20, 40), 47, (0, 20))
    assert [index.key_before(n) for n in range(4)] == [None, None, 20, 20]
    assert timed_index(marks(0, 10), Fraction(1, 100), None) == FrameIndex(
        pts=(0, 10), end=20, time_base=Fraction(1, 100), keys=(0,)
    )
    long = timed_index(marks(5, 10, duration=5), Fraction(1, 100), None, length=30)
    assert long is not None
    assert long.end == 35
    one = timed_index(marks(0), Fraction(1, 1000), Fraction(25))
    assert one is not None
    assert one.end == 40


def test_times_that_are_none_or_alike_are_no_index() -> None:
    assert timed_index(marks(0, None), TICK, None) is None
    assert timed_index(marks(0, 5, 5), TICK, None) is None
    assert timed_index([], TICK, None) is None
    counted = counted_index(3, Fraction(25))
    assert (counted.pts, counted.end, counted.time_base, counted.timed) == ((0, 1, 2), 3, Fraction(1, 25), False)


def test_the_rate_is_the_told_one_only_if_it_is_true() -> None:
    index = counted_index(10, Fraction(24000, 1001))
    assert index.rate(Fraction(24000, 1001)) == Fraction(24000, 1001)
    assert index.rate(Fraction(90000)) == Fraction(24000, 1001)
    assert index.rate(None) == Fraction(24000, 1001)


def scan(promised: int = 0, promised_seconds: int = 0) -> Scan:
    return Scan(
        time_base=Fraction(1, 10),
        told=None,
        promised=promised,
        length=None,
        promised_seconds=Fraction(promised_seconds),
    )


def test_what_is_missing_is_counted() -> None:
    whole = scan(promised=10)
    whole.marks += marks(*range(6))
    whole.hidden, whole.torn = 1, True
    whole.finish()
    index = whole.index()
    assert index is not None
    assert len(index.pts) == 5
    assert whole.missing(index) == 4
    timed = scan(promised_seconds=2)
    timed.marks += marks(*range(10))
    timed.reaches(Fraction(1))
    index = timed.index()
    assert index is not None
    assert timed.missing(index) == 10
    timed.reaches(Fraction(19, 10))
    assert timed.missing(index) == 0, "sound is cut in blocks"


class Scripted:
    """A decoder of one grey per time; it counts the conversions to RGB."""

    def __init__(self, *shown: int) -> None:
        self.shown, self.converted, self.open = shown, 0, 0

    def __call__(self, start: int) -> Iterator[Shown]:
        self.open += 1
        try:
            for pts in self.shown:
                yield Shown(pts=pts, pixels=lambda pts=pts: self.convert(pts), damaged=pts == 30)  # type: ignore[misc]
        finally:
            self.open -= 1

    def convert(self, pts: int) -> np.ndarray:
        self.converted += 1
        return grey(pts, 2, 2)


def scripted(decoder: Scripted, pts: tuple[int, ...] = (10, 20, 30, 40)) -> VideoClip:
    index = FrameIndex(pts=pts, end=pts[-1] + 10, time_base=Fraction(1, 100))
    return VideoClip(
        path=Path("a.mp4"),
        kind="video",
        index=index,
        decoder=decoder,  # type: ignore[arg-type]
        width=2,
        height=2,
        rate=Fraction(10),
        pixel_aspect=Fraction(1),
        colour=Colour.of_pictures(),
        has_audio=False,
        found=(),
    )


def levels(clip: VideoClip, start: int = 0, stop: int | None = None) -> list[int]:
    return [int(frame.pixels[0, 0, 0]) for frame in clip.frames(start, stop)]


def test_a_frame_that_does_not_come_shows_the_one_before_and_is_told() -> None:
    clip = scripted(Scripted(10, 20, 40))
    assert levels(clip) == [10, 20, 20, 40]
    assert clip.notes == ("frames that could not be decoded, and show the one before: 2",)
    assert levels(scripted(Scripted(20, 30, 40))) == [20, 20, 30, 40], "nothing is before: the first that comes"
    assert levels(scripted(Scripted(10, 20))) == [10, 20, 20, 20]
    assert levels(scripted(Scripted(10, 20)), 2, 3) == [20], "the same frame, wherever one begins"
    with pytest.raises(ClipError, match="cannot be decoded"):
        levels(scripted(Scripted()))


def test_only_wanted_frames_are_converted_and_pictures_between_are_passed_over() -> None:
    decoder = Scripted(5, 10, 15, 20, 30, 40)
    clip = scripted(decoder)
    assert levels(clip, 1, 3) == [20, 30]
    assert decoder.converted == 2
    assert decoder.open == 0
    assert clip.notes == ("frames that could be decoded in part only: 2",)


def test_closing_ends_what_runs() -> None:
    decoder = Scripted(10, 20, 30, 40)
    with scripted(decoder) as clip:
        run = clip.frames()
        next(run)
        assert decoder.open == 1
    assert decoder.open == 0
    assert list(run) == []


def test_without_pyav_videos_are_refused_and_pictures_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = film(tmp_path / "a.mp4", [grey(9)])
    picture = broken(tmp_path / "a.png", encode_picture(grey(9), ".png"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ClipError, match="need PyAV"):
        open_clip(video)
    assert open_clip(picture).frame_count == 1
