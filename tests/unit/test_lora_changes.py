"""How strong changes are and which files are twins: measured from factors, equal to what the dense changes say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sakuga.lora.changes import TWIN, Changes, Spot, cosine, not_finite
from sakuga.lora.inspect import Shown, twins
from sakuga.lora.survey import survey
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

LINEAR, CONV = "down_blocks.1.attentions.0.proj_in", "mid_block.resnets.0.conv1"
SHAPES = {LINEAR: (6, 8), CONV: (4, 3, 3, 3)}
NAMES = NameMap.of({"unet": {name: {"weight": shape} for name, shape in SHAPES.items()}})
STEMS = {name: "lora_unet_" + name.replace(".", "_") for name in SHAPES}


@pytest.fixture
def base() -> dict[str, Tensor]:
    return {name: torch.rand(shape) for name, shape in SHAPES.items()}


def factors() -> dict[str, Tensor]:
    """A LoRA of a Linear (alpha is half the rank) and of a convolution."""
    linear, conv = STEMS[LINEAR], STEMS[CONV]
    return {
        f"{linear}.lora_down.weight": torch.randn(2, 8),
        f"{linear}.lora_up.weight": torch.randn(6, 2),
        f"{linear}.alpha": torch.tensor(1.0),
        f"{conv}.lora_down.weight": torch.randn(3, 3, 3, 3),
        f"{conv}.lora_up.weight": torch.randn(4, 3, 1, 1),
    }


def dense(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The changes by the formula, in double precision."""
    found = {}
    for name, stem in STEMS.items():
        down, up = (tensors[f"{stem}.lora_{side}.weight"].double().flatten(1) for side in ("down", "up"))
        found[name] = up @ down * (float(tensors.get(f"{stem}.alpha", torch.tensor(float(len(down))))) / len(down))
    return found


def opened(folder: Path, tensors: Mapping[str, Tensor], name: str = "ink") -> TensorFile:
    save_file(dict(tensors), folder / f"{name}.safetensors")
    return TensorFile.open(folder / f"{name}.safetensors")


def shown(folder: Path, tensors: Mapping[str, Tensor], name: str, base: Mapping[str, Tensor] | None = None) -> Shown:
    def weigh(_component: str, module: str, _parameter: str) -> Tensor | None:
        return base[module] if base else None

    return Shown(opened(folder, tensors, name), NAMES if base else None, weigh=weigh if base else None)


def test_the_effect_is_the_norm_of_the_change_beside_that_of_the_weight(
    tmp_path: Path, base: dict[str, Tensor]
) -> None:
    tensors = factors()
    told = shown(tmp_path, tensors, "ink", base).deep()
    changes = dense(tensors)
    assert (told["finite"], told["unmeasured"]) == (True, {})
    assert set(told["blocks"]) == {"IN04", "M00"}
    for block, module in (("IN04", LINEAR), ("M00", CONV)):
        size = told["blocks"][block]
        assert size["change"] == pytest.approx(float(changes[module].norm()), rel=1e-5)
        assert size["weight"] == pytest.approx(float(base[module].double().norm()), rel=1e-5)
        assert size["ratio"] == pytest.approx(size["change"] / size["weight"], rel=1e-5)
    whole = math.sqrt(sum(float(change.norm()) ** 2 for change in changes.values()))
    assert told["effect"]["change"] == pytest.approx(whole, rel=1e-5)
    assert {one["module"] for one in told["strongest"]} == {f"unet.{LINEAR}", f"unet.{CONV}"}


def test_without_a_base_the_changes_alone_are_measured(tmp_path: Path) -> None:
    tensors = factors()
    told = shown(tmp_path, tensors, "ink").deep()
    assert told["effect"]["ratio"] is None
    sizes = sorted(size["change"] for size in told["blocks"].values())
    assert sizes == pytest.approx(sorted(float(change.norm()) for change in dense(tensors).values()), rel=1e-5)


def test_a_change_that_depends_on_the_base_is_measured_with_one_and_counted_without(
    tmp_path: Path, base: dict[str, Tensor]
) -> None:
    tensors = factors() | {f"{STEMS[LINEAR]}.dora_scale": torch.rand(6, 1) + 0.5}
    alone, held = shown(tmp_path, tensors, "ink").deep(), shown(tmp_path, tensors, "ink", base).deep()
    assert sum(alone["unmeasured"].values()) == 1
    assert alone["effect"]["modules"] == 1
    assert (held["unmeasured"], held["effect"]["modules"]) == ({}, 2)
    changed = base[LINEAR].double() + dense(tensors)[LINEAR]
    after = changed * (tensors[f"{STEMS[LINEAR]}.dora_scale"].double() / changed.norm(dim=1, keepdim=True))
    size = float((after - base[LINEAR].double()).norm())
    assert held["blocks"]["IN04"]["change"] == pytest.approx(size, rel=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_found(tmp_path: Path, value: float) -> None:
    tensors = factors()
    tensors[f"{STEMS[CONV]}.lora_up.weight"][2, 1] = value
    assert not_finite(opened(tmp_path, tensors)) == (f"{STEMS[CONV]}.lora_up.weight",)


def test_two_spellings_of_one_change_are_twins(tmp_path: Path) -> None:
    tensors = factors()
    other = {key: value * 2 if "lora_down" in key else value.clone() for key, value in tensors.items()}
    other |= {key: value / 2 for key, value in tensors.items() if "lora_up" in key}
    other[f"{STEMS[CONV]}.alpha"] = torch.tensor(3.0)
    files = [shown(tmp_path, one, name) for one, name in ((tensors, "a"), (other, "b"), (factors(), "c"))]
    assert twins(files) == []  # of files that were not looked at deeply, only bytes are compared
    for one in files:
        one.deep()
    (pair,) = twins(files)
    assert [Path(name).stem for name in pair["files"]] == ["a", "b"]
    assert pair["same_payload"] is False
    assert pair["cosine"] == pytest.approx(1, abs=1e-5)


def test_the_same_tensors_under_other_metadata_are_twins_by_their_bytes(tmp_path: Path) -> None:
    tensors = factors()
    one = shown(tmp_path, tensors, "a")
    save_file(tensors, tmp_path / "b.safetensors", {"ss_output_name": "other"})
    (pair,) = twins([one, Shown(TensorFile.open(tmp_path / "b.safetensors"))])
    assert (pair["same_payload"], pair["cosine"]) == (True, None)


def test_the_cosine_is_that_of_the_dense_changes(tmp_path: Path) -> None:
    first, second = factors(), {key: value.clone() for key, value in factors().items()}
    for key, value in first.items():
        second[key] = value + 0.02 * torch.randn_like(value) if "weight" in key else value.clone()
    files = [opened(tmp_path, one, name) for one, name in ((first, "a"), (second, "b"))]
    looks = [Changes(file=file, found=survey(file)) for file in files]
    told = cosine(looks[0], looks[1], looks[0].measured(), looks[1].measured())
    flat = [torch.cat([change.flatten() for change in dense(one).values()]) for one in (first, second)]
    exact = float(torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0))
    assert told == pytest.approx(exact, rel=1e-6) or (exact <= told <= TWIN)


def test_blocks_without_a_known_name_go_up_to_the_first_number() -> None:
    names = {
        ("", "lora_unet_down_blocks_0_attentions_1_proj_in"): "lora_unet_down_blocks_0",
        ("", "lora_te1_text_model_final_layer_norm"): "lora_te1_text_model_final_layer_norm",
        ("unet", "time_embedding.linear_1"): "unet.time_embedding.linear_1",
        ("text_encoder", "encoder.layers.3.mlp.fc1"): "BASE",
    }
    assert {spot: Spot(component=spot[0], module=spot[1], parameter="weight").block for spot in names} == names
