"""NameMap: every way in which adapters spell a module leads to its place in the real trees, and to no other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from sakuga.tensors.names import NameMap, Place


@pytest.fixture(scope="module")
def trees() -> dict[str, Any]:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        text = CLIPTextModel(CLIPTextConfig(num_hidden_layers=12))
    return {"unet": unet, "text_encoder": text}


@pytest.fixture(scope="module")
def names(trees: dict[str, Any]) -> NameMap:
    return NameMap.of({part: [name for name, _ in tree.named_modules()] for part, tree in trees.items()})


def leaves(tree: Any) -> list[str]:
    return [name for name, module in tree.named_modules() if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))]


def test_every_module_is_found_by_its_own_name(trees: dict[str, Any], names: NameMap) -> None:
    for module in leaves(trees["unet"]):
        place = Place(component="unet", module=module)
        assert names.find("lora_unet_" + module.replace(".", "_")) == place
        assert names.find_dotted("unet", module) == place


def test_text_encoder_with_and_without_its_level(trees: dict[str, Any], names: NameMap) -> None:
    for module in leaves(trees["text_encoder"]):
        bare = module.removeprefix("text_model.")
        place = Place(component="text_encoder", module=module)
        for spelling in (bare, f"text_model.{bare}"):
            assert names.find_dotted("text_encoder", spelling) == place
            for prefix in ("lora_te_", "lora_te1_"):
                assert names.find(prefix + spelling.replace(".", "_")) == place


@pytest.mark.parametrize(
    ("ldm", "module"),
    [
        ("input_blocks.0.0", "conv_in"),
        (
            "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
            "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
        ),
        ("input_blocks.3.0.op", "down_blocks.0.downsamplers.0.conv"),
        ("input_blocks.11.0.in_layers.2", "down_blocks.3.resnets.1.conv1"),
        ("input_blocks.4.0.emb_layers.1", "down_blocks.1.resnets.0.time_emb_proj"),
        ("input_blocks.4.0.skip_connection", "down_blocks.1.resnets.0.conv_shortcut"),
        ("middle_block.1.proj_in", "mid_block.attentions.0.proj_in"),
        ("output_blocks.2.1.conv", "up_blocks.0.upsamplers.0.conv"),
        ("output_blocks.5.2.conv", "up_blocks.1.upsamplers.0.conv"),
        (
            "output_blocks.8.1.transformer_blocks.0.ff.net.0.proj",
            "up_blocks.2.attentions.2.transformer_blocks.0.ff.net.0.proj",
        ),
        ("time_embed.2", "time_embedding.linear_2"),
        ("out.2", "conv_out"),
    ],
)
def test_ldm_names(ldm: str, module: str, names: NameMap) -> None:
    place = Place(component="unet", module=module)
    assert names.find_dotted("unet", ldm) == place
    assert names.find("lora_unet_" + ldm.replace(".", "_")) == place


def test_no_name_stands_for_two_modules(names: NameMap) -> None:
    with pytest.raises(AssertionError, match="flatten to one name"):
        NameMap.of({"unet": ["a.b", "a_b"]})
    assert names.find("lora_unet_conv_in") != names.find("lora_te_conv_in")


def test_what_is_not_there_has_a_nearest(names: NameMap) -> None:
    assert names.find("lora_unet_down_blocks_0_attention_0_proj_in") is None
    assert names.find_dotted("unet", "encoder.layers.0.mlp.fc1") is None
    assert (
        names.nearest("lora_unet_down_blocks_0_attention_0_proj_in") == "lora_unet_down_blocks_0_attentions_0_proj_in"
    )
    assert names.nearest("mid_block.attention.0.proj_in") == "mid_block.attentions.0.proj_in"
    assert names.nearest("§") is None


def test_trees_with_their_own_level_and_strange_components() -> None:
    old = NameMap.of({"text_encoder": ["text_model.encoder.layers.0.mlp.fc1"]})
    place = Place(component="text_encoder", module="text_model.encoder.layers.0.mlp.fc1")
    assert old.find("lora_te_text_model_encoder_layers_0_mlp_fc1") == place
    assert old.find_dotted("text_encoder", "encoder.layers.0.mlp.fc1") == place
    assert NameMap.of({"motion": ["a.b"]}).find("lora_motion_a_b") == Place(component="motion", module="a.b")
