"""``--events``: everything that is told on stderr is a line of JSON, mistakes on the command line too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sakuga.cli.main import main
from sakuga.errors import OutputError, OutputExists
from sakuga.video.growing import Growing
from sakuga.video.pictures import encode_picture
from sakuga.video.read import open_clip


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def source(folder: Path, count: int = 5, side: int = 32) -> Path:
    path = folder / "frames"
    path.mkdir()
    for number in range(count):
        pixels = np.full((side, side, 3), 40 * number % 256, np.uint8)
        (path / f"{number}.png").write_bytes(encode_picture(pixels, ".png"))
    return path


def test_a_render_tells_its_progress_and_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.mp4"
    words = ["render", str(source(tmp_path)), "--set", "stages=[]", "-o", str(output), "--events"]
    assert main(words) == 0
    told = lines(capsys.readouterr().err)
    assert [one for one in told if one["event"] == "progress"][-1] | {"elapsed": 0} == {
        "event": "progress", "task": "render", "done": 5, "total": 5, "elapsed": 0, "remaining": 0.0,
    }  # fmt: skip
    assert told[-1] == {
        "event": "done", "status": "rendered", "output": str(output), "report": str(tmp_path / "out.report.json"),
    }  # fmt: skip


@pytest.mark.parametrize("words", [["render", "no.mp4", "--seed", "x"], ["render", "a.mp4", "--stepz", "1"], ["rendr"]])
def test_errors_are_events(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--events"]) == 2
    (told,) = lines(capsys.readouterr().err)
    assert told["event"] == "error" and told["errors"]
    assert main(words) == 2
    assert capsys.readouterr().err.count("{") == 0, "and the next command tells people"


def test_what_is_being_written_can_be_watched(tmp_path: Path) -> None:
    path = tmp_path / "live.mkv"
    with open_clip(source(tmp_path, 30, 600)) as clip:
        with Growing(path, clip, 600, 600) as growing:
            for frame in clip.frames(0, 26):
                growing.write(frame)
            with open_clip(path) as sofar:
                assert sofar.frame_count >= 20 and sofar.width == 480
                assert round(float(next(sofar.frames(3)).pixels.mean())) == pytest.approx(120, abs=3)
        with pytest.raises(OutputExists):
            Growing(path, clip, 600, 600)
        with pytest.raises(OutputError, match="Matroska"):
            Growing(tmp_path / "live.mp4", clip, 600, 600)


def test_watching_changes_no_bit(tmp_path: Path) -> None:
    frames = str(source(tmp_path))
    for number, more in enumerate(([], ["--watch", str(tmp_path / "live.mkv")])):
        output = tmp_path / f"{number}.mp4"
        assert main(["render", frames, "--set", "stages=[]", "-o", str(output), *more]) == 0
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()
    with open_clip(tmp_path / "live.mkv") as clip:
        assert clip.frame_count == 5
