"""Clips held against each other: by time, at the first one's size, and figures that say what is so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sakuga.cli.main import main
from sakuga.video.pictures import encode_picture, read_picture
from sakuga.video.read import open_clip
from sakuga.video.side import Apart, compared, size_of


def folder(path: Path, levels: list[int], size: tuple[int, int] = (40, 24)) -> Path:
    path.mkdir()
    for number, level in enumerate(levels):
        pixels = np.full((size[1], size[0], 3), level, np.uint8)
        (path / f"{number}.png").write_bytes(encode_picture(pixels, ".png"))
    return path


def test_the_others_show_what_they_show_at_that_moment(tmp_path: Path) -> None:
    from fractions import Fraction

    slow = open_clip(folder(tmp_path / "slow", [10, 20]), rate=Fraction(12))
    fast = open_clip(folder(tmp_path / "fast", [1, 2, 3]), rate=Fraction(24))
    frames = list(compared([fast, slow], "stack", ["", ""], Apart()))
    assert [frame.pixels[0, -1, 0] for frame in frames] == [10, 10, 20]
    assert [frame.pixels[0, 0, 0] for frame in compared([slow, fast], "stack", ["", ""], Apart())] == [10, 20]
    assert [frame.pixels[0, -1, 0] for frame in compared([slow, fast], "stack", ["", ""], Apart())] == [1, 3]


@pytest.mark.parametrize(("way", "size"), [("stack", (80, 24)), ("split", (40, 24)), ("wipe", (40, 24))])
def test_ways(tmp_path: Path, way: str, size: tuple[int, int]) -> None:
    clips = [open_clip(folder(tmp_path / "a", [0] * 60)), open_clip(folder(tmp_path / "b", [100] * 60))]
    assert size_of(clips, way) == size  # type: ignore[arg-type]
    frames = [frame.pixels for frame in compared(clips, way, ["", ""], Apart())]  # type: ignore[arg-type]
    assert {frame.shape for frame in frames} == {(size[1], size[0], 3)}
    if way == "split":
        assert (
            (frames[0][:, :19] == 0).all() and (frames[0][:, 21:] == 100).all() and (frames[0][:, 19:21] == 255).all()
        )
    if way == "wipe":
        shares = [(frame == 0).mean() for frame in frames]
        assert shares[0] == 0 and max(shares) > 0.9 and shares.index(max(shares)) == 48


def test_a_label_is_drawn_and_changes_no_figure(tmp_path: Path) -> None:
    clips = [open_clip(folder(tmp_path / "a", [0])), open_clip(folder(tmp_path / "b", [0]))]
    apart = Apart()
    (frame,) = compared(clips, "stack", ["left", "日本"], apart)
    assert (frame.pixels > 0).any() and apart.identical


def test_figures(tmp_path: Path) -> None:
    clips = [open_clip(folder(tmp_path / "a", [10, 10])), open_clip(folder(tmp_path / "b", [10, 30], (20, 12)))]
    apart = Apart()
    list(compared(clips, "stack", ["", ""], apart))
    told = apart.told()
    assert (told["identical"], told["equal_frames"], told["largest_difference"]) == (False, 1, 20)
    assert told["mean_difference"] == [10.0, 10.0, 10.0] and told["psnr"] == pytest.approx(25.12, abs=0.01)
    assert told["same_times"] and not told["same_size"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = (str(folder(tmp_path / name, levels)) for name, levels in (("a", [1, 2]), ("b", [1, 3]), ("c", [1])))
    assert main(["compare", a, a, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["identical"] and told["psnr"] is None and told["output"] is None
    assert main(["compare", a, b, "-o", str(tmp_path / "side.mp4"), "--as", "wipe"]) == 0
    assert "1 of 2 frames are equal" in capsys.readouterr().out
    with open_clip(tmp_path / "side.mp4") as clip:
        assert (clip.frame_count, clip.width) == (2, 40)
    assert main(["compare", a, c]) == 0
    assert "their times differ" in capsys.readouterr().out, "one frame is no match for two, however alike"
    picture = tmp_path / "one.png"
    assert main(["compare", c, c, b, "-o", str(picture), "--label", "x", "--label", "y", "--label", "z"]) == 0
    assert read_picture(picture).shape[:2] == (72, 40), "wide ones lie below each other when there are three"
    capsys.readouterr()
    for wrong in ([a], [a, str(tmp_path / "no.mp4")], [a, b, "--label", "x"], [a, b, "-o", str(picture)]):
        assert main(["compare", *wrong]) == 2
        assert "given" in capsys.readouterr().err
