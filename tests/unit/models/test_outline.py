"""Outline: everything about a base from headers, and the settings of a bundle folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sakuga.errors import FileProblem, UnknownFile
from sakuga.models.device import Placement
from sakuga.models.families import FAMILIES
from sakuga.models.library import Library
from sakuga.models.load import load_base
from sakuga.models.motion import MotionModules
from sakuga.models.outline import outline
from sakuga.tensors.file import TensorFile

Save = Callable[[str, Mapping[str, Any]], Path]


@pytest.fixture
def own(bundle_folder: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "own"))


def write(folder: Path, settings: Any) -> None:
    (folder / "sakuga.json").write_text(json.dumps(settings))


def test_trees_are_those_of_the_loaded_model_and_nothing_was_read(
    bundle_folder: Path, checkpoint_file: Path, cpu: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(folders=())
    loaded = load_base(bundle_folder, library, cpu)
    monkeypatch.setattr(TensorFile, "tensors", lambda *_: pytest.fail("a weight was read"))
    for path in (bundle_folder, checkpoint_file):
        drawn = outline(path, library)
        assert drawn.family is FAMILIES[0] and drawn.schedule == loaded.schedule and drawn.name == "tiny"
        for part, tree in drawn.parts.items():
            real = dict(loaded.parts[part].named_parameters())
            assert {name: weight.shape for name, weight in tree.named_parameters()} == {
                name: weight.shape for name, weight in real.items()
            }
            assert all(weight.is_meta for weight in tree.parameters())


def test_a_short_file_is_found_out_by_its_header(tiny: Any, save: Save) -> None:
    state = tiny.checkpoint()
    del state["first_stage_model.decoder.conv_out.bias"]
    path = save("short.safetensors", state)
    with pytest.raises(FileProblem, match="lacks weights") as caught:
        outline(path, Library(folders=()))
    assert caught.value.expected == "first_stage_model.decoder.conv_out.bias"
    assert outline(path, Library(folders=()), own_vae=False).vae is None


def test_other_families_are_named(tiny: Any, save: Save) -> None:
    state = {**tiny.checkpoint(), "model.diffusion_model.label_emb.0.0.weight": torch.zeros(2, 2)}
    with pytest.raises(UnknownFile, match="cannot be rendered") as caught:
        outline(save("xl.safetensors", state), Library(folders=()))
    assert (caught.value.given, caught.value.expected) == ("SDXL", "SD 1.5")
    flux = {"double_blocks.0.img_attn.qkv.weight": torch.zeros(1), "single_blocks.0.linear1.weight": torch.zeros(1)}
    with pytest.raises(UnknownFile) as caught:
        outline(save("flux.safetensors", flux), Library(folders=()))
    assert caught.value.given == "Flux"


def test_settings_name_defaults_and_motion(own: Path, cpu: Placement) -> None:
    unet = load_base(own, Library(folders=()), cpu).unet
    (own / "motion").mkdir()
    save_file(MotionModules.for_unet(unet, positions=24).state_dict(), own / "motion" / "sway.safetensors")
    defaults = {
        "controls": ["tile:0.5"],
        "sampler": "euler",
        "steps": 6,
        "guidance": 3,
        "motion": "sway",
        "prompt": "ink",
    }
    write(own, {"schema": 1, "name": "small", "family": "sd15", "defaults": defaults})
    base = load_base(own, Library(folders=()), cpu)
    assert base.name == "small" and base.defaults.controls == ("tile:0.5",)
    assert (base.defaults.sampler, base.defaults.steps, base.defaults.guidance) == ("euler", 6, 3)
    assert base.defaults.noise == FAMILIES[0].defaults.noise
    assert base.motion is not None and base.motion.frame_limit == 24
    assert base.schedule_with(base.motion) == base.schedule, "its own motion keeps its own betas"
    assert [source.role for source in base.sources][-1] == "motion"
    assert base.sources[-1].path == own / "motion" / "sway.safetensors" and len(base.sources[-1].sha256) == 64


@pytest.mark.parametrize(
    ("settings", "given", "nearest"),
    [
        ({"nmae": "x"}, "nmae", "name"),
        ({"defaults": {"step": 4}}, "step", "steps"),
        ({"defaults": {"steps": "4"}}, "steps: '4'", None),
        ({"defaults": {"steps": True}}, "steps: True", None),
        ({"defaults": {"steps": 10**12}}, f"steps: {10**12}", None),
        ({"defaults": {"guidance": float("nan")}}, "guidance: nan", None),
        ({"defaults": {"noise": "loud"}}, "noise: 'loud'", None),
        ({"defaults": {"controls": [["tile"]]}}, "controls: [['tile']]", None),
        ({"defaults": {"sampler": None}}, "sampler: None", None),
        ({"defaults": []}, "[]", None),
        ({"family": "sdxl"}, "'sdxl'", None),
        ({"schema": 2}, "2", None),
    ],
)
def test_settings_that_are_wrong(settings: Any, given: str, nearest: str | None, own: Path) -> None:
    write(own, settings)
    with pytest.raises(FileProblem) as caught:
        outline(own, Library(folders=()))
    assert (caught.value.given, caught.value.nearest) == (given, nearest)


def test_shards_and_pickles_in_folders(own: Path, tiny: Any, assert_same: Any, cpu: Placement) -> None:
    whole = own / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(whole)
    whole.unlink()
    names = sorted(state)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in shards.items():
        save_file({key: state[key] for key in keys}, own / "unet" / file)
    index = {"weight_map": {key: file for file, keys in shards.items() for key in keys}}
    (own / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    vae = own / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(vae), own / "vae" / "diffusion_pytorch_model.bin")
    vae.unlink()
    base = load_base(own, Library(folders=()), cpu)
    assert_same(base.unet, tiny.unet)
    assert_same(base.codec.vae, tiny.vae)
    (own / "unet" / "b.safetensors").unlink()
    with pytest.raises(FileProblem, match="parts of a model are missing") as caught:
        load_base(own, Library(folders=()), cpu)
    assert "b.safetensors" in str(caught.value.given)
    index["weight_map"]["x"] = "../../elsewhere.safetensors"
    (own / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FileProblem, match="not an index"):
        load_base(own, Library(folders=()), cpu)


def test_folder_without_weights(own: Path) -> None:
    (own / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileProblem, match="without weights") as caught:
        outline(own, Library(folders=()))
    assert "config.json" in str(caught.value.given)
