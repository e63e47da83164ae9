"""Seeing before paying: a preview and a grid show the very frames that a render gives, and share what is alike."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sakuga.cli.main import main
from sakuga.cli.moment import first_frame
from sakuga.errors import JobError, Several
from sakuga.render.grid import cells_of, grid, sheet_of
from sakuga.render.preview import preview, without_adapters
from sakuga.render.studio import Studio
from sakuga.spec.axis import Axis
from sakuga.spec.job import Job
from sakuga.video.pictures import read_picture
from sakuga.video.read import open_clip

STAGE: dict[str, Any] = {"prompt": "ink", "steps": 2, "motion": "none", "controls": ["tile:0.6"], "strength": 0.7}


@pytest.fixture
def own(tmp_path: Path, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setattr(studio, "_work", tmp_path / "work")
    monkeypatch.setattr(studio, "_reuse", True)
    return studio


def test_a_preview_shows_the_frames_of_the_render(own: Studio, sources: Any, draw: Any) -> None:
    job = Job(source=sources["pictures"], stages=[STAGE | {"adapters": ["ink:0.8"]}])
    seen = preview(own, job, 2, 2)
    rows = dict(seen.rows)
    assert list(rows) == ["source", "control tile", "without LoRA", "with ink 0.8"]
    whole = draw(sources["pictures"], STAGE | {"adapters": ["ink:0.8"]}, frames=(2, 4))
    bare = draw(sources["pictures"], STAGE, frames=(2, 4))
    assert whole.apart(np.stack(rows["with ink 0.8"])).max() <= 1
    assert bare.apart(np.stack(rows["without LoRA"])).max() <= 1
    assert whole.apart(np.stack(rows["without LoRA"])).max() > 1
    assert seen.whole["frames"] == 6 and seen.whole["seconds"] > 0 and seen.whole["disk_bytes"] > 0
    assert "seconds" not in preview(own, job, 2, 2).whole, "nothing is known of the time of what was found"


def test_a_job_without_adapters_has_none_in_its_prompt_either() -> None:
    job = Job(source=Path("a"), stages=[{"prompt": "ink <lora:ink:0.5>", "adapters": ["flat"]}])
    assert without_adapters(job).stages[0].prompt.strip() == "ink" and not without_adapters(job).stages[0].adapters
    plain = Job(source=Path("a"), stages=[{"prompt": "ink <lora:ink:0.5>", "prompt_style": "plain"}])
    assert without_adapters(plain) == plain


def test_a_grid_draws_what_is_alike_once(own: Studio, sources: Any, draw: Any) -> None:
    job = Job(source=sources["pictures"], stages=[STAGE])
    axes = [Axis.parse("lora.ink=0,0.8", "--x"), Axis.parse("steps=1,2", "--y"), Axis.parse("seed=0,1", "--z")]
    jobs = cells_of(own, job, axes)
    assert [values for values, _ in jobs][:3] == [("0", "1", "0"), ("0.8", "1", "0"), ("0", "2", "0")]
    cells = list(grid(own, jobs, 1, 1))
    assert not any(cell.found for cell in cells)
    one = draw(sources["pictures"], STAGE | {"adapters": ["ink:0.8"], "steps": 1}, frames=(1, 2), seed=1)
    assert one.apart(np.stack(dict((cell.values, cell.frames) for cell in cells)["0.8", "1", "1"])).max() <= 1
    again = list(grid(own, jobs, 1, 1))
    assert all(cell.found for cell in again)
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(cells, again, strict=True))
    height, width = sheet_of(axes, cells, 0).shape[:2]
    assert height > 4 * 48 and width > 2 * 64


def test_all_cells_are_checked_before_one_is_drawn(own: Studio, sources: Any) -> None:
    job = Job(source=sources["pictures"], stages=[STAGE])
    with pytest.raises(Several) as caught:
        cells_of(own, job, [Axis.parse("steps=1,x", "--x"), Axis.parse("strength=2,0.5", "--y")])
    assert "x" in str(caught.value) and "strength" in str(caught.value)
    jobs = cells_of(own, job, [Axis.parse("lora=ink,nosuch", "--x")])
    with pytest.raises(Exception, match="nosuch"):
        next(iter(grid(own, jobs, 0, 1)))


def test_one_of_the_base_s_own_controls_is_changed_and_the_others_stay(own: Studio, sources: Any) -> None:
    job = Job(source=sources["pictures"], stages=[{"prompt": "ink"}])
    (_, changed), _ = cells_of(own, job, [Axis.parse("control.tile=0.1,0.2", "--x")])
    kinds = {use.kind: use.scale for use in changed.stages[0].controls or ()}
    assert kinds["tile"] == 0.1 and len(kinds) > 1


def test_the_commands_write_what_they_say(sources: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["--steps", "1", "--motion", "none", "--control", "tile"]
    source = str(sources["uneven"])
    assert main(["preview", source, *few, "--lora", "ink", "--at", "0.2", "-o", "p.png"]) == 0
    assert "about" in capsys.readouterr().out and read_picture(tmp_path / "p.png").shape[1] > 4 * 64
    assert main(["preview", source, *few, "-o", "p.png"]) == 2, "there already"
    words = ["grid", source, *few, "--x", "lora=ink,none", "--y", "seed=1,2", "--frames", "3", "--video", "-o", "g.png"]
    assert main(words) == 0
    told = json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))
    assert [cell["values"] for cell in told["cells"]] == [["ink", "1"], ["none", "1"], ["ink", "2"], ["none", "2"]]
    assert told["cells"][0]["job"]["seed"] == 1 and told["axes"][0]["field"] == "lora"
    with open_clip(tmp_path / "g.mp4") as clip:
        assert clip.frame_count == 3 and (clip.width % 2, clip.height % 2) == (0, 0)
    capsys.readouterr()
    for wrong in (["--x", "seed=1", "-o", "g.mp4"], ["--x", "steps"], ["--x", "seed=1", "--z", "seed=2"]):
        assert main(["grid", source, *wrong]) == 2
        assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("at", "index"), [("0", 0), ("0.1", 1), ("0:0.4", 4), ("3f", 3), (None, 4), ("00:00:00.67", 7), ("7f", 7)]
)
def test_moments(sources: Any, at: str | None, index: int) -> None:
    assert first_frame(Job(source=sources["uneven"]), at, 1) == index


@pytest.mark.parametrize("at", ["9", "8f", "x", "-1", "1:2:3:4", "1e3"])
def test_what_is_no_moment(sources: Any, at: str) -> None:
    with pytest.raises(JobError) as caught:
        first_frame(Job(source=sources["uneven"]), at, 1)
    assert at in caught.value.told() and caught.value.expected


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 130), ("", 130)])
def test_a_frame_of_each_shot_is_shown_before_the_whole(
    made: Any, tmp_path: Path, monkeypatch: Any, capsys: Any, answer: str, status: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    source = made.pictures(6, "shots", cut=3)
    words = ["render", str(source), "--steps", "1", "--motion", "none", "--control", "tile", "--approve"]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main([*words, "-o", str(tmp_path / "toon.mp4")]) == 2, "nobody to ask"
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main([*words, "-o", str(tmp_path / "toon.mp4")]) == status
    assert "2 shots are in" in capsys.readouterr().err
    assert (tmp_path / "toon-approve.png").is_file() and (tmp_path / "toon.mp4").exists() == (status == 0)
