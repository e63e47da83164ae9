"""Why an adapter does not fit, in words: by reason and in a few lines, and true of the file and of the base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.read import check_adapter
from sakuga.lora.reasons import by_reason
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap
from sakuga.tensors.tables.families import FAMILIES

SD15 = next(table for table in FAMILIES if table.name == "sd15").names()
NARROW = {320: 32, 640: 48, 768: 24, 1280: 64}
SHRUNK = {
    component: {
        path: {name: tuple(NARROW.get(size, size) for size in shape) for name, shape in shapes.items()}
        for path, shapes in tree.items()
        if "down_blocks.0" not in path  # a narrow model has fewer layers too
    }
    for component, tree in SD15.trees.items()
}


def _made_for(names: NameMap, path: Path, layers: str) -> TensorFile:
    """A LoRA of rank 1 for some layers of a UNet."""
    tensors = {}
    for module, shapes in names.trees["unet"].items():
        shape = shapes.get("weight", ())
        if len(shape) == 2 and layers in module:
            stem = f"lora_unet_{module.replace('.', '_')}"
            tensors[f"{stem}.lora_up.weight"] = torch.zeros(shape[0], 1)
            tensors[f"{stem}.lora_down.weight"] = torch.zeros(1, shape[1])
    save_file(tensors, path)
    return TensorFile.open(path)


def _refused(file: TensorFile, trees: Mapping[str, Mapping[str, Mapping[str, tuple[int, ...]]]]) -> AdapterDoesNotFit:
    with pytest.raises(AdapterDoesNotFit) as caught:
        check_adapter(file, NameMap.of(trees), expected='an adapter for SD 1.5, because base is "x"', family="sd15")
    return caught.value


@pytest.mark.parametrize("layers", ["attn2.to_k", "attn1.to_k"])
def test_an_adapter_of_sd15_on_a_narrow_base_was_said_to_be_of_another_family(tmp_path: Path, layers: str) -> None:
    error = _refused(_made_for(SD15, tmp_path / "wide.safetensors", layers), SHRUNK)
    assert error.title == "wide.safetensors was made for a wider model of the same family"
    pairs = "24 where the adapter has 768" if "attn2" in layers else "32 where the adapter has 320, 48 where the "
    assert f'an adapter for SD 1.5, because base is "x", which is narrower: {pairs}' in str(error.expected)
    assert str(error.do).startswith("choose a base of the width that it was made for, not a small one")


def test_an_adapter_of_a_narrow_model_on_a_wide_base_is_told_so(tmp_path: Path) -> None:
    error = _refused(_made_for(NameMap.of(SHRUNK), tmp_path / "x.safetensors", "attn1.to_k"), SD15.trees)
    assert error.title == "x.safetensors was made for a narrower model of the same family"
    assert "which is wider: 320 where the adapter has 32, 640 where" in str(error.expected)


def test_an_adapter_of_sd2_on_a_narrow_base_of_sd15_is_of_another_family(tmp_path: Path) -> None:
    sd2 = next(table for table in FAMILIES if table.name == "sd2").names()
    error = _refused(_made_for(sd2, tmp_path / "x.safetensors", "attn2.to_k"), SHRUNK)
    assert error.title == "x.safetensors was made for another family of models"


def test_missing_layers_were_listed_one_by_one_and_said_to_be_of_another_shape(tmp_path: Path) -> None:
    trees = {"unet": {path: shapes for path, shapes in SD15.trees["unet"].items() if "up_blocks" not in path}}
    error = _refused(_made_for(SD15, tmp_path / "x.safetensors", "attn1.to_k"), trees)
    first = "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_attn1_to_k"
    assert f"no module of this name is in the model: 9 modules, such as {first}, " in str(error.nearest)
    assert "7 of 16 names exist there;" in str(error.nearest) and "shape" not in str(error)
    assert str(error.nearest).count("lora_unet_") == 4  # two examples, and the nearest name to the first


def test_many_wrong_shapes_are_told_in_four_lines(tmp_path: Path) -> None:
    wide = {path: {"weight": (7, 7)} if "attn1.to_k" in path else shapes for path, shapes in SD15.trees["unet"].items()}
    error = _refused(_made_for(SD15, tmp_path / "x.safetensors", "attn1.to_k"), {"unet": wide})
    assert str(error).count("its weight is") == 2 and "and 1 more reason for " in str(error)
    assert len(str(error).splitlines()) <= 5  # the title, and the four


def test_each_reason_is_told_once_with_how_many_it_is_about() -> None:
    many = [(f"layer {n}", "its rank is 0") for n in range(300)] + [(f"odd {n}", f"reason {n}") for n in range(5)]
    assert by_reason(many) == [
        "its rank is 0: 300 modules, such as layer 0, layer 1",
        "odd 0: reason 0",
        "odd 1: reason 1",
        "and 3 more reasons for 3 modules",
    ]
    assert by_reason([("a", "x"), ("b", "x")], "key") == ["x: a, b"]
