"""Presets: each is a job on the starter and on any other base, and what is said beside one takes its place."""

from __future__ import annotations

import pytest

from sakuga.cli.main import main
from sakuga.errors import JobError
from sakuga.spec.job import Job, Stage
from sakuga.spec.load import dump_job, load_job, make_job
from sakuga.spec.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("base", ["starter", "dreamshaper_8"])
def test_a_preset_is_a_job(name: str, base: str) -> None:
    job = Job(source="clip.mp4", base=base, preset=name)
    assert len(job.stages) == len(PRESETS[name].stages)
    for stage, fields in zip(job.stages, PRESETS[name].values(base), strict=True):
        assert fields.keys() <= stage.model_fields_set
    assert load_job(dump_job(job)) == job


def test_the_settings_of_the_paper() -> None:
    (main_stage,) = Job(source="c.mp4", base="x", preset="diffutoon").stages
    assert (main_stage.steps, main_stage.guidance, main_stage.clip_skip, main_stage.strength) == (10, 7.0, 2, 1.0)
    assert (main_stage.window, main_stage.stride) == (16, 8)
    branch, over = Job(source="c.mp4", base="x", preset="diffutoon-edit").stages
    assert (branch.steps, branch.strength, branch.window, branch.stride, branch.clip_skip) == (20, 0.9, 8, 4, 1)
    assert branch.cross_frame and branch.frames_at_once == 8 and branch.motion == "none"
    assert over.controls is not None and [use.source for use in over.controls] == ["stage", "clip"]


def test_on_the_starter_the_toon_comes_from_its_adapters() -> None:
    """All of them gave the photograph again, only softer."""
    for name in ("diffutoon", "diffutoon-edit", "toon-fast", "toon-fine"):
        assert [use.file for use in Job(source="c.mp4", preset=name).stages[-1].adapters] == ["celcomic", "ink"]
        assert not Job(source="c.mp4", preset=name, base="x").stages[-1].adapters
    (stage,) = Job(source="c.mp4", preset="diffutoon", stages=(Stage(adapters=("ink:1",)),)).stages
    assert [use.file for use in stage.adapters] == ["ink"]


def test_what_is_said_beside_a_preset_counts() -> None:
    job = Job(source="c.mp4", base="x", preset="diffutoon-edit", stages=(Stage(prompt="red", steps=3),))
    assert (job.stages[0].prompt, job.stages[0].steps, job.stages[0].strength) == ("red", 3, 0.9)
    assert job.stages[1].steps == 10
    text = "source: c.mp4\npreset: diffutoon\nbase: x\nstages: [{window: 12}]"
    assert (load_job(text).stages[0].window, load_job(text, ["stages.0.window=9"]).stages[0].window) == (12, 9)
    job = make_job("c.mp4", ["preset=diffutoon-edit", "base=x", "stages.1.steps=2"]).job
    assert (job.stages[0].steps, job.stages[1].steps) == (20, 2)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(JobError) as raised:
        Job(source="c.mp4", preset="difutoon")
    assert raised.value.nearest == "diffutoon"
    with pytest.raises(JobError):
        load_job("source: c.mp4\npreset: [diffutoon]")


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}: {preset.title}" in told for name, preset in PRESETS.items())
    assert main(["presets", "--json"]) == 0
