"""Job and Stage: strict, frozen, with short forms; every mistake is a JobError that says what is expected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from sakuga.errors import JobError, SakugaError, Several
from sakuga.spec.fields import expected_at, spot
from sakuga.spec.job import Job, Stage
from sakuga.spec.load import load_job
from sakuga.spec.numbers import as_range
from sakuga.spec.size import Size, as_size
from sakuga.spec.uses import ControlUse, LoraUse
from sakuga.spec.vary import Auto, Curve


def refused(**fields: object) -> SakugaError:
    with pytest.raises(SakugaError) as told:
        Job(**{"source": "clip.mp4", **fields})
    return told.value


def test_the_defaults_are_the_contract() -> None:
    job = Job(source="clip.mp4")
    assert (job.base, job.seed, job.size, job.frames, job.device) == ("starter", 0, None, None, "auto")
    assert (job.dtype, job.span, job.overwrite, job.models) == ("auto", 48, False, ())
    (stage,) = job.stages
    assert (stage.adapters, stage.controls, stage.motion, stage.strength) == ((), None, "auto", 1)
    assert (stage.steps, stage.guidance, stage.sampler, stage.noise, stage.vae) == (None,) * 5
    assert (stage.window, stage.stride, stage.clip_skip) == (16, None, 1)


def test_a_job_is_frozen_and_hashable() -> None:
    job = Job(source="clip.mp4", stages=[{"adapters": ["ink:0->1"], "controls": ["tile"]}], size=256)
    assert hash(job) == hash(job.model_copy())
    with pytest.raises(ValidationError):
        job.seed = 3


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("ink", LoraUse(file="ink")),
        ("ink:0.8", LoraUse(file="ink", weight=0.8)),
        ("ink:auto@0.8", LoraUse(file="ink", weight=Auto(scale=0.8))),
        ("ink:0.5:0.8", LoraUse(file="ink", weight=0.8, text_encoder_weight=0.5)),
        ("ink:0->1@frames", LoraUse(file="ink", weight=Curve(points=((0, 0), (1, 1)), over="frames"))),
        ("ink:0:0, 0.5:1", LoraUse(file="ink", weight=Curve(points=((0, 0), (0.5, 1))))),
        (r"C:\loras\ink.safetensors:0.8", LoraUse(file=r"C:\loras\ink.safetensors", weight=0.8)),
        ("a b/ink v1.5.safetensors", LoraUse(file="a b/ink v1.5.safetensors")),
    ],
)
def test_short_forms_of_adapters(text: str, use: LoraUse) -> None:
    assert LoraUse.parse(text) == use
    assert Stage(adapters=[text]).adapters == (use,)


def test_short_forms_of_controls() -> None:
    assert ControlUse.parse("lineart:0.7") == ControlUse(kind="lineart", scale=0.7)
    stage = Stage(controls=["tile", {"kind": "lineart", "scale": "1->0", "end": 0.5}])
    assert stage.controls == (ControlUse(kind="tile"), ControlUse(kind="lineart", scale="1->0", end=0.5))
    assert Stage(controls=[]).controls == ()


@pytest.mark.parametrize(
    "text", ["", " ", ":0.8", "ink:", "ink: ", "a:b:c:d", "ink:50", "ink:x", "ink:1:2:3", "ink\0:1", "a" * 300]
)
def test_broken_short_forms_are_told(text: str) -> None:
    with pytest.raises(JobError):
        LoraUse.parse(text)
    with pytest.raises(JobError):
        ControlUse.parse(text)


def test_a_control_is_not_balanced_and_ends_after_it_starts() -> None:
    with pytest.raises(JobError, match="cannot be balanced"):
        ControlUse.parse("tile:auto")
    with pytest.raises(JobError, match="ends before it starts"):
        ControlUse(kind="tile", start=0.5, end=0.5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": ""}, "source: a name is empty"),
        ({"source": 3}, "source"),
        ({"source": "a\0b"}, "source: no file can have this name"),
        ({"base": " "}, "base"),
        ({"base": 3}, "base"),
        ({"seed": -1}, "seed: outside its range"),
        ({"seed": 2**63}, "seed: outside its range"),
        ({"seed": True}, "seed"),
        ({"seed": "5"}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"span": 0}, "span"),
        ({"size": 0}, "size"),
        ({"size": -256}, "size"),
        ({"size": 257}, "size: a side is odd"),
        ({"size": "384x4098"}, "size"),
        ({"size": "384x"}, "size"),
        ({"size": True}, "size"),
        ({"size": 256.0}, "size"),
        ({"frames": "8:8"}, "frames"),
        ({"frames": "-1:8"}, "frames"),
        ({"frames": 8}, "frames"),
        ({"frames": ":"}, "frames"),
        ({"frames": [0, True]}, "frames"),
        ({"dtype": "float64"}, "dtype"),
        ({"overwrite": "yes"}, "overwrite"),
        ({"overwrite": 1}, "overwrite"),
        ({"stages": [{}, {}, {}]}, "at most two stages"),
        ({"stages": [{"steps": 0}]}, "stages.0.steps: outside its range"),
        ({"stages": [{"steps": "50"}]}, "stages.0.steps"),
        ({"stages": [{"steps": False}]}, "stages.0.steps"),
        ({"stages": [{"guidance": float("inf")}]}, "stages.0.guidance: not a finite number"),
        ({"stages": [{"guidance": float("nan")}]}, "stages.0.guidance"),
        ({"stages": [{"guidance": 10**400}]}, "stages.0.guidance"),
        ({"stages": [{"strength": 0}]}, "stages.0.strength"),
        ({"stages": [{"strength": 50}]}, "stages.0.strength: outside its range"),
        ({"stages": [{"clip_skip": 13}]}, "stages.0.clip_skip"),
        ({"stages": [{"noise": "loud"}]}, "stages.0.noise"),
        ({"stages": [{"stride": 17}]}, "stages.0.stride: windows would leave frames out"),
        ({"stages": [{}, {"window": 8, "stride": 9}]}, "stages.1.stride: windows would leave frames out"),
        ({"stages": [{"window": 33}]}, "stages.0.window: outside its range"),
        ({"stages": [{"sampler": ""}]}, "stages.0.sampler"),
        ({"stages": [{"prompt": 5}]}, "stages.0.prompt"),
        ({"stages": [{"prompt": "a\0b"}]}, "stages.0.prompt"),
        ({"stages": [{"prompt": "x" * 10_001}]}, "stages.0.prompt: a prompt is too long"),
        ({"stages": [{"prompt": "<lora:ink:50>"}]}, "50 is too strong"),
        ({"stages": [{"negative_prompt": "(a:99)"}]}, "stresses a word too strongly"),
        ({"stages": [{"adapters": "ink"}]}, "stages.0.adapters"),
        ({"stages": [{"adapters": [{"ink": 0.8}]}]}, "neither the short nor the long form"),
        ({"stages": [{"adapters": [{"file": "ink", "wieght": 1}]}]}, "no 'wieght'"),
        ({"stages": [{"adapters": [{"weight": 1}]}]}, "stages.0.adapters.0.file: this is needed"),
        ({"stages": [{"adapters": [3]}]}, "stages.0.adapters.0"),
        ({"stages": [{"embeddings": ["a", ""]}]}, "stages.0.embeddings.1"),
        ({"models": ["", "a"]}, "models.0"),
        ({"sede": 3}, "no 'sede'"),
    ],
)
def test_mistakes_are_told_with_their_place(fields: dict[str, object], words: str) -> None:
    error = refused(**fields)
    assert isinstance(error, JobError)
    assert words in str(error)
    assert error.expected or error.given


def test_all_findings_come_at_once_with_the_nearest_names() -> None:
    error = refused(seeed=1, size=3, stages=[{"steps": 0, "stepz": 3, "adapters": ["ink:50"]}])
    assert isinstance(error, Several)
    assert len(error.findings) == 5
    assert {finding.nearest for finding in error.findings} >= {"seed", "steps"}


def test_a_thousand_findings_are_counted_not_told() -> None:
    error = refused(**{f"key{number}": 1 for number in range(1000)})
    assert isinstance(error, Several)
    assert len(error.findings) < 50
    assert "more findings" in error.findings[-1].title


@pytest.mark.parametrize(
    ("asked", "source", "result"),
    [
        (256, (1920, 1080), (456, 256)),
        (256, (1080, 1920), (256, 456)),
        (256, (256, 256), (256, 256)),
        ("384x216", (640, 360), (384, 216)),
        ("384x216", (100, 100), (216, 216)),
        ("384x216", (480, 640), (162, 216)),
        ("640x640", (64, 36), (640, 360)),
        ("100x100", (1000, 10), (100, 2)),
        ("16", (1800, 1600), (18, 16)),
    ],
)
def test_sizes_fit_the_source(asked: object, source: tuple[int, int], result: tuple[int, int]) -> None:
    size = as_size(asked)
    assert size.fitted(*source) == result
    assert as_size(str(size)) == size


def test_a_short_side_that_makes_the_long_one_huge_is_told() -> None:
    with pytest.raises(JobError, match="too long"):
        Size(short_side=256).fitted(10_000, 100)
    with pytest.raises(JobError):
        Size(width=256)


@settings(deadline=None)
@given(st.integers(0, 1000), st.none() | st.integers(1, 1000))
def test_frames_are_read_in_every_form(first: int, count: int | None) -> None:
    end = None if count is None else first + count
    assert as_range(f"{first}:{'' if end is None else end}") == (first, end)
    assert as_range([first, end]) == (first, end)


def test_where_the_output_goes() -> None:
    assert Job(source="films/dance.mp4").output_for(picture=False) == Path("dance-toon.mp4")
    assert Job(source="photo.jpg").output_for(picture=True) == Path("photo-toon.png")
    assert Job(source="photo.jpg", output="a/b.png").output_for(picture=True) == Path("a/b.png")
    assert Job(source="..").output_for(picture=False).name.endswith("-toon.mp4")


@pytest.mark.parametrize("model", [Job, Stage, LoraUse, ControlUse])
def test_every_field_has_its_help(model: type[BaseModel]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_paths_lead_to_fields_and_say_what_is_expected() -> None:
    place = spot(Job, ("stages", 0, "steps"))
    assert place is not None
    assert expected_at(place) == "a whole number from 1 to 1000"
    inner = spot(Job, ("stages", 1, "controls", 3, "file"))
    assert inner is not None
    assert inner.is_text and inner.may_be_none
    assert spot(Job, ("stages", "x")) is None
    assert spot(Job, ("seed", "x")) is None


def test_none_for_motion_is_the_bases_own() -> None:
    assert Stage(motion=None).motion == "auto"


def test_a_job_is_read_without_the_engines() -> None:
    code = "import sys, sakuga.spec.load, sakuga.cli.flags; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "av", "cv2", "diffusers"} & set(loaded)


def test_an_adapter_beside_the_stages_is_told_where_it_belongs() -> None:
    with pytest.raises(JobError) as told:
        load_job("source: a.mp4\nadapters: [ink]\n")
    assert "it belongs into stages" in told.value.told()
