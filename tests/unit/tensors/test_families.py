"""The trees of model families are those of the real classes, built without weights: every layer, every shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from diffusers import (
    ChromaTransformer2DModel,
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    HunyuanVideoTransformer3DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNetMotionModel,
    WanTransformer3DModel,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from sakuga.tensors.names import NameMap
from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families import FAMILIES, FamilyTable
from sakuga.tensors.tables.families.text import clip

XL = {"transformer_layers_per_block": [1, 2, 10], "block_out_channels": (320, 640, 1280)}
XL_DOWN = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
XL_UP = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
REFINER_DOWN = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
REFINER_UP = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
ADDED = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256, "use_linear_projection": True}
SD3 = {"joint_attention_dim": 4096, "pooled_projection_dim": 2048, "pos_embed_max_size": 96}
T5_SIZES = {"d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_heads": 64, "num_layers": 24}
T5_SIZES |= {"feed_forward_proj": "gated-gelu"}
KLEIN = {"guidance_embeds": False}
G = CLIPTextConfig(num_hidden_layers=32, hidden_size=1280, intermediate_size=5120, projection_dim=1280)
L = CLIPTextConfig(num_hidden_layers=12, hidden_size=768, intermediate_size=3072, projection_dim=768)
H = CLIPTextConfig(num_hidden_layers=23, hidden_size=1024, intermediate_size=4096)


def sd3(depth: int, **options: Any) -> Any:
    sizes = {"num_layers": depth, "num_attention_heads": depth, "caption_projection_dim": 64 * depth}
    return SD3Transformer2DModel(**sizes, **SD3, **options)


MODELS: dict[str, Callable[[], Any]] = {
    "sd15 unet": lambda: UNet2DConditionModel(cross_attention_dim=768),
    "sd15 inpainting unet": lambda: UNet2DConditionModel(cross_attention_dim=768, in_channels=9),
    "sd2 unet": lambda: UNet2DConditionModel(cross_attention_dim=1024, use_linear_projection=True),
    "sdxl unet": lambda: UNet2DConditionModel(
        cross_attention_dim=2048,
        down_block_types=XL_DOWN,
        up_block_types=XL_UP,
        projection_class_embeddings_input_dim=2816,
        **XL,
        **ADDED,
    ),
    "sdxl-refiner unet": lambda: UNet2DConditionModel(
        cross_attention_dim=1280,
        block_out_channels=(384, 768, 1536, 1536),
        down_block_types=REFINER_DOWN,
        up_block_types=REFINER_UP,
        transformer_layers_per_block=4,
        projection_class_embeddings_input_dim=2560,
        **ADDED,
    ),
    "animatediff v1 unet": lambda: UNetMotionModel(cross_attention_dim=768, use_motion_mid_block=False),
    "animatediff v2 unet": lambda: UNetMotionModel(cross_attention_dim=768, use_motion_mid_block=True),
    "sd3 medium transformer": lambda: sd3(24),
    "sd3 3.5-medium transformer": lambda: sd3(24, dual_attention_layers=tuple(range(13)), qk_norm="rms_norm"),
    "sd3 3.5-large transformer": lambda: sd3(38, qk_norm="rms_norm"),
    "flux dev transformer": lambda: FluxTransformer2DModel(guidance_embeds=True),
    "flux schnell transformer": lambda: FluxTransformer2DModel(guidance_embeds=False),
    "chroma transformer": lambda: ChromaTransformer2DModel(),
    "flux2 dev transformer": lambda: Flux2Transformer2DModel(),
    "flux2 klein-9b transformer": lambda: Flux2Transformer2DModel(
        num_attention_heads=32, num_single_layers=24, joint_attention_dim=12288, **KLEIN
    ),
    "flux2 klein-4b transformer": lambda: Flux2Transformer2DModel(
        num_attention_heads=24, num_layers=5, num_single_layers=20, joint_attention_dim=7680, **KLEIN
    ),
    "wan 2.1-t2v-1.3b transformer": lambda: WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30),
    "wan 2.1-t2v-14b transformer": lambda: WanTransformer3DModel(),
    "wan 2.1-i2v-14b transformer": lambda: WanTransformer3DModel(
        in_channels=36, image_dim=1280, added_kv_proj_dim=5120
    ),
    "wan 2.2-ti2v-5b transformer": lambda: WanTransformer3DModel(
        num_attention_heads=24, ffn_dim=14336, num_layers=30, in_channels=48, out_channels=48
    ),
    "wan 2.2-i2v-a14b transformer": lambda: WanTransformer3DModel(in_channels=36),
    "qwen-image transformer": lambda: QwenImageTransformer2DModel(),
    "z-image transformer": lambda: ZImageTransformer2DModel(),
    "hunyuan-video transformer": lambda: HunyuanVideoTransformer3DModel(),
    "clip l": lambda: CLIPTextModel(L),
    "clip l with projection": lambda: CLIPTextModelWithProjection(L),
    "clip h": lambda: CLIPTextModel(H),
    "clip g": lambda: CLIPTextModelWithProjection(G),
    "t5": lambda: T5EncoderModel(T5Config(**T5_SIZES)),
    "umt5": lambda: UMT5EncoderModel(UMT5Config(vocab_size=256384, **T5_SIZES)),
}
# Components that are another entry's.
SAME = {
    "animatediff v3 unet": "animatediff v1 unet",
    "wan 2.2-t2v-a14b transformer": "wan 2.1-t2v-14b transformer",
    "wan 2.2-t2v-a14b transformer_2": "wan 2.1-t2v-14b transformer",
    "wan 2.2-i2v-a14b transformer_2": "wan 2.2-i2v-a14b transformer",
    "chroma text_encoder": "t5",
    "hunyuan-video text_encoder_2": "clip l",
    "sd2 text_encoder": "clip h",
    **{f"flux {variant} text_encoder_2": "t5" for variant in ("dev", "schnell")},
    **{f"sd3 {table.variant} text_encoder": "clip l with projection" for table in FAMILIES if table.name == "sd3"},
    **{f"wan {table.variant} text_encoder": "umt5" for table in FAMILIES if table.name == "wan"},
}
USUAL = {"text_encoder": "clip l", "text_encoder_2": "clip g", "text_encoder_3": "t5"}
CASES = [(table, component) for table in FAMILIES for component in table.trees()]


def key(table: FamilyTable, component: str = "") -> str:
    return " ".join(part for part in (table.name, table.variant, component) if part)


@cache
def tree_of(name: str) -> Tree:
    with torch.device("meta"):
        model = MODELS[name]()
    shapes = (
        (module, {own: tuple(value.shape) for own, value in layer.named_parameters(recurse=False)})
        for module, layer in model.named_modules()
    )
    plain = ((module, {own: of[own] for own in ("weight", "bias") if own in of}) for module, of in shapes)
    return {module: of for module, of in plain if of}


@pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")  # diffusers' Chroma warns about diffusers' Flux
@pytest.mark.parametrize(("table", "component"), CASES, ids=[key(*case) for case in CASES])
def test_the_tree_is_that_of_the_class(table: FamilyTable, component: str) -> None:
    name = key(table, component)
    assert table.trees()[component] == tree_of(name if name in MODELS else SAME.get(name) or USUAL[component])


def test_every_family_has_one_name_and_its_trees_are_made_once() -> None:
    assert len({key(table) for table in FAMILIES}) == len({table.title for table in FAMILIES}) == len(FAMILIES)
    assert all(table.trees() is table.trees() for table in FAMILIES)
    assert clip(width=8, depth=1)["encoder.layers.0.mlp.fc1"] == {"weight": (32, 8), "bias": (32,)}


@pytest.mark.parametrize("table", FAMILIES, ids=key)
def test_flattening_tells_all_modules_of_a_component_apart(table: FamilyTable) -> None:
    """And every alias too: two names of a component that flatten to one mean the same rows."""
    names = NameMap.of(table.trees())
    for component, tree in table.trees().items():
        assert len({module.replace(".", "_") for module in tree}) == len(tree)
        assert set(names.stems[component]) == {
            name.replace(".", "_") for owner, name in names.dotted if owner == component
        }
