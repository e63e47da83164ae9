"""The models that other libraries' adapters are made for: their real classes at their real sizes, without memory except
for the few layers that an exhibit is about. So names and shapes are the libraries' own and nothing is large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from diffusers import (
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    HunyuanVideoTransformer3DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    WanTransformer3DModel,
    ZImageTransformer2DModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

_XL = {
    "cross_attention_dim": 2048,
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": [1, 2, 10],
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "projection_class_embeddings_input_dim": 2816,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "use_linear_projection": True,
}
_SD3 = {"joint_attention_dim": 4096, "pooled_projection_dim": 2048, "caption_projection_dim": 1536, "num_layers": 24}
_SD3 |= {"num_attention_heads": 24, "pos_embed_max_size": 96}
_L = CLIPTextConfig(num_hidden_layers=12, hidden_size=768, intermediate_size=3072, projection_dim=768)
_G = CLIPTextConfig(num_hidden_layers=32, hidden_size=1280, intermediate_size=5120, projection_dim=1280)
_T5 = T5Config(d_model=4096, d_ff=10240, d_kv=64, num_heads=64, num_layers=24, feed_forward_proj="gated-gelu")

MODELS: Mapping[str, Callable[[], Any]] = {
    "sd15": lambda: UNet2DConditionModel(cross_attention_dim=768),
    "sd2": lambda: UNet2DConditionModel(cross_attention_dim=1024, use_linear_projection=True),
    "sdxl": lambda: UNet2DConditionModel(**_XL),
    "flux": lambda: FluxTransformer2DModel(guidance_embeds=True),
    "flux2": lambda: Flux2Transformer2DModel(),
    "sd3": lambda: SD3Transformer2DModel(**_SD3),
    "sd35": lambda: SD3Transformer2DModel(dual_attention_layers=tuple(range(13)), qk_norm="rms_norm", **_SD3),
    "wan": lambda: WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30),
    "qwen": lambda: QwenImageTransformer2DModel(),
    "z-image": lambda: ZImageTransformer2DModel(),
    "hunyuan": lambda: HunyuanVideoTransformer3DModel(),
    "clip l": lambda: CLIPTextModel(_L),
    "clip g": lambda: CLIPTextModelWithProjection(_G),
    "t5": lambda: T5EncoderModel(_T5),
}
INNER = "down_blocks.1.attentions.0.transformer_blocks.0"
UNET = (
    *(f"{INNER}.{layer}" for layer in ("attn1.to_q", "attn2.to_k", "attn1.to_out.0", "ff.net.0.proj")),
    *("down_blocks.1.attentions.0.proj_in", "mid_block.resnets.0.conv1", "down_blocks.0.downsamplers.0.conv"),
)
ATTENTION = tuple(f"{INNER}.{attn}.{layer}" for attn in ("attn1", "attn2") for layer in ("to_q", "to_k", "to_v"))
CLIP = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.11.mlp.fc1")
FLUX = (
    *(f"transformer_blocks.2.attn.{layer}" for layer in ("to_q", "to_k", "to_v", "add_q_proj", "to_out.0")),
    *("transformer_blocks.2.ff.net.0.proj", "single_transformer_blocks.7.proj_out"),
)
SD3 = (
    *(f"transformer_blocks.2.attn.{layer}" for layer in ("to_q", "add_k_proj", "to_add_out")),
    "transformer_blocks.2.ff.net.2",
)
ALIKE = ("chroma", "flux", "hunyuan-video")  # in what diffusers calls their attention and feed-forward
WAN = ("blocks.3.attn1.to_q", "blocks.3.attn2.to_k", "blocks.29.ffn.net.0.proj")
QWEN = ("transformer_blocks.59.attn.to_q", "transformer_blocks.2.attn.add_v_proj", "transformer_blocks.2.img_mlp.net.2")
Z_IMAGE = ("layers.4.attention.to_q", "layers.4.attention.to_out.0", "layers.4.feed_forward.w1")


@cache
def _outline(name: str) -> Any:
    with torch.device("meta"):
        return MODELS[name]()


def model(name: str, *layers: str) -> Any:
    """The model; of its layers only those named have memory, with random numbers in it."""
    whole = _outline(name)
    for parameter in whole.parameters():
        parameter.requires_grad_(False)
    for layer in layers:
        own = whole.get_submodule(layer)
        if own.weight.is_meta:
            own.to_empty(device="cpu")
            for parameter in own.parameters():
                nn.init.normal_(parameter, std=0.02)
    return whole


def named(layers: Mapping[str, nn.Module]) -> nn.Module:
    """A tree of layers under dotted names, for models whose code no library here has."""
    root = nn.Module()
    for name, layer in layers.items():
        *parents, last = name.split(".")
        place = root
        for parent in parents:
            if parent not in dict(place.named_children()):
                place.add_module(parent, nn.Module())
            place = getattr(place, parent)
        place.add_module(last, layer)
    return root


def forget() -> None:
    """Free the memory of all layers."""
    _outline.cache_clear()
