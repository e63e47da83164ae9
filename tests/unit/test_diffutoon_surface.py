"""The old surface: names, signatures and small manners of DiffSynth 1.x, on which people's scripts rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.old_configs import old

from sakuga import diffutoon
from sakuga.diffutoon import (
    ControlNetConfigUnit,
    ModelManager,
    SDVideoPipeline,
    SDVideoPipelineRunner,
    VideoData,
    save_frames,
    save_video,
)
from sakuga.errors import ClipError, JobError, SakugaError
from sakuga.models.library import STARTER

DEMO = str(STARTER / "demo.mp4")


def names(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_names_and_signatures_are_those_of_1x() -> None:
    assert set(diffutoon.__all__) == {
        "ModelManager", "SDVideoPipelineRunner", "SDVideoPipeline", "ControlNetConfigUnit", "VideoData", "save_video",
        "save_frames",
    }  # fmt: skip
    load = inspect.signature(SDVideoPipelineRunner.load_pipeline).parameters
    assert list(load) == [
        "self", "model_list", "textual_inversion_folder", "device", "lora_alphas", "controlnet_units", "lora_units"
    ]  # fmt: skip
    assert load["lora_units"].default == [] and load["lora_alphas"].default is inspect.Parameter.empty
    assert names(SDVideoPipelineRunner) == ["in_streamlit"] and names(SDVideoPipelineRunner.run) == ["self", "config"]
    assert names(ModelManager)[:2] == ["torch_dtype", "device"]
    assert names(ModelManager.load_lora) == ["self", "file_path", "lora_alpha"]
    assert names(ModelManager.fetch_model)[:3] == ["self", "model_name", "file_path"]
    assert names(ControlNetConfigUnit)[:3] == ["processor_id", "model_path", "scale"]
    assert names(VideoData)[:4] == ["video_file", "image_folder", "height", "width"]
    assert names(save_video)[:4] == ["frames", "save_path", "fps", "quality"] and names(save_frames)[1] == "save_path"


def test_a_manager_keeps_loras_and_lets_them_go() -> None:
    manager = ModelManager(torch_dtype=torch.float16, device="cuda")
    manager.load_lora("a.safetensors", lora_alpha=0.5)
    manager.load_lora(["b.safetensors", "c.safetensors"])
    assert manager.loras == (("a.safetensors", 0.5), ("b.safetensors", 1.0), ("c.safetensors", 1.0))
    manager.set_lora_scale("b.safetensors", 0.2)
    manager.unload_lora("a.safetensors")
    assert manager.loras == (("b.safetensors", 0.2), ("c.safetensors", 1.0))
    with pytest.raises(JobError, match="no such LoRA"):
        manager.unload_lora("a.safetensors")


def test_models_are_fetched_by_their_names_in_1x() -> None:
    manager = ModelManager()
    manager.load_models(["starter", "starter_motion", "tile", "lineart"])
    manager.load_model("tile")
    assert manager.model_list == ["starter", "starter_motion", "tile", "lineart"]
    fetched = [manager.fetch_model(name) for name in ("sd_unet", "sd_motion_modules", "sd_controlnet", "sd_ipadapter")]
    paths = [one if one is None else one.path for one in fetched if not isinstance(one, tuple)]
    assert paths == ["starter", "starter_motion", "tile", None]
    found = manager.fetch_model("sd_controlnet", file_path="lineart", require_model_path=True)
    assert isinstance(found, tuple) and found[1] == "lineart"


def test_a_pipeline_says_the_models_of_a_config() -> None:
    manager = ModelManager(device="cpu")
    manager.load_models(["starter", "tile"])
    manager.load_lora("ink", lora_alpha=0.4)
    pipe = SDVideoPipeline.from_model_manager(manager, [ControlNetConfigUnit("tile", "tile", 0.5)])
    pipe.prompter.load_textual_inversions(None)
    assert pipe.models() == {
        "model_list": ["starter", "tile"],
        "textual_inversion_folder": None,
        "device": "cpu",
        "controlnet_units": [{"processor_id": "tile", "model_path": "tile", "scale": 0.5}],
        "lora_units": [{"model_path": "ink", "scale": 0.4}],
    }
    pipe.prompter.load_textual_inversions("a")
    with pytest.raises(JobError):
        pipe.prompter.load_textual_inversions("b")


def test_frames_go_out_and_in_as_pil_pictures(tmp_path: Path) -> None:
    pixels = np.arange(3 * 40 * 60 * 3, dtype=np.uint8).reshape(3, 40, 60, 3)
    save_frames([Image.fromarray(frame) for frame in pixels], str(tmp_path / "frames"))
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == ["0.png", "1.png", "2.png"]
    data = VideoData(image_folder=str(tmp_path / "frames"))
    assert len(data) == 3 and np.array_equal(np.asarray(data[2]), pixels[2])
    with pytest.raises(IndexError):
        data[3]
    data.set_length(2)
    assert len(data.raw_data()) == 2
    data.set_shape(20, 20)
    assert data[0].size == (20, 20)
    save_video(data, str(tmp_path / "video.mp4"), fps=7)
    assert len(VideoData(video_file=str(tmp_path / "video.mp4"), height=8, width=12)) == 2
    save_video(list(pixels), str(tmp_path / "video.mp4"), fps=7)
    with pytest.raises(JobError):
        VideoData()
    with pytest.raises(ClipError):
        VideoData(video_file=str(tmp_path / "gone.mp4"))


def test_the_middle_is_kept_when_a_frame_is_cut(tmp_path: Path) -> None:
    from sakuga.video.colour import cropped

    wide = np.broadcast_to(np.arange(1920, dtype=np.uint16)[None, :, None], (1080, 1920, 3)).copy().view(np.uint16)
    kept = cropped(wide, 1536, 1536)  # type: ignore[arg-type]
    assert kept.shape == (1080, 1080, 3) and (kept[0, 0, 0], kept[0, -1, 0]) == (420, 1499)
    tall = cropped(wide.transpose(1, 0, 2), 64, 64)  # type: ignore[arg-type]
    assert tall.shape == (1080, 1080, 3) and (tall[0, 0, 0], tall[-1, 0, 0]) == (420, 1499)
    assert cropped(wide, 1024, 576).shape == wide.shape  # type: ignore[arg-type]


def test_all_that_is_wrong_with_a_config_is_told_before_anything_is_loaded() -> None:
    config = old({"models.controlnet_units.0.scale": "much", "data.fps": -1, "models.lora_unts": []})
    with pytest.raises(SakugaError) as raised:
        SDVideoPipelineRunner().run(config)
    assert "lora_units" in str(raised.value)
    with pytest.raises(SakugaError) as raised:
        SDVideoPipelineRunner().run(old({"models.controlnet_units.0.scale": "much", "data.fps": -1}))
    assert "models.controlnet_units.0.scale" in str(raised.value) and "data.fps" in str(raised.value)


def test_a_runner_of_ones_own_may_take_more_and_less() -> None:
    class Own(SDVideoPipelineRunner):
        def load_pipeline(self, model_list: Any, textual_inversion_folder: Any, device: Any, lora_alphas: Any,  # type: ignore[override]
                          controlnet_units: Any, my_strength: float) -> Any:  # fmt: skip
            raise RuntimeError(f"reached with {my_strength}")

    with pytest.raises(RuntimeError, match=r"reached with 0\.5"):
        Own().run(old({"models.my_strength": 0.5}))
    with pytest.raises(JobError) as raised:
        Own().run(old({"models.my_strength": 0.5, "models.lora_units": []}))
    assert raised.value.place == "models.lora_units"


@pytest.mark.parametrize(
    ("act", "title"),
    [
        (lambda: VideoData(video_file=DEMO, heigth=64), "VideoData takes no 'heigth'"),
        (lambda: save_video([], "a.mp4", fps=10), "there are no frames"),
        (lambda: save_video([np.zeros((8, 8, 3), np.uint8)], "a.mp4", fps=0), "no number of frames per second"),
        (lambda: save_video([np.zeros((8, 8, 3), np.uint8)], "a.mp4", fps=float("nan")), "no number of frames"),
        (lambda: save_frames([1], "a"), "this is no picture"),
        (lambda: save_frames([np.zeros((8, 8), np.uint8)], "a"), "this is no picture"),
        (lambda: ModelManager().load_lora(None), "this is no path"),
        (lambda: ModelManager().load_models([5]), "this is no path"),
    ],
)
def test_wrong_calls_of_the_old_surface_are_told(
    act: Callable[[], object], title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobError) as told:
        act()
    assert title in told.value.title and told.value.expected
    assert not (tmp_path / "a.mp4").exists()


def test_frames_are_counted_from_the_end_too_and_one_path_is_no_list_of_letters() -> None:
    clip = VideoData(video_file=DEMO, height=32, width=32)
    assert np.array_equal(clip[-1], clip[len(clip) - 1])
    with pytest.raises(IndexError):
        clip[len(clip)]
    manager = ModelManager()
    manager.load_models("starter")
    assert manager.model_list == ["starter"]


class Forgetful(SDVideoPipelineRunner):
    def load_pipeline(self, *_: Any, **__: Any) -> Any:
        return None


@pytest.mark.parametrize("config", [None, "config.json", []])
def test_what_is_no_config_is_told(config: Any) -> None:
    with pytest.raises(JobError, match="this is not a config"):
        SDVideoPipelineRunner().run(config)


def test_a_load_pipeline_that_returns_nothing_is_told() -> None:
    with pytest.raises(JobError, match="load_pipeline gives no pipeline"):
        Forgetful().run(old())
