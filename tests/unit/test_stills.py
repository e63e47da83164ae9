"""Pictures as outputs: one frame as one file, or all of them in a folder."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from sakuga.errors import OutputError, OutputExists
from sakuga.video.outputs import check_folder, check_output
from sakuga.video.read import open_clip
from sakuga.video.stills import NumberedPictures, write_picture
from sakuga.video.write import ClipWriter

av = pytest.importorskip("av")


def left_behind(folder: Path, *expected: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) != sorted(expected)


def test_a_picture_becomes_a_video_of_one_frame_and_back(
    tmp_path: Path, copied: Callable[..., tuple[str, ...]]
) -> None:
    pixels = np.full((24, 32, 3), (30, 160, 90), np.uint8)
    write_picture(tmp_path / "a.png", pixels)
    copied(tmp_path / "a.png", tmp_path / "b.mp4")
    copied(tmp_path / "b.mp4", tmp_path / "c.png")
    with open_clip(tmp_path / "b.mp4") as video, open_clip(tmp_path / "c.png") as picture:
        assert (video.kind, picture.kind, video.frame_count) == ("video", "picture", 1)
        assert video.pts_at(1) * video.time_base == Fraction(1, 24)
        assert np.abs(next(picture.frames()).pixels.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_a_picture_is_written(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((9, 7, 3), (200, 30, 60), np.uint8)
    write_picture(tmp_path / f"a{suffix}", pixels)
    stored = cv2.imread(str(tmp_path / f"a{suffix}"))[..., ::-1]
    assert np.abs(stored.astype(int) - pixels).max() <= (0 if suffix == ".png" else 3)
    with pytest.raises(OutputExists):
        write_picture(tmp_path / f"a{suffix}", pixels)
    write_picture(tmp_path / f"a{suffix}", pixels, overwrite=True)
    with pytest.raises(OutputError):
        write_picture(tmp_path / "a.mp4", pixels)
    assert not left_behind(tmp_path, f"a{suffix}")


def test_a_picture_holds_one_frame(
    tmp_path: Path, film: Callable[..., Path], copied: Callable[..., tuple[str, ...]]
) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")
    with pytest.raises(OutputError, match="one frame"):
        copied(source, tmp_path / "b.png")
    assert not left_behind(tmp_path, "a.mp4")
    (note,) = copied(source, tmp_path / "b.png", 3, 4)
    assert "sound" in note
    with open_clip(tmp_path / "b.png") as picture:
        assert abs(int(next(picture.frames()).pixels.mean()) - 47) <= 3


def test_a_folder_of_pictures(
    tmp_path: Path, film: Callable[..., Path], copied: Callable[..., tuple[str, ...]]
) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")
    notes = copied(source, tmp_path / "frames", 2, 5)
    assert [path.name for path in sorted((tmp_path / "frames").iterdir())] == [f"00000{n}.png" for n in (2, 3, 4)]
    assert len(notes) == 2
    assert any("sound" in note for note in notes)
    assert any("12 frames a second" in note for note in notes)
    with open_clip(tmp_path / "frames") as folder, open_clip(source) as clip:
        for one, other in zip(folder.frames(), clip.frames(2, 5), strict=True):
            assert np.array_equal(one.pixels, other.pixels)


def test_a_folder_is_replaced_only_if_nothing_else_is_in_it(
    tmp_path: Path, film: Callable[..., Path], copied: Callable[..., tuple[str, ...]]
) -> None:
    source, out = film(tmp_path / "a.mp4"), tmp_path / "frames"
    out.mkdir()
    copied(source, out, 0, 3)
    with pytest.raises(OutputExists):
        check_output(out)
    check_output(out, overwrite=True)
    (out / "thesis.doc").write_text("years of work")
    with pytest.raises(OutputError, match="not ours to replace") as caught:
        check_output(out, overwrite=True)
    assert "thesis.doc" in str(caught.value.given)
    (out / "thesis.doc").unlink()
    with open_clip(source) as clip, ClipWriter(out, clip, 32, 24, overwrite=True) as writer:
        writer.write(next(clip.frames()))
    assert [path.name for path in out.iterdir()] == ["000000.png"]


@pytest.mark.parametrize("name", ["frames", "frames.v2"])
def test_pictures_beside_a_video_are_replaced_when_it_is_rendered_again(tmp_path: Path, name: str) -> None:
    """The second run with overwrite was refused: its own pictures were taken for strangers."""
    out = tmp_path / name
    for count in (3, 2):
        check_folder(out, overwrite=True)
        with NumberedPictures(out, overwrite=True) as pictures:
            for _ in range(count):
                pictures.write(np.zeros((4, 4, 3), np.uint8))
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png"]
    with pytest.raises(OutputExists):
        check_folder(out, overwrite=False)
    (out / "thesis.doc").write_text("years of work")
    with pytest.raises(OutputError, match="not ours to replace"):
        check_folder(out, overwrite=True)
