"""The trees that a check makes from configs are those of the real classes, weight by weight."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sakuga.lora.targets import trees_of
from sakuga.models.families.sd15 import SD15
from sakuga.models.library import STARTER, Library
from sakuga.models.outline import outline
from sakuga.models.parts import PartFiles, vae_blueprint
from sakuga.models.skeletons import text_skeleton, unet_skeleton, vae_skeleton
from sakuga.models.trees import text_tree, unet_tree, vae_tree
from sakuga.tensors.seat import Tree

SD = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64, 64],
    "layers_per_block": 2,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 48,
    "attention_head_dim": 8,
}
KL = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [32, 64, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 2,
    "latent_channels": 4,
}
DC = json.loads((STARTER / "vae" / "config.json").read_text())
UNETS: Mapping[str, dict[str, Any]] = {
    "starter": json.loads((STARTER / "unet" / "config.json").read_text()),
    "SD 1": SD,
    "SD 2": SD | {"attention_head_dim": [2, 4, 4], "use_linear_projection": True},
    "for inpainting, one level, one layer": SD
    | {"in_channels": 9, "layers_per_block": 1, "block_out_channels": [64]}
    | {"down_block_types": ["CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D"]},
}
VAES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "starter": ("AutoencoderDC", DC),
    "folding at the first level": (
        "AutoencoderDC",
        DC | {"encoder_layers_per_block": [1, 1, 1], "decoder_layers_per_block": [2, 0, 1]},
    ),
    "SD": ("AutoencoderKL", KL),
    "without quantisation and attention": (
        "AutoencoderKL",
        KL | {"use_quant_conv": False, "use_post_quant_conv": False, "mid_block_add_attention": False},
    ),
}


def shapes_of(tree: Tree | None) -> dict[str, tuple[int, ...]]:
    assert tree is not None, "not an ordinary config"
    return {f"{module}.{name}": shape for module, own in tree.items() for name, shape in own.items()}


def shapes_in(skeleton: Any) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix("text_model."): tuple(own.shape) for name, own in skeleton.state_dict().items()}


@pytest.mark.parametrize("name", UNETS)
def test_the_tree_of_a_unet(name: str) -> None:
    assert shapes_of(unet_tree(UNETS[name])) == shapes_in(unet_skeleton(UNETS[name]))


@pytest.mark.parametrize("name", VAES)
def test_the_tree_of_a_vae(name: str) -> None:
    kind, config = VAES[name]
    assert shapes_of(vae_tree(kind, config)) == shapes_in(vae_skeleton(kind, config))


def test_the_tree_of_a_text_encoder() -> None:
    config = json.loads((STARTER / "text_encoder" / "config.json").read_text())
    for given in (config, config | {"intermediate_size": 80, "max_position_embeddings": 20, "vocab_size": 50000}):
        assert shapes_of(text_tree(given)) == shapes_in(text_skeleton(given))


@pytest.mark.parametrize(
    "odd",
    [
        {"mid_block_type": "UNetMidBlock2D"},
        {"transformer_layers_per_block": [1, 2, 10]},
        {"block_out_channels": [32, 64, 80]},  # which 32 groups do not divide
        {"block_out_channels": [32, 64]},
        {"up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"]},
        {"attention_head_dim": 7},
        {"layers_per_block": [2, 2, 2]},
        {"a_key_that_is_new": 1},
        {"norm_eps": "small"},
        {"in_channels": True},
        {"down_block_types": None},
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_the_class(odd: dict[str, Any]) -> None:
    assert unet_tree(SD | odd) is None


def test_a_vae_out_of_the_ordinary_is_drawn_by_its_class() -> None:
    tiny = {"encoder_block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8], "latent_channels": 4}
    tiny |= {"num_encoder_blocks": [1, 1], "num_decoder_blocks": [1, 1]}
    assert vae_tree("AutoencoderTiny", tiny) is None
    drawn = vae_blueprint(PartFiles(files=(), layout="diffusers", kind="AutoencoderTiny", config=tiny), SD15)
    assert drawn.shapes == shapes_in(drawn.skeleton) and drawn.config["latent_channels"] == 4
    for odd in ({"encoder_block_types": "EfficientViTBlock"}, {"downsample_block_type": "conv"}):
        assert vae_tree("AutoencoderDC", DC | odd) is None


def test_names_for_adapters_are_those_of_the_modules_with_the_bias_that_they_may_get() -> None:
    drawn = outline("starter", Library.usual())
    for component, tree in trees_of(drawn.parts).items():
        bare = {name.removeprefix("text_model."): shapes for name, shapes in tree.items() if shapes}
        assert drawn.names.trees[component] == bare
