"""Block weights: which block a layer is in, and the lists, presets and levels that people write."""

from __future__ import annotations

import re

import pytest

from sakuga.errors import SakugaError
from sakuga.lora.blocks import BLOCKS, FLUX, ORDERS, PRESETS, SD, blocks_of, listed, of_levels, preset
from sakuga.lora.weight import StackWeight
from sakuga.tensors.tables.ldm_unet import ldm_unet_names


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("conv_in", "IN00"),
        ("down_blocks.0.resnets.0.conv1", "IN01"),
        ("down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q", "IN02"),
        ("down_blocks.0.downsamplers.0.conv", "IN03"),
        ("down_blocks.2.attentions.1.proj_in", "IN08"),
        ("down_blocks.3.resnets.1.time_emb_proj", "IN11"),
        ("down_blocks.1.motion_modules.1.temporal_transformer.proj_in", "IN05"),
        ("mid_block.attentions.0.proj_in", "M00"),
        ("up_blocks.0.resnets.2.conv1", "OUT02"),
        ("up_blocks.0.upsamplers.0.conv", "OUT02"),
        ("up_blocks.1.attentions.0.proj_in", "OUT03"),
        ("up_blocks.3.attentions.2.proj_out", "OUT11"),
        ("input_blocks.4.1.proj_in", "IN04"),
        ("output_blocks.11.1.proj_in", "OUT11"),
        ("middle_block.1.proj_in", "M00"),
        ("time_embedding.linear_1", None),
        ("conv_out", None),
    ],
)
def test_the_block_of_a_layer_of_a_unet(module: str, block: str | None) -> None:
    assert blocks_of("unet", module) == (() if block is None else (block,))


def test_both_namings_of_a_unet_have_the_same_blocks() -> None:
    modules = ["conv_in", "mid_block.resnets.0.conv1", "mid_block.attentions.0.proj_in"]
    for block in range(4):
        for layer in range(3):
            modules += [f"{side}_blocks.{block}.resnets.{layer}.conv1" for side in ("down", "up")]
            modules += [f"{side}_blocks.{block}.attentions.{layer}.proj_in" for side in ("down", "up")]
    modules = [name for name in modules if not re.match(r"down_blocks\.\d\.\w+\.2", name)]
    modules += [f"down_blocks.{block}.downsamplers.0.conv" for block in range(3)]
    modules += [f"up_blocks.{block}.upsamplers.0.conv" for block in range(3)]
    other = ldm_unet_names(modules)
    assert len(other) == len(modules)
    for own, ldm in other.items():
        assert blocks_of("unet", own) == blocks_of("unet", ldm) != (), (own, ldm)


@pytest.mark.parametrize(
    ("component", "module", "blocks"),
    [
        ("text_encoder", "text_model.encoder.layers.0.mlp.fc1", ("CLIP", "BASE")),
        ("text_encoder_2", "encoder.block.0", ("T5", "BASE")),
        ("transformer", "transformer_blocks.18.attn.to_q", ("D18",)),
        ("transformer", "single_transformer_blocks.3.proj_mlp", ("S03",)),
        ("transformer", "double_blocks.2.img_attn.qkv", ("D02",)),
        ("transformer", "x_embedder", ("IN",)),
        ("transformer", "norm_out.linear", ("OUT",)),
        ("transformer", "distilled_guidance_layer", ()),
    ],
)
def test_the_block_of_other_layers(component: str, module: str, blocks: tuple[str, ...]) -> None:
    assert blocks_of(component, module) == blocks


@pytest.mark.parametrize("count", sorted(ORDERS))
def test_a_list_says_its_blocks_in_order_and_the_rest_are_off(count: int) -> None:
    found = listed([n + 1.0 for n in range(count)])
    assert [found[name] for name in ORDERS[count]] == [n + 1.0 for n in range(count)]
    assert set(found) == set(FLUX if count == 61 else SD)
    assert sum(value != 0 for value in found.values()) == count


def test_lists_of_other_lengths_say_what_there_is() -> None:
    with pytest.raises(SakugaError, match="no list of block weights") as caught:
        listed([1.0] * 16)
    assert "17 (BASE … OUT11)" in str(caught.value)


# The usual lists of 17, which the presets agree with wherever they say something.
USUAL = {
    "NONE": "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0",
    "ALL": "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
    "INS": "1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0",
    "IND": "1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0",
    "INALL": "1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0",
    "MIDD": "1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0",
    "OUTD": "1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0",
    "OUTS": "1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1",
    "OUTALL": "1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1",
    "ALL0.5": ",".join(["0.5"] * 17),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_usual_ones(name: str) -> None:
    found = preset(name)
    assert [found[block] for block in ORDERS[17]] == [float(value) for value in USUAL[name].split(",")]


def test_presets_include_what_only_convolutions_have() -> None:
    assert preset("INALL")["IN03"] == 1  # what makes the picture smaller
    assert preset("OUTALL")["OUT00"] == 1  # a level without attention
    with pytest.raises(SakugaError, match="no such preset") as caught:
        preset("OUTAL")
    assert caught.value.nearest == "OUTALL"


def test_levels_in_diffusers_form() -> None:
    found = of_levels({"down": 0.5, "mid": 2, "up": {"block_1": [0.1, 0.2, 0.3], "block_3": 0.7}})
    wanted = {"IN01": 0.5, "IN06": 0.5, "IN11": 0.5, "M00": 2, "OUT03": 0.1, "OUT05": 0.3, "OUT09": 0.7, "OUT11": 0.7}
    assert {name: found[name] for name in wanted} == wanted
    assert not {"IN00", "OUT00", "OUT06"} & set(found)  # what is not named keeps the whole weight
    assert of_levels({"down": {"block_0": [0.1, 0.9]}})["IN03"] == 0.9  # what makes it smaller goes with the last layer


@pytest.mark.parametrize(
    "levels",
    [
        {"middle": 1},
        {"down": {"block_9": 1}},
        {"up": {"block_0": [1, 2, 3, 4]}},
        {"mid": "1"},
        {"down": {"block_0": []}},
    ],
)
def test_levels_of_another_form_are_refused(levels: dict[str, object]) -> None:
    with pytest.raises(SakugaError):
        of_levels(levels)


def test_a_weight_takes_its_blocks_factor() -> None:
    weight = StackWeight(unet=2.0, text_encoder=0.5, blocks={"IN04": 0.25, "BASE": 0.0, "D00": -1.0})
    assert weight.on("unet", blocks_of("unet", "down_blocks.1.attentions.0.proj_in")) == 0.5
    assert weight.on("unet", blocks_of("unet", "conv_out")) == 2.0
    assert weight.on("text_encoder", blocks_of("text_encoder", "x")) == 0.0
    assert weight.on("transformer", blocks_of("transformer", "transformer_blocks.0.x")) == -2.0
    assert hash(weight) == hash(StackWeight(unet=2.0, text_encoder=0.5))
    with pytest.raises(SakugaError, match="no such block") as caught:
        StackWeight(blocks={"IN4": 1.0})
    assert caught.value.nearest in BLOCKS
    with pytest.raises(SakugaError, match="not a finite number"):
        StackWeight(blocks={"IN04": float("inf")})
