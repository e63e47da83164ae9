"""Old configs rendered whole on the starter: what comes out and where, LoRA units, pairs, examples, presets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.old_configs import old, pair

from sakuga.cli.main import main
from sakuga.diffutoon import ControlNetConfigUnit, ModelManager, SDVideoPipeline, SDVideoPipelineRunner
from sakuga.models.library import STARTER
from sakuga.models.load import load_base
from sakuga.render import parts
from sakuga.render.old import written_from
from sakuga.render.smoothers import contrast, fastblend
from sakuga.render.studio import Studio
from sakuga.report import Report
from sakuga.spec.job import Job, Stage
from sakuga.spec.presets import PRESETS
from sakuga.spec.smoothing import FastBlendOptions, RateOptions
from sakuga.tensors.file import TensorFile
from sakuga.video.colour import cropped, resize
from sakuga.video.pictures import read_picture
from sakuga.video.read import open_clip

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "diffutoon"
TINY = ["--size", "64x48", "--frames", "0:2", "--overwrite"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(studio: Studio) -> Callable[..., Report]:
    """Render an old config with changes, on the Studio of all tests."""

    def render(changes: dict[str, Any] | None = None, config: dict[str, Any] | None = None) -> Report:
        written = written_from(config or old(changes), overrides=["overwrite=true"])
        return studio.render(written.job, origin=written.origin)

    return render


def frames(folder: str = "output/frames") -> str:
    """The hash of all pictures of a run."""
    files = sorted(Path(folder).iterdir(), key=lambda path: int(path.stem))
    return hashlib.sha256(b"".join(read_picture(path).tobytes() for path in files)).hexdigest()


def test_the_main_pipeline_leaves_what_1x_left(run: Callable[..., Report]) -> None:
    report = run({"data.output_folder": "some/where"})
    assert sorted(path.name for path in Path("some/where").iterdir()) == [
        "config.json", "frames", "video.mp4", "video.report.json"
    ]  # fmt: skip
    assert sorted(path.name for path in Path("some/where/frames").iterdir()) == ["0.png", "1.png"]
    with open_clip(Path("some/where/video.mp4")) as clip:
        assert (clip.frame_count, clip.width, clip.height, clip.has_audio) == (2, 64, 48, True)
    saved = json.loads(Path("some/where/config.json").read_text())
    inputs = saved["pipeline"]["pipeline_inputs"]
    assert (inputs["num_frames"], inputs["width"], inputs["height"], inputs["input_frames"]) == (2, 64, 48, [])
    assert saved["models"] == old()["models"]
    told = json.loads(Path("some/where/video.report.json").read_text())
    assert {"key": "data.fps", "value": "12", "became": "fps"} in told["keys"] and report.keys == told["keys"]
    assert sum("fp16 was asked for" in note["reason"] for note in told["notes"]) == (not torch.cuda.is_available())


def test_another_speed_and_shape(run: Callable[..., Report]) -> None:
    sizes = {f"data.{source}.{side}": 45 for source in ("input_frames", "controlnet_frames.0", "controlnet_frames.1")
             for side in ("width", "height")}  # fmt: skip
    report = run({"data.fps": 30} | sizes)
    with open_clip(Path("output/video.mp4")) as clip:
        assert (clip.width, clip.height, clip.rate, clip.has_audio) == (45, 45, 30, False)
    assert any("sound is left out" in note.reason for note in report.notes)


def test_two_lora_units(run: Callable[..., Report], monkeypatch: pytest.MonkeyPatch) -> None:
    def units(*pairs: tuple[str, float]) -> dict[str, Any]:
        return {"models.lora_units": [{"model_path": path, "scale": scale} for path, scale in pairs]}

    run()
    without = frames()
    run(units(("celcomic", 0.0), ("ink", 0.0)))
    assert frames() == without
    report = run(units(("celcomic", 0.7), ("ink", 0.4)))
    both = frames()
    assert both != without
    assert [(use["name"], use["weight"], use["keys"]["refused"]) for use in report.adapters] == [
        ("celcomic", 0.7, []), ("ink", 0.4, [])
    ]  # fmt: skip
    run(units(("ink", 0.4), ("celcomic", 0.7)))
    assert frames() == both


def test_a_lora_unit_that_fits_nothing_is_an_error_that_names_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    save_file({f"lora_unet_gone.lora_{side}.weight": torch.zeros(4, 4) for side in ("down", "up")}, "gone.safetensors")
    Path("old.json").write_text(json.dumps(old({"models.lora_units": [{"model_path": "gone.safetensors"}]})))
    assert main(["check", "old.json"]) == 2
    told = capsys.readouterr().err
    assert "fits nothing in this model" in told and "old.json: models.lora_units.0.model_path" in told


def test_the_weights_are_the_same_after_a_run_with_lora_units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundles: list[Any] = []

    def load(*words: Any) -> Any:
        bundles.append(load_base(*words))
        return bundles[-1]

    def digest() -> str:
        found = hashlib.sha256()
        for module in bundles[0].parts.values():
            for tensor in module.state_dict().values():
                found.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    monkeypatch.setattr(parts, "load_base", load)
    with Studio() as studio:
        for name, units in (("a", []), ("b", [{"model_path": "celcomic", "scale": 0.7}, {"model_path": "ink"}])):
            written = written_from(old({"models.lora_units": units, "data.output_folder": name}))
            studio.render(written.job, origin=written.origin)
            if name == "a":
                before = digest()
    assert len(bundles) == 1 and digest() == before


def test_an_adapter_without_its_alpha_is_stronger_by_rank_over_alpha(draw: Any, tmp_path: Path, sources: Any) -> None:
    with TensorFile.open(STARTER / "loras" / "ink.safetensors") as file:
        tensors = {name: file.tensor(name).clone() for name in file.names}
    rank = next(tensor.shape[0] for name, tensor in tensors.items() if name.endswith("lora_down.weight"))
    for name in tensors:
        if name.endswith("alpha"):
            tensors[name] = torch.tensor(float(rank) / 4)
    save_file(tensors, tmp_path / "quarter.safetensors")

    def drawn(weight: float, alpha: str) -> Any:
        use = {"file": str(tmp_path / "quarter.safetensors"), "weight": weight, "alpha": alpha}
        return draw(sources["picture"], {"prompt": "ink", "motion": "none", "adapters": [use]})

    ignored, file, strong = drawn(0.25, "ignored"), drawn(0.25, "file"), drawn(1.0, "file")
    assert ignored.apart(strong).max() <= 1 < ignored.apart(file).max()
    assert ignored.report.adapters[0]["alpha"] == "ignored"


def test_the_smoothers_of_a_config_run_on_the_finished_frames(run: Callable[..., Report]) -> None:
    def drawn() -> list[Any]:
        return [read_picture(path) for path in sorted(Path("output/frames").iterdir(), key=lambda path: int(path.stem))]

    fast = {"inference_mode": "balanced", "window_size": 1, "num_iter": 2, "batch_size": 1}
    both = [{"processor_type": "FastBlend", "config": fast}, {"processor_type": "Contrast", "config": {"rate": 1.3}}]
    run({"smoother_configs": both})
    plain = drawn()
    report = run({"smoother_configs": both, "pipeline.pipeline_inputs.smoother_progress_ids": [-1]})
    with open_clip(STARTER / "demo.mp4") as clip:
        guides = [resize(cropped(frame.pixels, 64, 48), 64, 48) for frame in clip.frames(0, 2)]
    blend = FastBlendOptions(mode="balanced", window=1, iterations=2, batch=1)
    expected = [*fastblend.smooth(plain, guides, blend, 3, torch.device("cpu"))]
    expected = [*contrast.smooth(expected, guides, RateOptions(rate=1.3), 3, torch.device("cpu"))]
    assert all(map(np.array_equal, drawn(), expected)) and not np.array_equal(expected[0], plain[0])
    assert [use["kind"] for use in report.stages[0]["smoothers"]] == ["fastblend", "contrast"]


def test_a_pair_is_rendered_as_one(run: Callable[..., Report]) -> None:
    small = {f"data.{source}.{side}": value for source in ("input_frames", "controlnet_frames.0", "controlnet_frames.1")
             for side, value in (("width", 32), ("height", 24))}  # fmt: skip
    config = pair(first=small, second={"models.lora_units": [{"model_path": "ink", "scale": 0.5}]})
    report = run(config=config)
    assert len(report.stages) == 2 and Path("output/frames/1.png").is_file()
    both = frames()
    assert SDVideoPipelineRunner().run(config).stages == report.stages and frames() == both
    run(config=config["config_stage_2"])
    assert frames() != both, "the first stage has a say in the colours"


class MyRunner(SDVideoPipelineRunner):
    """As people wrote it for 1.x."""

    def load_pipeline(self, model_list, textual_inversion_folder, device, lora_alphas, controlnet_units, lora_units=[]):  # type: ignore[no-untyped-def]  # noqa: B006
        model_manager = ModelManager(torch_dtype=torch.float16, device=device)
        model_manager.load_models(model_list)
        for unit in lora_units:
            model_manager.load_lora(unit["model_path"], lora_alpha=unit["scale"])
        units = [ControlNetConfigUnit(**unit) for unit in controlnet_units]
        pipe = SDVideoPipeline.from_model_manager(model_manager, units)
        pipe.prompter.load_textual_inversions(textual_inversion_folder)
        return model_manager, pipe


def test_a_runner_of_ones_own_gives_what_the_config_says(
    run: Callable[..., Report], capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, Any] = {"models.lora_units": [{"model_path": "ink", "scale": 0.5}]}
    run(changes)
    expected = frames()
    config = old(changes | {"data.output_folder": "mine"})
    report = MyRunner(in_streamlit=False).run(config)
    assert frames("mine/frames") == expected and report.status == "rendered"
    assert config == old(changes | {"data.output_folder": "mine"}), "the config is as it was"
    assert "rendered: mine/video.mp4" in capsys.readouterr().out
    assert SDVideoPipelineRunner().run(config).status == "there already"


def test_a_pipeline_draws_frames() -> None:
    manager = ModelManager(device="cuda")
    manager.load_models(["starter", "tile"])
    pipe = SDVideoPipeline.from_model_manager(manager, [ControlNetConfigUnit("tile", "tile", 1.0)])
    from sakuga.diffutoon import VideoData

    video = VideoData(video_file="demo" if Path("demo").exists() else str(_demo()), height=48, width=64)
    torch.manual_seed(1)
    drawn = pipe("flat", controlnet_frames=[video[0], video[1]], num_inference_steps=1, cfg_scale=1, vram_limit_level=0)
    assert [picture.size for picture in drawn] == [(64, 48), (64, 48)]
    assert pipe.report is not None and pipe.report.job["seed"] == 1


def _demo() -> Path:
    return STARTER / "demo.mp4"


def test_the_command_takes_an_old_config_and_converts_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Path("old.json").write_text(json.dumps(old({"models.lora_units": [{"model_path": "ink", "scale": 0.5}]})))
    before = sorted(tmp_path.iterdir())
    assert main(["check", "old.json"]) == 0
    assert "models.lora_units.0.scale: 0.5 → stages.0.adapters: weight" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before, "a check leaves nothing"
    assert main(["render", "old.json"]) == 0
    from_config = frames()
    assert main(["convert", "old.json", "-o", "job.yaml"]) == 0
    Path("new").mkdir()
    assert main(["render", "job.yaml", "-o", "new/video.mp4", "--pictures", "new/frames"]) == 0
    assert frames("new/frames") == from_config
    assert main(["render", "old.json", "--lora", "inq"]) == 2
    assert "nearest   ink" in capsys.readouterr().err
    Path("bad.json").write_text(json.dumps(old({"pipeline.pipeline_inputs.animatediff_stride": 5})))
    assert main(["check", "bad.json"]) == 2
    assert "pipeline.pipeline_inputs.animatediff_stride" in capsys.readouterr().err
    assert main(["convert", "job.yaml", "-o", "again.yaml"]) == 2


@pytest.mark.parametrize("name", ["toon.json", "toon_with_editing.py"])
def test_the_examples_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["render", str(EXAMPLES / name), *TINY]
    if name.endswith(".py"):
        words += ["--steps", "1"]
    assert main(words) == 0, capsys.readouterr().err
    (video,) = Path("out").rglob("video.mp4")
    assert sorted(path.name for path in (video.parent / "frames").iterdir()) == ["0.png", "1.png"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_renders_on_the_starter(name: str, studio: Studio, sources: Any, tmp_path: Path) -> None:
    job = Job(source=sources["pictures"], preset=name, frames=(0, 2), stages=(Stage(),), output=tmp_path / "toon")
    assert studio.render(job).status == "rendered"


@pytest.fixture(scope="module", autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """These tests write into folders of their own alone."""
    before = set(EXAMPLES.iterdir())
    yield
    assert set(EXAMPLES.iterdir()) == before
