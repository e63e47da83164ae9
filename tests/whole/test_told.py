"""What the report tells of a job: where a LoRA came from, what of a base's configs is not followed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sakuga.errors import AdapterDoesNotFit, JobError, Several
from sakuga.lora.inspect import show
from sakuga.lora.library.names import Named, Names
from sakuga.models.library import STARTER
from sakuga.render.studio import Studio
from sakuga.spec.job import Job
from sakuga.tensors.file import TensorFile


def test_the_report_says_which_loras_a_tag_in_the_prompt_brought(studio: Studio, sources: Mapping[str, Path]) -> None:
    stage = {"adapters": ["celcomic:0.5"], "prompt": "a cat <lora:celcomic:0.2> <lyco:ink>"}
    report = studio.check(Job(source=sources["picture"], stages=[stage], output="never.png"))
    found = [(adapter["name"], adapter["weight"], adapter["from"]) for adapter in report.adapters]
    assert found == [("celcomic", 0.5, "adapters"), ("celcomic", 0.2, "prompt"), ("ink", 1.0, "prompt")]
    assert "celcomic at 0.5, 468" in report.text() and "celcomic at 0.2, from the prompt, 468" in report.text()


def test_a_lora_that_is_given_300_times_is_read_once(
    studio: Studio, sources: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    find = Names.find

    def counted(self: Names, ref: str) -> Named:
        found.append(ref)
        return find(self, ref)

    monkeypatch.setattr(Names, "find", counted)
    stage = {"adapters": ["celcomic:0.01"] * 300}
    report = studio.check(Job(source=sources["picture"], stages=[stage], output="never.png"))
    assert len(report.adapters) == 300 and found.count("celcomic") == 1


def test_a_lora_that_does_not_fit_is_told_at_its_first_place(
    studio: Studio, sources: Mapping[str, Path], adapters: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AdapterDoesNotFit("it does not fit")

    monkeypatch.setattr("sakuga.render.check.check_adapter", refuse)
    stage = {"adapters": ["celcomic", "ink", "celcomic", "ink"], "prompt": "<lora:celcomic>"}
    with pytest.raises(Several) as caught:
        studio.check(Job(source=sources["picture"], stages=[stage], output="never.png"))
    assert [error.place for error in caught.value.findings] == ["stages.0.adapters.0", "stages.0.adapters.1"]


def test_what_a_scheduler_s_config_says_in_vain_is_in_the_report(draw: Any, sources: Mapping[str, Path]) -> None:
    report = draw(sources["picture"], {}).report
    (told,) = [model for model in report.models if model["role"] == "base scheduler"]
    assert told["path"] == str(STARTER / "scheduler" / "scheduler_config.json")
    left = {one["key"]: one["reason"] for one in told["left_out"]}
    assert left and all(left.values())
    assert not set(left) & {"beta_start", "prediction_type", "num_train_timesteps", "rescale_betas_zero_snr"}
    assert told["used"] > 0


def test_the_starter_s_own_loras_say_what_they_were_made_for() -> None:
    for path in sorted((STARTER / "loras").glob("*.safetensors")):
        with TensorFile.open(path) as file:
            found = show(file)
        assert found["family"] == "sd15"
        assert found["family_reason"] == "its metadata's ss_base_model_version says sakuga_starter"


def test_weights_that_meet_nothing_in_the_file_are_told(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path
) -> None:
    stage = {"adapters": [{"file": "ink", "blocks": "NONE", "steps": "0:1"}]}
    report = studio.check(Job(source=sources["picture"], stages=[stage], output=tmp_path / "never.png"))
    assert any("all its block weights are 0" in note.reason for note in report.notes)
    assert "ink at 1.0, blocks NONE, steps 0:1, " in report.text()


def test_block_weights_for_blocks_that_the_base_lacks_were_taken_without_a_word(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path
) -> None:
    def noted(blocks: object) -> list[str]:
        job = Job(source=sources["picture"], stages=[{"adapters": [{"file": "ink", "blocks": blocks}]}])
        report = studio.check(job.model_copy(update={"output": tmp_path / "never.png"}))
        return [note.reason for note in report.notes if note.what == "stages.0.adapters.0"]

    assert noted({"IN11": 0.5, "D03": 1, "M00": 0.5}) == [
        "this base has no D03, IN11, so the weight given there has no effect"
    ]
    assert noted({"M00": 0.5}) == noted("OUTD") == noted({"up": {"block_3": 0.4}, "down": 0.5}) == []
    lacking, left_out = noted([1.0] * 12)
    assert lacking == "this base has no IN05, IN08, so the weight given there has no effect"
    assert left_out.startswith("a list of 12 leaves out IN0") and left_out.endswith(", where it has layers: they get 0")
    assert noted([1.0] * 61)[1].endswith("where it has layers: they keep the adapter's own weight")
    with pytest.raises(JobError, match="no such block"):
        noted({"IN99": 1})
