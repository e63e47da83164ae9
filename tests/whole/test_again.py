"""The same Job again, another Job on the same name, and the report that programs read: what stays and what is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sakuga.cli.main import main
from sakuga.errors import OutputExists
from sakuga.models.library import STARTER
from sakuga.render.studio import Studio, report_path, sha256_of
from sakuga.spec.job import Job

FIELDS = {
    "work",
    "schema", "version", "status", "output", "output_sha256", "key", "job", "clip", "models", "adapters", "stages",
    "notes", "seconds", "memory", "stacks", "keys",
}  # fmt: skip
STAGE = {"prompt": "ink", "steps": 2, "motion": "none"}


def state(path: Path) -> tuple[int, bytes]:
    """When a file was written, and its bytes."""
    return path.stat().st_mtime_ns, path.read_bytes()


@pytest.fixture
def job(sources: Mapping[str, Path], adapters: Mapping[str, Path], tmp_path: Path) -> Job:
    stage = STAGE | {"adapters": [f"{adapters['kohya']}:0.5"]}
    return Job(source=sources["picture"], stages=[stage], output=tmp_path / "toon.png")


def test_the_same_job_again_leaves_the_output_alone(studio: Studio, job: Job) -> None:
    assert job.output is not None
    first = studio.render(job)
    files = (job.output, report_path(job.output))
    before = [state(path) for path in files]
    again = studio.render(job)
    assert (first.status, again.status) == ("rendered", "there already")
    assert (again.key, again.output_sha256, again.output) == (first.key, first.output_sha256, first.output)
    assert [state(path) for path in files] == before
    assert studio.render(job.model_copy(update={"overwrite": True})).status == "there already"
    assert [state(path) for path in files] == before


def test_another_job_does_not_touch_what_is_there(
    studio: Studio, job: Job, adapters: Mapping[str, Path], sources: Mapping[str, Path]
) -> None:
    assert job.output is not None
    studio.render(job)
    before = state(job.output)
    stage = job.stages[0]
    others = [
        job.model_copy(update={"seed": 1}),
        job.model_copy(update={"stages": (stage.model_copy(update={"prompt": "pencil"}),)}),
        job.model_copy(update={"stages": (stage.model_copy(update={"adapters": ()}),)}),
        job.model_copy(update={"source": sources["pictures"], "frames": (0, 1)}),
    ]
    for other in others:
        with pytest.raises(OutputExists, match="--overwrite"):
            studio.render(other)
        assert state(job.output) == before
    report = studio.render(others[0].model_copy(update={"overwrite": True}))
    assert (report.status, report.output_sha256) == ("rendered", sha256_of(job.output))
    assert studio.render(others[0]).status == "there already"


def test_weights_that_changed_make_another_job(
    studio: Studio, job: Job, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(adapters["kohya"].read_bytes())
    using = job.model_copy(update={"stages": (job.stages[0].model_validate(STAGE | {"adapters": [str(mine)]}),)})
    studio.render(using)
    mine.write_bytes(adapters["peft"].read_bytes())
    with pytest.raises(OutputExists):
        studio.render(using)


def test_a_config_that_changed_makes_another_job(studio: Studio, job: Job, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(STARTER, base)
    using = job.model_copy(update={"base": str(base)})
    studio.render(using)
    for file in ("unet/config.json", "text_encoder/config.json", "vae/config.json"):
        before = (base / file).read_bytes()
        (base / file).write_bytes(before + b"\n")
        with pytest.raises(OutputExists):
            studio.render(using)
        (base / file).write_bytes(before)
    assert studio.render(using).status == "there already"


def test_a_config_beside_an_adapter_that_changed_makes_another_job(
    studio: Studio, job: Job, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    mine, config = tmp_path / "mine" / "adapter_model.safetensors", {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    mine.parent.mkdir()
    mine.write_bytes(adapters["peft"].read_bytes())
    beside = mine.with_name("adapter_config.json")
    beside.write_text(json.dumps(config))
    using = job.model_copy(update={"stages": (job.stages[0].model_validate(STAGE | {"adapters": [str(mine)]}),)})
    studio.render(using)
    assert studio.render(using).status == "there already"
    beside.write_text(json.dumps(config | {"lora_alpha": 200}))
    with pytest.raises(OutputExists):
        studio.render(using)
    before = state(using.output) if using.output else None
    again = studio.render(using.model_copy(update={"overwrite": True}))
    assert again.status == "rendered" and using.output and state(using.output)[1] != (before or (0, b""))[1]


@pytest.mark.parametrize("damage", ["output", "report", "no report"])
def test_an_output_that_was_touched_is_nobodys_result(studio: Studio, job: Job, damage: str) -> None:
    assert job.output is not None
    studio.render(job)
    touched = job.output if damage == "output" else report_path(job.output)
    if damage == "no report":
        touched.unlink()
    else:
        touched.write_bytes(touched.read_bytes()[:-20])
    before = state(job.output)
    with pytest.raises(OutputExists, match="not the finished result") as raised:
        studio.render(job)
    assert raised.value.place == "output"
    assert state(job.output) == before


def test_the_command_says_so_and_ends_with_0(
    sources: Mapping[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "toon.png"
    words = ["render", str(sources["picture"]), "--motion", "none", "-o", str(output)]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"rendered: {output}\n")
    before = state(output)
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"there already: {output}\n")
    assert main([*words, "--seed", "7"]) == 2
    told = capsys.readouterr().err
    assert "OutputExists: output: " in told and f"  given     {output}\n" in told and "--overwrite" in told
    assert state(output) == before
    assert main([*words, "--seed", "7", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "rendered"


def test_the_report_is_what_programs_may_count_on(studio: Studio, job: Job, sources: Mapping[str, Path]) -> None:
    assert job.output is not None
    report = studio.render(job)
    told = json.loads(report_path(job.output).read_text(encoding="utf-8"))
    assert told == json.loads(json.dumps(report.as_json()))
    assert set(told) == FIELDS and told["schema"] == 1
    assert (told["output"], told["output_sha256"]) == (str(job.output), sha256_of(job.output))
    assert Job.model_validate(told["job"]) == job, "a report holds the job that made it"
    assert {"check", "load", "cuts", "render"} <= set(told["seconds"]) and told["memory"]["peak"] > 2**20
    clip = told["clip"]
    assert (clip["kind"], clip["width"], clip["height"], clip["frames"]) == ("picture", 64, 48, 1)
    roles = {model["role"].split()[0] for model in told["models"]}
    assert {"base", "control"} <= roles
    assert all(len(model["sha256"]) == 64 and Path(model["path"]).exists() for model in told["models"])
    (adapter,) = told["adapters"]
    keys: dict[str, Any] = adapter["keys"]
    assert (adapter["name"], adapter["layout"], adapter["weight"]) == ("kohya", "kohya", 0.5)
    assert keys["total"] == keys["used"] + len(keys["ignored"]) + len(keys["refused"]) > 0
    assert any("steps" not in note["reason"] and "sampler" in note["reason"] for note in told["notes"]), (
        "what the base decided is named, what the user decided is not"
    )
    assert not any(path.name.startswith(".") for path in job.output.parent.iterdir())


def test_a_seed_without_noise_is_named(studio: Studio, sources: Mapping[str, Path], tmp_path: Path) -> None:
    def named(noise: str, **seed: int) -> bool:
        stage = STAGE | {"noise": noise}
        job = Job(source=sources["picture"], stages=[stage], output=tmp_path / "toon.png", **seed)
        return any(note.what == "seed" and "no effect" in note.reason for note in studio.check(job).notes)

    assert named("zero", seed=3)
    assert not named("zero") and not named("frame", seed=3)


def test_a_check_says_what_a_render_would_use(studio: Studio, job: Job) -> None:
    assert job.output is not None
    checked, rendered = studio.check(job), studio.render(job)
    assert checked.status == "checked" and checked.output is None
    assert (checked.adapters, checked.stages, checked.clip | {"cuts": [], "spans": 1}) == (
        rendered.adapters,
        rendered.stages,
        rendered.clip,
    )
