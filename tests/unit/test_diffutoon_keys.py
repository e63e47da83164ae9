"""What single keys of an old config become: adapters, embeddings, smoothers, tiles, noise, and where paths lead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.old_configs import old

from sakuga.render.old import written_from
from sakuga.render.smoothers import find_smoother
from sakuga.spec.load import Written
from sakuga.spec.smoothing import FastBlendOptions, RateOptions

INPUT = "pipeline.pipeline_inputs"


def made(changes: dict[str, Any] | None = None) -> Written:
    return written_from(old(changes))


def notes(changes: dict[str, Any]) -> dict[str, str]:
    origin = made(changes).origin
    assert origin is not None
    return {note.what: note.reason for note in origin.notes}


def became(written: Written) -> dict[str, str]:
    assert written.origin is not None
    return {key["key"]: key["became"] for key in written.origin.keys}


def test_lora_files_of_model_list_are_paired_with_their_alphas() -> None:
    written = made({"models.model_list.4": "celcomic", "models.model_list.5": "ink", "models.lora_alphas": [0.25]})
    assert [(use.file, use.weight) for use in written.job.stages[0].adapters] == [("celcomic", 0.25), ("ink", 1.0)]
    assert written.origin is not None
    assert sum("July 2024" in note.reason for note in written.origin.notes) == 2


def test_embeddings_of_the_folder_are_taken_where_a_prompt_calls_them(tmp_path: Path) -> None:
    for name in ("flat.pt", "flatter.safetensors", "readme.txt", "bad_v1.3.pt", "fla.pt"):
        (tmp_path / name).touch()
    changes = {"models.textual_inversion_folder": str(tmp_path), f"{INPUT}.negative_prompt": "flatter, bad_v1.3"}
    names = [Path(name).name for name in made(changes).job.stages[0].embeddings]
    assert names == ["bad_v1.3.pt", "flat.pt", "flatter.safetensors"]


def test_smoothers_run_at_their_steps_and_the_step_count_is_the_end() -> None:
    changes = {
        "smoother_configs": [{"processor_type": "FastBlend", "config": {"window_size": 3, "batch_size": 64}}],
        f"{INPUT}.smoother_progress_ids": [0, 4],
        f"{INPUT}.num_inference_steps": 4,
    }
    written = made(changes)
    (stage,) = written.job.stages
    assert stage.smooth_at == (-1, 0)
    assert stage.smoothers[0].kind == "fastblend" and dict(stage.smoothers[0].options)["window"] == 3
    assert dict(stage.smoothers[0].options)["mode"] == "fast"
    assert dict(stage.smoothers[0].options)["batch"] == 64  # in accurate mode a batch shares a picture
    assert became(written)["smoother_configs.0.config.batch_size"] == "stages.0.smoothers.0: batch"


def test_every_key_of_a_smoother_reaches_its_option() -> None:
    keys = {"inference_mode": "accurate", "window_size": 30, "batch_size": 64, "minimum_patch_size": 7, "num_iter": 3,
            "guide_weight": 5.0, "initialize": "random", "tracking_window_size": 1}  # fmt: skip
    smoothers = [
        {"processor_type": "FastBlend", "config": keys | {"threads_per_block": 8, "gpu_id": 0}},
        {"processor_type": "Contrast", "config": {"rate": 1.2}},
        {"processor_type": "Sharpness", "config": {}},
    ]
    written = made({"smoother_configs": smoothers, f"{INPUT}.smoother_progress_ids": [0, -1]})
    (stage,) = written.job.stages
    assert [use.kind for use in stage.smoothers] == ["fastblend", "contrast", "sharpness"]
    read = [find_smoother(use.kind).read(use.options, "") for use in stage.smoothers]
    assert read == [
        FastBlendOptions(mode="accurate", window=30, batch=64, patch=7, iterations=3, guide_weight=5.0,
                         initialize="random", tracking=1),
        RateOptions(rate=1.2), RateOptions(rate=1.5),
    ]  # fmt: skip
    assert became(written)["smoother_configs.0.config.gpu_id"].startswith("not needed")


def test_tiles_keep_their_sides_on_any_size() -> None:
    """1.x left NaN where they did not fit; here the last one lies at the border."""
    (stage,) = made({f"{INPUT}.tiled": True, f"{INPUT}.tile_size": 8, f"{INPUT}.tile_stride": 5}).job.stages
    assert (stage.tile, stage.tile_stride) == (8, 5)
    (stage,) = made({f"{INPUT}.tile_size": 8}).job.stages
    assert stage.tile is None


def test_paths_are_of_the_working_directory_and_else_beside_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, beside = tmp_path / "here", tmp_path / "beside"
    for folder in (here, beside):
        (folder / "words").mkdir(parents=True)
        (folder / "words" / "flat.pt").touch()
    config = old({"models.textual_inversion_folder": "words"})
    monkeypatch.chdir(tmp_path)
    (found,) = written_from(config, folder=beside).job.stages[0].embeddings
    assert Path(found) == beside / "words" / "flat.pt"
    monkeypatch.chdir(here)
    (found,) = written_from(config, folder=beside).job.stages[0].embeddings
    assert Path(found) == Path("words/flat.pt")


def test_a_long_clip_gets_noise_that_needs_no_whole_clip(tmp_path: Path) -> None:
    import numpy as np

    from sakuga.video.pictures import encode_picture

    for number in range(50):
        (tmp_path / f"{number}.png").write_bytes(encode_picture(np.zeros((48, 64, 3), np.uint8), ".png"))
    source = {"video_file": None, "image_folder": str(tmp_path), "height": None, "width": None}
    changes: dict[str, Any] = {"data.input_frames": source, "data.controlnet_frames": [source, source]}
    assert made(changes).job.stages[0].noise == "frame"
    changes["models.model_list"] = ["starter", "lineart", "tile"]
    assert made(changes).job.stages[0].noise == "shared"
    assert "--noise diffsynth1 --span 50" in notes(changes)["pipeline.seed"]


@pytest.mark.parametrize(("cross", "told"), [(True, "stages.0.window"), (False, "without effect")])
def test_windows_count_where_frames_look_at_each_other(cross: bool, told: str) -> None:
    """The editing branch has no motion module, and its windows were said to be without effect."""
    changes = {"models.model_list": ["starter", "lineart", "tile"], f"{INPUT}.cross_frame_attention": cross}
    written = made(changes | {f"{INPUT}.unet_batch_size": 4})
    assert became(written)[f"{INPUT}.animatediff_batch_size"].startswith(told)
