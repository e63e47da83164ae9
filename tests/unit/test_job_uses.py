"""How a job says smoothers, tiles and what controls are drawn from: short and long forms, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sakuga.cli.main import main
from sakuga.errors import JobError, Several
from sakuga.spec.job import Job, Stage
from sakuga.spec.load import dump_job, load_job
from sakuga.spec.uses import ControlUse, SmootherUse

WHOLE: dict[str, Any] = {
    "controls": [{"kind": "tile", "source": "clip"}, {"kind": "canny", "source": "a b/c.mp4", "frames": "2:8"}],
    "smoothers": ["light", "fastblend:mode=accurate:window=15:seeded=true:share=0.5"],
    "smooth_at": [0, -1], "noise": "diffsynth1", "prompt_style": "plain", "prompt": "<lora:x> ((",
    "cross_frame": True, "frames_at_once": 8, "tile": 64, "tile_stride": 32,
}  # fmt: skip


def test_a_job_with_all_of_it_comes_back_as_it_was() -> None:
    job = Job(source="clip.mp4", stages=[WHOLE])
    assert load_job(dump_job(job)) == job
    assert hash(job) == hash(load_job(dump_job(job)))


def test_options_are_numbers_truth_values_or_words() -> None:
    use = SmootherUse.parse("fastblend:mode=accurate:window=15:seeded=true:share=0.5")
    assert dict(use.options) == {"mode": "accurate", "window": 15, "seeded": True, "share": 0.5}
    assert SmootherUse(kind="fastblend", options={"window": 15}).options == (("window", 15),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fastblend:15", "this is no option"),
        ("fastblend:window=", "this is no option"),
        ("fastblend:window=1:window=2", "given twice"),
        ("fastblend:", "empty"),
    ],
)
def test_a_smoother_that_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(JobError, match=told):
        SmootherUse.parse(text)


@pytest.mark.parametrize("options", [[1], {"window": [1]}, {"window": float("nan")}, {"window": None}, "window=1"])
def test_options_in_the_long_form_are_a_table_of_plain_values(options: object) -> None:
    with pytest.raises(JobError):
        SmootherUse(kind="fastblend", options=options)


@pytest.mark.parametrize("source", ["stage", "clip", "./clip", "./stage", "colours.mp4", Path("clip")])
def test_the_source_of_a_control_is_a_word_or_a_path_and_stays_it(source: str | Path) -> None:
    job = Job(source="clip.mp4", stages=[{"controls": [{"kind": "tile", "source": source}]}])
    use = (job.stages[0].controls or ())[0]
    assert isinstance(use.source, Path) == (source not in ("stage", "clip"))
    assert load_job(dump_job(job)) == job


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"tile": 8, "tile_stride": 9}, "^tile_stride: tiles would leave parts out"),
        ({"tile": 4}, "^tile: outside its range"),
        ({"tile": float("nan")}, "^tile: a value of the wrong kind"),
        ({"crossframe": True}, "there is no 'crossframe' here"),
        ({"controls": ["tile", {"kind": "tile", "sorce": "clip"}]}, "^controls.1: there is no 'sorce' here"),
        ({"controls": [{"kind": "tile", "scale": float("nan")}]}, "^controls.0.scale: a weight is not a finite number"),
        ({"smoothers": [{"kind": "light", "optons": {}}]}, "^smoothers.0: there is no 'optons' here"),
        ({"smooth_at": [0, float("nan")]}, "^smooth_at.1: a value of the wrong kind"),
        ({"smooth_at": [-2]}, "^smooth_at.0: smoothers cannot run then"),
        ({"smooth_at": [0.5]}, "wrong kind"),
        ({"smooth_at": -1}, "wrong kind"),
        ({"frames_at_once": 0}, "outside its range"),
        ({"cross_frame": 1}, "wrong kind"),
        ({"noise": "diffsynth"}, "not one of the words"),
        ({"controls": [{"kind": "tile", "source": 3}]}, "wrong kind"),
    ],
)
def test_what_cannot_be_meant_is_told(fields: dict[str, Any], told: str) -> None:
    with pytest.raises((JobError, Several), match=told):
        Stage(**fields)


def test_an_unclosed_bracket_is_only_text_to_the_plain_style() -> None:
    deep = "(" * 100
    assert Stage(prompt=deep, prompt_style="plain").prompt == deep
    with pytest.raises(JobError, match="brackets"):
        Stage(prompt=deep)


def test_flags_reach_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--smooth-at", "3", "--smooth-at", "-1", "--tile", "64", "--cross-frame", "--frames-at-once", "2"]
    flags += ["--set", "stages.0.controls=[tile]", "--set", "stages.0.controls.0.source=nowhere.mp4"]
    assert main(["check", "demo", "--steps", "2", "--motion", "none", *flags, "-o", str(tmp_path / "o.mp4")]) != 0
    assert "stages.0.controls.0: there is no file nowhere.mp4" in capsys.readouterr().err


def test_a_clip_beside_the_job_file_is_found_there(tmp_path: Path) -> None:
    (tmp_path / "colours.mp4").touch()
    (tmp_path / "job.yaml").write_text("source: clip.mp4\nstages: [{controls: [{kind: tile, source: colours.mp4}]}]\n")
    use = (load_job(tmp_path / "job.yaml").stages[0].controls or ())[0]
    assert use.source == tmp_path / "colours.mp4"


def test_a_control_keeps_its_short_form() -> None:
    assert ControlUse.parse("tile:0.5") == ControlUse(kind="tile", scale=0.5)
