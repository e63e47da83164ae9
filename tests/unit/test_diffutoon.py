"""Old configs of Diffutoon: what each key becomes, and every mistake named with the key's path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.old_configs import GONE, SOURCE, old, pair

from sakuga.errors import SakugaError, Several
from sakuga.render.old import written_from
from sakuga.spec.diffutoon import is_old, read_old
from sakuga.spec.diffutoon_keys import INPUTS, MODELS
from sakuga.spec.job import Job
from sakuga.spec.load import Written

INPUT, START = "pipeline.pipeline_inputs", "data.input_frames.start_frame_id"
LONG = {f"data.{source}.end_frame_id": 400 for source in ("input_frames", "controlnet_frames.0", "controlnet_frames.1")}


def made(changes: dict[str, Any] | None = None) -> Written:
    return written_from(old(changes))


def findings(config: dict[str, Any]) -> dict[str, SakugaError]:
    """What is wrong with a config, by the path that it is told at."""
    with pytest.raises(SakugaError) as raised:
        written_from(config)
    error = raised.value
    return {str(one.place): one for one in (error.findings if isinstance(error, Several) else [error])}


def notes(changes: dict[str, Any]) -> dict[str, str]:
    origin = made(changes).origin
    assert origin is not None
    return {note.what: note.reason for note in origin.notes}


def became(written: Written) -> dict[str, str]:
    assert written.origin is not None
    return {key["key"]: key["became"] for key in written.origin.keys}


def test_a_config_becomes_the_job_that_it_means() -> None:
    job = made({"models.lora_units": [{"model_path": "celcomic", "scale": 0.8}, {"model_path": "ink"}]}).job
    (stage,) = job.stages
    assert (str(job.source), job.base, job.seed, str(job.size), job.crop) == ("demo", "starter", 3, "64x48", True)
    assert (job.frames, job.fps, job.dtype) == ((0, 2), 12.0, "fp16")
    assert (str(job.output), str(job.pictures)) == ("output/video.mp4", "output/frames")
    assert [(use.file, use.weight, use.alpha) for use in stage.adapters] == [
        ("celcomic", 0.8, "file"), ("ink", 1.0, "file")
    ]  # fmt: skip
    assert stage.controls is not None
    assert [(use.kind, use.file, use.scale, use.source) for use in stage.controls] == [
        ("lineart", "lineart", 0.5, "stage"), ("tile", "tile", 0.5, "stage")
    ]  # fmt: skip
    assert (stage.prompt, stage.prompt_style, stage.sampler, stage.noise) == (
        "flat colours",
        "plain",
        "ddim",
        "diffsynth1",
    )
    assert (stage.steps, stage.guidance, stage.strength, stage.clip_skip) == (1, 2.0, 1.0, 2)
    assert (stage.motion, stage.window, stage.stride, stage.cross_frame) == ("starter_motion", 4, 2, False)


def test_every_key_is_told_with_what_became_of_it() -> None:
    written = made()
    told = became(written)
    names = {f"{INPUT}.{key.name}" for key in INPUTS} & {
        f"{INPUT}.{name}" for name in old()["pipeline"]["pipeline_inputs"]
    }
    assert names <= set(told) and all(told.values())
    assert told["models.model_list.1"] == "stages.0.motion"
    assert told[f"{INPUT}.num_frames"].startswith("not needed")


def test_left_out_keys_have_the_defaults_of_1x() -> None:
    names = [f"{INPUT}.{key}" for key in ("cfg_scale", "clip_skip", "num_inference_steps", "animatediff_batch_size",
                                          "animatediff_stride", "denoising_strength")]  # fmt: skip
    (stage,) = made(dict.fromkeys(names, GONE)).job.stages
    assert (stage.guidance, stage.clip_skip, stage.steps, stage.window, stage.stride) == (7.5, 1, 20, 16, 8)
    assert stage.strength == 1.0


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"models": GONE}, "models", "needed"),
        ({"models.model_list": "starter"}, "models.model_list", "list of texts"),
        ({"models.model_lst": []}, "models.model_lst", "model_list"),
        ({"models.controlnet_units.1.scale": float("nan")}, "models.controlnet_units.1.scale", "not a finite number"),
        ({"models.controlnet_units.1.scale": "0.5"}, "models.controlnet_units.1.scale", "0.5 without quotes"),
        ({"models.controlnet_units.0.processor_id": "linart"}, "models.controlnet_units.0.processor_id", "lineart"),
        ({"models.controlnet_units.0.model_path": "linart"}, "models.controlnet_units.0.model_path", "lineart"),
        ({"models.controlnet_units.0.model_path": "starter"}, "models.controlnet_units.0.model_path", "ControlNet"),
        ({"models.lora_units": [{"scale": 1.0}]}, "models.lora_units.0.model_path", "needed"),
        ({"models.lora_units": [{"model_path": "ink", "scale": float("nan")}]}, "models.lora_units.0.scale", "finite"),
        ({"models.lora_units": [{"model_path": "inq"}]}, "models.lora_units.0.model_path", "ink"),
        ({"models.lora_units": [{"model_path": "tile"}]}, "models.lora_units.0.model_path", "a LoRA"),
        ({"models.model_list": ["lineart", "tile"]}, "models.model_list", "one checkpoint"),
        ({"models.model_list.4": "gone.safetensors"}, "models.model_list.4", "no such file"),
        ({"models.textual_inversion_folder": "gone"}, "models.textual_inversion_folder", "no such folder"),
        ({"models.device": "cda"}, "models.device", "no such device"),
        ({"data.controlnet_frames.1": GONE}, "data.controlnet_frames", "1 sources for 2 units"),
        ({"data.controlnet_frames.2": SOURCE}, "data.controlnet_frames", "3 sources for 2 units"),
        ({"data.input_frames": None}, "data.input_frames", "no clip to work on"),
        ({START: -1}, START, "0 to"),
        ({"data.input_frames.video_file": None}, "data.input_frames", "without frames"),
        ({"data.input_frames.video_file": "gone.mp4"}, "data.input_frames.video_file", "gone.mp4"),
        ({"data.input_frames.end_frame_id": 0}, "data.input_frames.end_frame_id", "larger end_frame_id"),
        ({"data.input_frames.end_frame_id": 400} | LONG, "data.input_frames.end_frame_id", "48 frames"),
        ({**dict.fromkeys(LONG), START: 50}, START, "48 frames"),
        ({"data.input_frames.width": 63.5}, "data.input_frames.width", "whole number"),
        ({"data.controlnet_frames.1.width": 128}, "data.controlnet_frames.1.width", "one size"),
        ({"data.controlnet_frames.1.end_frame_id": 3}, "data.controlnet_frames.1.end_frame_id", "3 frames"),
        ({"data.controlnet_frames.1.end_frame_id": None}, "data.controlnet_frames.1.end_frame_id", "48 frames"),
        ({"data.output_folder": " "}, "data.output_folder", "empty"),
        ({f"{INPUT}.prompt": GONE}, f"{INPUT}.prompt", "needed"),
        ({f"{INPUT}.animatediff_stride": 5}, f"{INPUT}.animatediff_stride", "leave frames out"),
        ({f"{INPUT}.animatediff_batch_size": 33}, f"{INPUT}.animatediff_batch_size", "1 to 32"),
        ({f"{INPUT}.denoising_strength": 0}, f"{INPUT}.denoising_strength", "above 0"),
        ({f"{INPUT}.denoising_strength": 1.5}, f"{INPUT}.denoising_strength", "0 to 1"),
        ({f"{INPUT}.cfg_scale": float("nan")}, f"{INPUT}.cfg_scale", "not a finite number"),
        ({f"{INPUT}.animatediff_stride": 0}, f"{INPUT}.animatediff_stride", "1 to 32"),
        ({f"{INPUT}.seed": 1}, f"{INPUT}.seed", "pipeline.seed"),
        ({f"{INPUT}.smoother": None}, f"{INPUT}.smoother", "smoother_configs"),
        ({f"{INPUT}.cfg_scal": 7}, f"{INPUT}.cfg_scal", "cfg_scale"),
        ({f"{INPUT}.tiled": True, f"{INPUT}.tile_stride": 65}, f"{INPUT}.tile_stride", "tile_size"),
        ({f"{INPUT}.ipadapter_images": ["x"]}, f"{INPUT}.ipadapter_images", "IP-Adapter"),
        ({"smoother_configs": [{"processor_type": "RIFE", "config": {}}]}, "smoother_configs.0.processor_type", "RIFE"),
        (
            {"smoother_configs": [{"processor_type": "FastBlend", "config": {"windowsize": 3}}]},
            "smoother_configs.0.config.windowsize",
            "window_size",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key(changes: dict[str, Any], place: str, words: str) -> None:
    found = findings(old(changes))
    assert place in found, found
    assert words in str(found[place])
    assert found[place].expected or found[place].nearest or found[place].do, "what to set instead"


def test_two_checkpoints_and_two_motion_modules_are_refused(tmp_path: Path) -> None:
    from sakuga.models.library import STARTER

    motion = STARTER / "motion" / "starter_motion.safetensors"
    twice = {"models.model_list": ["starter", str(STARTER), "starter_motion", str(motion), "lineart", "tile"]}
    with pytest.raises(SakugaError) as raised:
        written_from(old(twice))
    told = str(raised.value)
    assert "one checkpoint" in told and "at most one motion module" in told


def test_all_that_is_wrong_is_told_together() -> None:
    found = findings(old({f"{INPUT}.animatediff_stride": 9, "models.device": 3, "data.fps": "12"}))
    assert set(found) == {f"{INPUT}.animatediff_stride", "models.device", "data.fps"}
    found = findings(old({"models.model_list.0": "gone", "data.input_frames.video_file": "gone.mp4"}))
    assert {"models.model_list.0", "data.input_frames.video_file"} <= set(found)
    both = {f"{INPUT}.animatediff_stride": 9, "models.model_list.0": "gone", "data.input_frames.video_file": "gone.mp4"}
    assert set(findings(old(both))) == set(both), "what the config says wrong and what is not there"


@pytest.mark.parametrize(
    ("changes", "what", "words"),
    [
        ({"models.lora_units": [{"model_path": "ink", "keywords": "x"}]}, "models.lora_units.0.keywords", "no effect"),
        ({"models.lora_alphas": [0.5]}, "models.lora_alphas", "lora_units"),
        ({"models.controlnet_units.0.weight": 1}, "models.controlnet_units.0.weight", "no effect"),
        ({"models.model_list.4": "flatpaint"}, None, ""),
        ({"smoother_config": []}, "smoother_config", "smoother_configs may be meant"),
        ({"smoother_configs": [{"processor_type": "FastBlend"}]}, f"{INPUT}.smoother_progress_ids", "do not run"),
        ({f"{INPUT}.smoother_progress_ids": [-1]}, f"{INPUT}.smoother_progress_ids", "no smoother_configs"),
        ({f"{INPUT}.cross_frame_attention": True}, f"{INPUT}.cross_frame_attention", "unet_batch_size"),
        ({f"{INPUT}.animatediff_batch_size": 1, f"{INPUT}.animatediff_stride": 1}, f"{INPUT}.animatediff_batch_size",
         "nothing to compare"),
        ({"smoother_configs": [{"processor_type": "Contrast"}], f"{INPUT}.smoother_progress_ids": [7]},
         f"{INPUT}.smoother_progress_ids.0", "no step 7"),
        ({f"{INPUT}.prompt": "a <lora:ink:1>"}, f"{INPUT}.prompt", "lora_units"),
        ({f"{INPUT}.prompt": "a (word:1.2)"}, f"{INPUT}.prompt", "(word:1.2) is read as words"),
        ({"data.input_frames.image_folder": "x"}, "data.input_frames.image_folder", "video_file"),
        ({"data.input_frames.width": None}, "data.input_frames.height", "both sides"),
        ({}, "data.input_frames.height", "no multiple of 64"),
    ],
)  # fmt: skip
def test_what_has_no_effect_or_another_is_noted(changes: dict[str, Any], what: str | None, words: str) -> None:
    found = notes(changes)
    assert what is None or words in found[what], found


def test_a_pair_is_one_job_and_the_second_draws_the_colours_of_the_first() -> None:
    written = written_from(pair(second={"models.controlnet_units.0.processor_id": "lineart"}))
    first, second = written.job.stages
    assert (first.motion, first.strength, first.cross_frame, first.frames_at_once) == ("none", 0.9, True, 8)
    assert second.controls is not None
    assert [use.source for use in second.controls] == ["stage", "clip"]
    assert str(written.job.output) == "output/video.mp4"
    assert "config_stage_1.data.output_folder" in became(written)


def test_a_source_that_names_the_first_stages_video_is_the_one_that_gets_it() -> None:
    other = {"video_file": "output/color_video/video.mp4", "image_folder": None, "height": 48, "width": 64,
             "start_frame_id": None, "end_frame_id": None}  # fmt: skip
    job = written_from(pair(second={"data.controlnet_frames.1": other})).job
    assert job.stages[1].controls is not None
    assert [use.source for use in job.stages[1].controls] == ["clip", "stage"]


@pytest.mark.parametrize(
    "said",
    [{"video_file": "gone.mp4"}, {"video_file": None}, {"start_frame_id": 3, "end_frame_id": 9}, {"end_frame_id": 900},
     {"width": 512, "height": 512}],
)  # fmt: skip
def test_what_the_first_stage_draws_is_not_looked_for(said: dict[str, Any]) -> None:
    """The two-stage script writes over this source, whatever stands there, and takes the whole video."""
    job = written_from(pair(second={f"data.controlnet_frames.0.{name}": value for name, value in said.items()})).job
    assert job.stages[1].controls is not None
    assert [(use.source, use.frames) for use in job.stages[1].controls] == [("stage", None), ("clip", None)]


def test_the_stages_of_a_pair_may_have_two_sizes_but_one_clip() -> None:
    small = {f"data.{source}.{side}": value for source in ("input_frames", "controlnet_frames.0", "controlnet_frames.1")
             for side, value in (("width", 32), ("height", 24))}  # fmt: skip
    job = written_from(pair(first=small)).job
    assert (str(job.size), str(job.stages[0].size), job.stages[1].size) == ("64x48", "32x24", None)
    config = pair(second={"data.input_frames.start_frame_id": 1, "data.controlnet_frames.1.start_frame_id": 1})
    config["config_stage_2"]["data"]["input_frames"]["end_frame_id"] = 3
    config["config_stage_2"]["data"]["controlnet_frames"][1]["end_frame_id"] = 3
    assert "config_stage_2.data.input_frames.start_frame_id" in findings(config)


def test_half_a_pair_and_what_stands_beside_it_are_named() -> None:
    assert "config_stage_2" in findings({"config_stage_1": old()})


def test_a_job_is_no_old_config_and_an_old_config_no_job() -> None:
    assert is_old(old()) and is_old(pair()) and is_old({"pipeline": 3})
    assert not is_old({"source": "clip.mp4", "models": ["x"]}) and not is_old([old()])
    assert not is_old(Job(source="clip.mp4").model_dump(mode="json"))


def test_reading_changes_nothing_that_was_given() -> None:
    config = old()
    written_from(config)
    assert config == old()
    assert len(read_old(config)) == 1 and {key.name for key in MODELS} >= set(config["models"])


@pytest.mark.parametrize("guide", ["diffutoon.md", "diffutoon.zh-CN.md"])
def test_the_guides_have_every_key(guide: str) -> None:
    from sakuga.spec import diffutoon_keys as table

    text = (Path(__file__).resolve().parents[2] / "docs" / "guides" / guide).read_text(encoding="utf-8")
    told = text[text.index("| `models.model_list`") :]
    keys = (*table.TOP[3:], *table.MODELS, *table.UNIT, *table.LORA_UNIT, *table.DATA, *table.SOURCE, *table.INPUTS)
    missing = [key.name for key in (*keys, *table.SMOOTHER) if key.name not in told]
    assert not missing
