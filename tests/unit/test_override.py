"""--set PATH=VALUE and flags: every path can be reached, and one that leads nowhere is told with the nearest."""

from __future__ import annotations

from pathlib import Path

import pytest

from sakuga.errors import JobError, SakugaError, Several
from sakuga.spec.load import load_job
from sakuga.spec.override import Override
from sakuga.spec.uses import LoraUse

EXAMPLE = """\
source: dance.mp4
base: starter
stages:
  - prompt: flat colours, clean ink lines
    adapters: [ink:0.8, {file: flat.safetensors, weight: auto}]
    controls: [lineart:0.7, tile:0.5]
    steps: 10
output: dance-toon.mp4
"""


def refused(text: str, *overrides: str) -> SakugaError:
    with pytest.raises(SakugaError) as told:
        load_job(text, overrides)
    return told.value


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("stages.0.steps=8", lambda job: job.stages[0].steps == 8),
        ("stages.0.prompt=a: b, 'c' [d] null", lambda job: job.stages[0].prompt == "a: b, 'c' [d] null"),
        ("stages.0.prompt=", lambda job: job.stages[0].prompt == ""),
        ("stages.0.prompt=5", lambda job: job.stages[0].prompt == "5"),
        ("stages.0.vae=null", lambda job: job.stages[0].vae is None),
        ("stages.0.adapters.0.weight=0.3", lambda job: job.stages[0].adapters[0] == LoraUse(file="ink", weight=0.3)),
        ("stages.0.adapters.1=flat:0.1", lambda job: job.stages[0].adapters[1] == LoraUse(file="flat", weight=0.1)),
        ("stages.0.adapters.2=new", lambda job: len(job.stages[0].adapters) == 3),
        ("stages.0.adapters=[a:1, {file: b}]", lambda job: [use.file for use in job.stages[0].adapters] == ["a", "b"]),
        ("stages.0.controls=[]", lambda job: job.stages[0].controls == ()),
        ("stages.0.controls.0.end=0.5", lambda job: job.stages[0].controls[0].end == 0.5),
        ("stages.1.prompt=more", lambda job: job.stages[1].prompt == "more"),
        ("size=384x216", lambda job: (job.size.width, job.size.height) == (384, 216)),
        ("size=256", lambda job: job.size.short_side == 256),
        ("frames=8:", lambda job: job.frames == (8, None)),
        ("overwrite=true", lambda job: job.overwrite is True),
        ("source=other=clip.mp4", lambda job: job.source == Path("other=clip.mp4")),
        ("dtype=bf16", lambda job: job.dtype == "bf16"),
    ],
)
def test_overrides_reach_every_path(override: str, found: object) -> None:
    assert callable(found)
    assert found(load_job(EXAMPLE, [override]))


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("stages.0.stpes=8", "stages.0.steps"),
        ("stage.0.steps=8", "stages"),
        ("stages.steps=8", "stages.0"),
        ("frames.0=8", "frames"),
        ("stages.3.steps=8", None),
        ("stages.99999999999999999999.steps=8", "stages.0"),
        ("stages.0.adapters.0.weight.x=8", "stages.0.adapters.0.weight"),
        ("stages.0.steps", None),
        ("=8", None),
        ("stages.0.steps=[8", None),
        ("stages.0.steps=yes", None),
        ("stages..steps=8", None),
        ("", None),
    ],
)
def test_overrides_that_lead_nowhere_are_told(override: str, nearest: str | None) -> None:
    error = refused(EXAMPLE, override)
    assert isinstance(error, JobError)
    if nearest:
        assert error.nearest == nearest


def test_what_a_flag_says_is_told_as_the_flag_in_errors() -> None:
    wrong = Override(place=("stages", 0, "steps"), value=0, told="--steps 0")
    with pytest.raises(JobError) as told:
        load_job(EXAMPLE, [wrong])
    assert told.value.do == "change --steps 0"


def test_findings_of_the_file_and_of_overrides_come_together() -> None:
    error = refused("source: a\nsize: 0\n", "stages.0.stpes=8", "seed=-1")
    assert isinstance(error, Several)
    assert len(error.findings) == 3


def test_a_stage_that_is_too_far_is_told_once_however_much_is_said_of_it() -> None:
    error = refused("source: a", "stages.7.steps=0", "stages.7.guidance=x")
    assert isinstance(error, JobError) and not isinstance(error, Several)
    assert (error.place, error.title) == ("stages.7", "the list is not that long")
    error = refused("source: a", "stages.7.steps=0", "stages.8.steps=1")
    assert isinstance(error, Several) and [one.place for one in error.findings] == ["stages.7", "stages.8"]
