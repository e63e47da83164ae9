"""Held against PEFT and diffusers: files that they wrote, and the weights that they merge from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack, StackWeight
from sakuga.lora.targets import names_of
from sakuga.tensors.file import TensorFile

peft = pytest.importorskip("peft")


class Model(nn.Module):
    """A little of everything that LoRA changes, under names that PEFT's patterns may match in part."""

    def __init__(self) -> None:
        super().__init__()
        self.mid = nn.ModuleDict({"to_q": nn.Linear(8, 6), "proj": nn.Conv2d(4, 6, 1), "own_to_q": nn.Linear(8, 8)})
        self.conv = nn.Conv2d(4, 6, 3, padding=1)


CONFIGS = {
    "plain": {"r": 4, "lora_alpha": 4},
    "alpha": {"r": 4, "lora_alpha": 16},
    "rs-LoRA": {"r": 4, "lora_alpha": 6, "use_rslora": True},
    "patterns": {"r": 4, "lora_alpha": 2, "rank_pattern": {"to_q": 2}, "alpha_pattern": {"^conv": 5, "to_q": 3}},
}


@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
def test_a_folder_that_peft_saved_gives_peft_s_merged_weights(tmp_path: Path, options: dict[str, object]) -> None:
    model = Model()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = peft.LoraConfig(target_modules=["to_q", "proj", "conv", "own_to_q"], **options)
    trained = peft.get_peft_model(model, config)
    for name, parameter in trained.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter)
    save_file(peft.get_peft_model_state_dict(trained), tmp_path / "adapter_model.safetensors")
    plain = {
        key: value for key, value in config.to_dict().items() if isinstance(value, str | int | float | dict | None)
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(plain, default=str))
    merged = trained.merge_and_unload().state_dict()

    ours = Model()
    ours.load_state_dict(state)
    parts = {"unet": ours}
    names = names_of({"unet": ours})
    file = TensorFile.open(tmp_path / "adapter_model.safetensors")
    adapter = read_adapter(file, names, "a")
    assert (len(adapter.patches), adapter.leftovers) == (4, ())
    with Stack(((adapter, StackWeight()),)).applied(parts):
        for name, tensor in ours.state_dict().items():
            torch.testing.assert_close(tensor, merged[name], rtol=1e-6, atol=1e-6)
            assert name.endswith("bias") or not torch.equal(tensor, state[name])


@pytest.mark.parametrize("kernel", [1, 3])
def test_live_is_what_peft_computes(kernel: int) -> None:
    layer = nn.Conv2d(4, 6, kernel, stride=2, padding=1)
    model = peft.get_peft_model(nn.Sequential(layer), peft.LoraConfig(r=2, lora_alpha=3, target_modules=["0"]))
    wrapped = model.base_model.model[0]
    nn.init.normal_(wrapped.lora_B["default"].weight)
    record = Lora(up=wrapped.lora_B["default"].weight, down=wrapped.lora_A["default"].weight, alpha=3.0)
    x = torch.randn(2, 4, 7, 9)
    torch.testing.assert_close(layer(x) + record.beside(x, layer), model(x), rtol=1e-5, atol=1e-5)


def _tiny_unet() -> nn.Module:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(3)
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    )


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_a_unet_gets_the_weights_that_diffusers_merges(tmp_path: Path, layout: str) -> None:
    unet = _tiny_unet()
    linear = [name for name, layer in unet.named_modules() if isinstance(layer, nn.Linear) and ".attn" in name]
    conv = [name for name, layer in unet.named_modules() if isinstance(layer, nn.Conv2d) and ".resnets." in name]
    state = {}
    for name in (*linear, *conv):
        out, features, *kernel = unet.get_submodule(name).weight.shape
        state[f"unet.{name}.lora_A.weight"] = torch.randn(2, features, *kernel) * 0.3
        state[f"unet.{name}.lora_B.weight"] = torch.randn(out, 2, *[1] * len(kernel)) * 0.3
    ours = dict(state)
    if layout == "kohya":
        names = {"lora_A": "lora_down", "lora_B": "lora_up"}
        ours = {}
        for key, tensor in state.items():
            stem, leaf = key.removeprefix("unet.").removesuffix(".weight").rsplit(".", 1)
            flat = "lora_unet_" + stem.replace(".", "_")
            ours[f"{flat}.{names[leaf]}.weight"] = tensor
            ours[f"{flat}.alpha"] = torch.tensor(2.0)
    save_file(ours, tmp_path / "a.safetensors")
    parts = {"unet": _tiny_unet()}
    adapter = read_adapter(TensorFile.open(tmp_path / "a.safetensors"), names_of(parts), "a")
    assert {patch.module for patch in adapter.patches} == {*linear, *conv}

    unet.load_lora_adapter(state, prefix="unet", adapter_name="a")
    unet.fuse_lora()
    theirs = {name.replace(".base_layer", ""): tensor for name, tensor in unet.state_dict().items()}
    with Stack(((adapter, StackWeight()),)).applied(parts):
        for name, tensor in parts["unet"].state_dict().items():
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-6, atol=1e-6)
