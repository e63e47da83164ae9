"""Checkpoints of families that are known by their names and shapes alone: which tensor is which weight of the model."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
from tests.unit.adapter_files import saved

from sakuga.lora.tools.bake import bake
from sakuga.lora.tools.checkpoint import Checkpoint, put_rows, rows_of
from sakuga.lora.tools.source import opened
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap
from sakuga.tensors.seat import Seat
from sakuga.tensors.tables.clip_text import LEVEL
from sakuga.tensors.tables.families import FAMILIES
from sakuga.tensors.tables.ldm_unet import ldm_unet_names
from sakuga.tensors.write import Slot, header_of

LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SDXL checkpoint with all its names and no numbers: nothing but its header is on the disk."""
    table = next(one for one in FAMILIES if one.name == "sdxl")
    trees, slots = table.trees(), []
    ldm = ldm_unet_names(trees["unet"])
    for module, shapes in trees["unet"].items():
        slots += [(f"model.diffusion_model.{ldm[module]}.{own}", shape) for own, shape in shapes.items()]
    for module, shapes in trees["text_encoder"].items():
        name = f"conditioner.embedders.0.transformer.text_model.{module}"
        slots += [(f"{name}.{own}", shape) for own, shape in shapes.items()]
    for module, shapes in trees["text_encoder_2"].items():
        block, _, inner = module.removeprefix(f"{LEVEL}encoder.layers.").partition(".")
        name = f"conditioner.embedders.1.model.transformer.resblocks.{block}"
        if inner == "self_attn.q_proj":
            width = shapes["weight"][0]
            slots += [(f"{name}.attn.in_proj_weight", (3 * width, width)), (f"{name}.attn.in_proj_bias", (3 * width,))]
        elif inner == "self_attn.out_proj" or inner in LAYER:
            other = LAYER.get(inner, "attn.out_proj")
            slots += [(f"{name}.{other}.{own}", shape) for own, shape in shapes.items()]
    header = header_of([Slot(name=name, dtype="F16", shape=shape) for name, shape in slots], {})
    path = tmp_path_factory.mktemp("sdxl") / "model.safetensors"
    path.write_bytes(header)
    os.truncate(path, len(header) + 2 * sum(math.prod(shape) for _, shape in slots))
    return path


def test_every_weight_of_sdxl_is_found(sdxl: Path) -> None:
    checkpoint = Checkpoint.open(sdxl)
    assert checkpoint.names.components == ("unet", "text_encoder", "text_encoder_2")
    for component, tree in checkpoint.names.trees.items():
        for module, shapes in tree.items():
            if component != "text_encoder_2" or module.startswith(f"{LEVEL}encoder.layers."):
                assert all((component, module, own) in checkpoint.weights for own in shapes), (component, module)
    q = checkpoint.weight("text_encoder_2", f"{LEVEL}encoder.layers.3.self_attn.k_proj", "weight")
    assert q is not None and q.shape == (1280, 1280)
    held, seat = checkpoint.weights["text_encoder_2", f"{LEVEL}encoder.layers.3.self_attn.k_proj", "bias"]
    assert (held.key.rpartition(".")[2], seat.take) == ("in_proj_bias", ((1280, 2560),))


def test_it_is_taken_for_no_other_family(sdxl: Path) -> None:
    checkpoint = Checkpoint.open(sdxl)
    for table in FAMILIES:
        other = Checkpoint(path=sdxl, files=checkpoint.files, names=NameMap.of(table.trees()))
        assert other.is_whole == (table.name == "sdxl")


@pytest.mark.parametrize("take", [None, ((2, 5),), ((4, 6), (0, 2))])
def test_rows_are_taken_and_put_back(take: tuple[tuple[int, int], ...] | None) -> None:
    whole, seat = torch.arange(18.0).reshape(6, 3), Seat(module="x", take=take)
    rows = rows_of(whole, seat).clone()
    order = [row for span in take or ((0, 6),) for row in range(*span)]
    assert torch.equal(rows, whole[order])
    changed = whole.clone()
    put_rows(changed, seat, rows + 100)
    expected = whole.clone()
    expected[order] += 100
    assert torch.equal(changed, expected)


def test_openclip_s_text_projection_is_turned_and_its_adapter_with_it(tmp_path: Path) -> None:
    """A checkpoint multiplies by it from the right, the layer that adapters are trained on from the left."""
    own, key = torch.randn(6, 4), "conditioner.embedders.1.model.text_projection"
    base = saved(tmp_path / "base.safetensors", {key: own})
    up, down = torch.randn(4, 2), torch.randn(2, 6)
    stem = "lora_te2_text_projection"
    style = saved(tmp_path / "a.safetensors", {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down})
    names = NameMap.of({"text_encoder_2": {"text_projection": {"weight": (4, 6)}}})
    checkpoint = Checkpoint.open(base, names)
    found = checkpoint.weight("text_encoder_2", "text_projection", "weight")
    assert found is not None and torch.equal(found, own.T)
    bake(checkpoint, opened([("a", style)], names), tmp_path / "out.safetensors")
    baked = TensorFile.open(tmp_path / "out.safetensors").tensor(key)
    torch.testing.assert_close(baked, own + (up @ down).T)
