"""NameMap: every way in which adapters spell a module leads to its place in the real trees, and to no other."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from sakuga.tensors.names import FLAT_PREFIXES, NameMap, Place, Seat
from sakuga.tensors.tables.families import FAMILIES

T5, CLIP = "encoder_block_23_layer_1_DenseReluDense_wo", "text_model_encoder_layers_0_mlp_fc1"


@pytest.fixture(scope="module")
def trees() -> dict[str, Any]:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        text = CLIPTextModel(CLIPTextConfig(num_hidden_layers=12))
    return {"unet": unet, "text_encoder": text}


@pytest.fixture(scope="module")
def names(trees: dict[str, Any]) -> NameMap:
    return NameMap.of({part: [name for name, _ in tree.named_modules()] for part, tree in trees.items()})


def family(name: str, variant: str = "") -> NameMap:
    return NameMap.of(next(t for t in FAMILIES if (t.name, t.variant) == (name, variant)).trees())


def whole(component: str, module: str) -> tuple[Seat, ...]:
    return (Seat(component=component, module=module),)


def leaves(tree: Any) -> list[str]:
    return [name for name, module in tree.named_modules() if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))]


def test_every_module_is_found_by_its_own_name(trees: dict[str, Any], names: NameMap) -> None:
    for module in leaves(trees["unet"]):
        for prefix in FLAT_PREFIXES["unet"]:
            assert names.find(prefix + module.replace(".", "_")) == whole("unet", module)
        assert names.find_dotted("unet", module) == whole("unet", module)
    assert names.find_dotted("unet", "conv_in")[0].place == Place(component="unet", module="conv_in")


def test_text_encoder_with_and_without_its_level(trees: dict[str, Any], names: NameMap) -> None:
    for module in leaves(trees["text_encoder"]):
        bare = module.removeprefix("text_model.")
        for spelling in (bare, f"text_model.{bare}"):
            assert names.find_dotted("text_encoder", spelling) == whole("text_encoder", module)
            for prefix in ("lora_te_", "lora_te1_"):
                assert names.find(prefix + spelling.replace(".", "_")) == whole("text_encoder", module)


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
    assert names.find_dotted("unet", ldm) == whole("unet", module)
    assert names.find("lora_unet_" + ldm.replace(".", "_")) == whole("unet", module)


def test_no_name_stands_for_two_modules(names: NameMap) -> None:
    with pytest.raises(AssertionError, match="flatten to one name"):
        NameMap.of({"unet": ["a.b", "a_b"]})
    assert names.find("lora_unet_conv_in") != names.find("lora_te_conv_in")


def test_what_is_not_there_has_a_nearest(names: NameMap) -> None:
    assert names.find("lora_unet_down_blocks_0_attention_0_proj_in") == ()
    assert names.find_dotted("unet", "encoder.layers.0.mlp.fc1") == ()
    assert (
        names.nearest("lora_unet_down_blocks_0_attention_0_proj_in") == "lora_unet_down_blocks_0_attentions_0_proj_in"
    )
    assert names.nearest("lora_te1_text_model_encoder_layers_0_mlp_f1") == "lora_te1_" + CLIP
    assert names.nearest("unet_mid_block_attentions_0_proj_in") == "lora_unet_mid_block_attentions_0_proj_in"
    assert names.nearest("mid_block.attention.0.proj_in") == "mid_block.attentions.0.proj_in"
    assert names.nearest("§") is None


def test_trees_with_their_own_level_and_strange_components() -> None:
    old = NameMap.of({"text_encoder": ["text_model.encoder.layers.0.self_attn.q_proj"]})
    seats = whole("text_encoder", "text_model.encoder.layers.0.self_attn.q_proj")
    assert old.find("lora_te_text_model_encoder_layers_0_self_attn_q_proj") == seats
    assert old.find_dotted("text_encoder", "encoder.layers.0.self_attn.q_proj") == seats
    assert NameMap.of({"vae": ["a.b"]}).find("lora_vae_a_b") == whole("vae", "a.b")


def test_open_clip_names_of_the_text_encoder_of_sd2() -> None:
    seats = family("sd2").find("lora_te_transformer_resblocks_3_attn_in_proj")
    layer = "encoder.layers.3.self_attn"
    assert [seat.module for seat in seats] == [f"{layer}.{one}_proj" for one in "qkv"]
    assert [seat.take for seat in seats] == [((0, 1024),), ((1024, 2048),), ((2048, 3072),)]
    assert {seat.total for seat in seats} == {3072}


@pytest.mark.parametrize(
    ("name", "variant", "flat", "component"),
    [
        ("flux", "dev", f"lora_te2_{T5}", "text_encoder_2"),  # OneTrainer counts the encoders there are
        ("flux", "dev", f"lora_te3_{T5}", "text_encoder_2"),  # kohya's T5 is the third everywhere
        ("flux", "dev", f"lora_te1_{T5}", None),
        ("flux", "dev", f"lora_te2_{CLIP}", None),
        ("sd3", "medium", f"lora_te3_{T5}", "text_encoder_3"),
        ("sd3", "medium", f"lora_te2_{T5}", None),
        ("sd3", "medium", f"lora_te2_{CLIP}", "text_encoder_2"),
        ("sd3", "medium", f"lora_te1_{CLIP}", "text_encoder"),
        ("chroma", "", f"lora_te3_{T5}", "text_encoder"),
        ("hunyuan-video", "", f"lora_te2_{CLIP}", "text_encoder_2"),
    ],
)
def test_a_number_of_a_text_encoder_means_the_one_that_has_the_module(
    name: str, variant: str, flat: str, component: str | None
) -> None:
    seats = family(name, variant).find(flat)
    assert [seat.component for seat in seats] == ([component] if component else [])
    assert all(seat.module.endswith((".DenseReluDense.wo", "encoder.layers.0.mlp.fc1")) for seat in seats)


@pytest.mark.parametrize(
    ("name", "variant", "flat", "module"),
    [
        ("wan", "2.1-t2v-1.3b", "lora_unet__blocks_0_cross_attn_k", "blocks.0.attn2.to_k"),
        ("wan", "2.1-i2v-14b", "lora_unet_blocks_0_cross_attn_k_img", "blocks.0.attn2.add_k_proj"),
        ("wan", "2.2-t2v-a14b", "lora_unet_blocks_0_self_attn_o", "blocks.0.attn1.to_out.0"),
        (
            "flux",
            "dev",
            "lora_transformer_single_transformer_blocks_3_proj_mlp",
            "single_transformer_blocks.3.proj_mlp",
        ),
        ("qwen-image", "", "lycoris_transformer_blocks_0_attn_to_q", "transformer_blocks.0.attn.to_q"),
        ("z-image", "", "lora_unet__layers_0_attention_out", "layers.0.attention.to_out.0"),
        ("sdxl", "", "oft_unet_input_blocks_4_1_proj_in", "down_blocks.1.attentions.0.proj_in"),
    ],
)
def test_prefixes_of_trainers(name: str, variant: str, flat: str, module: str) -> None:
    (seat,) = family(name, variant).find(flat)
    assert seat.module == module and seat.component in ("unet", "transformer")


def test_the_second_expert_of_wan_is_found_by_its_component() -> None:
    names = family("wan", "2.2-t2v-a14b")
    assert names.find_dotted("transformer_2", "blocks.0.ffn.0") == whole("transformer_2", "blocks.0.ffn.net.0.proj")


def test_an_empty_module_gives_its_name_up() -> None:
    """In diffusers' Wan norm3 is empty and norm2 has weights; in Wan's own code it is the other way round."""
    tree = {module: dict(of) for module, of in family("wan", "2.1-t2v-1.3b").trees["transformer"].items()}
    names = NameMap.of({"transformer": {"": {}, **tree, "blocks.0": {}, "blocks.0.norm1": {}, "blocks.0.norm3": {}}})
    assert names.find_dotted("transformer", "blocks.0.norm3") == whole("transformer", "blocks.0.norm2")
    assert names.find_dotted("transformer", "blocks.0.norm1") == whole("transformer", "blocks.0.norm1")
    assert names.has_shapes and names.shape(Place(component="transformer", module="blocks.0.norm2")) == (1536,)


def test_motion_modules_in_a_unet_and_by_themselves() -> None:
    original = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.to_out.0"
    module = "down_blocks.0.motion_modules.0.transformer_blocks.0.attn2.to_out.0"
    assert family("animatediff", "v3").find_dotted("unet", original) == whole("unet", module)
    assert NameMap.of({"motion": [original]}).find_dotted("motion", module) == whole("motion", original)


def test_a_map_of_a_whole_model_is_made_in_no_time() -> None:
    trees = next(table for table in FAMILIES if table.name == "sd15").trees()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        NameMap.of(trees)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1
