"""Pictures of every depth, turned as they say, and folders of them."""

from __future__ import annotations

import binascii
import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from sakuga.errors import ClipError
from sakuga.video.folder import natural_order
from sakuga.video.pictures import encode_picture, is_picture, picture_head, read_picture
from sakuga.video.read import open_clip


def grey(level: int, width: int = 32, height: int = 32) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def broken(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def two_sizes(folder: Path) -> Path:
    (folder / "frames").mkdir()
    for name, side in (("a1.png", 16), ("a2.png", 16), ("a10.png", 20)):
        (folder / "frames" / name).write_bytes(encode_picture(grey(9, side, 16), ".png"))
    return folder / "frames"


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


def test_an_animated_picture_is_a_clip_of_all_its_frames(tmp_path: Path) -> None:
    """Of an animated WebP or PNG only the first frame was used."""
    import cv2

    animation = cv2.Animation()
    animation.frames = [grey(level, 8, 6) for level in (10, 90, 200)]
    animation.durations = np.array([40, 0, 120], np.int32)
    for name in ("moving.png", "moving.webp"):
        assert cv2.imwriteanimation(str(tmp_path / name), animation)
        with open_clip(tmp_path / name) as clip:
            assert (clip.kind, clip.frame_count, clip.width, clip.height) == ("moving", 3, 8, 6)
            assert [clip.pts_at(n) for n in range(4)] == [0, 40, 140, 260] and clip.time_base == Fraction(1, 1000)
            assert [round(float(frame.pixels.mean())) for frame in clip.frames()] == pytest.approx([10, 90, 200], abs=2)
            assert clip.notes == ("frames without a time are shown for a tenth of a second, as browsers do",)


def test_a_picture_that_only_says_that_it_moves_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    data = encode_picture(grey(120, 8, 8), ".png")
    control = struct.pack(">II", 1, 0)
    chunk = struct.pack(">I", 8) + b"acTL" + control + struct.pack(">I", binascii.crc32(b"acTL" + control))
    path = broken(tmp_path / "moving.png", data[:33] + chunk + data[33:])
    with open_clip(path) as clip:
        assert clip.frame_count == 1
