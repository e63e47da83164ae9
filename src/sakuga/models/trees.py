"""Trees of the parts of a base from their configs, without diffusers and transformers: a check needs no more.

Knows the ordinary builds alone. For any other config, and for one that the classes might refuse, it gives None: then
the class itself is asked, whose import takes seconds. A test holds the trees against the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sakuga.tensors.seat import Shape, Tree
from sakuga.tensors.tables.families.text import clip
from sakuga.tensors.tables.families.unet import unet
from sakuga.tensors.tables.families.vae import dc, kl

Config = Mapping[str, Any]
ATTENDS = {"DownBlock2D": 0, "CrossAttnDownBlock2D": 1, "UpBlock2D": 0, "CrossAttnUpBlock2D": 1}

# What a config may say without any weight being different for it.
UNET_FREE = frozenset(
    [
        "sample_size",
        "center_input_sample",
        "flip_sin_to_cos",
        "freq_shift",
        "downsample_padding",
        "mid_block_scale_factor",
        "dropout",
        "norm_eps",
        "addition_embed_type_num_heads",
        "resnet_skip_time_act",
        "resnet_out_scale_factor",
        "upcast_attention",
        "class_embeddings_concat",
    ]
)
KL_FREE = frozenset(["scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast", "sample_size"])
DC_FREE = frozenset(
    [
        "attention_head_dim",
        "encoder_qkv_multiscales",
        "decoder_qkv_multiscales",
        "encoder_out_shortcut",
        "decoder_in_shortcut",
        "scaling_factor",
    ]
)
# What an ordinary config says if it says anything, and what the tree is made of.
UNET_USUAL: Config = {
    "act_fn": "silu",
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "attention_type": "default",
    "class_embed_type": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "mid_block_only_cross_attention": None,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "num_attention_heads": None,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "projection_class_embeddings_input_dim": None,
    "resnet_time_scale_shift": "default",
    "reverse_transformer_layers_per_block": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
    "transformer_layers_per_block": 1,
}
UNET_READ = frozenset(
    [
        "in_channels",
        "out_channels",
        "block_out_channels",
        "layers_per_block",
        "down_block_types",
        "up_block_types",
        "cross_attention_dim",
        "attention_head_dim",
        "use_linear_projection",
        "norm_num_groups",
    ]
)
KL_READ = frozenset(
    [
        "in_channels",
        "out_channels",
        "block_out_channels",
        "layers_per_block",
        "down_block_types",
        "up_block_types",
        "latent_channels",
        "norm_num_groups",
        "mid_block_add_attention",
        "use_quant_conv",
        "use_post_quant_conv",
    ]
)
DC_USUAL: Config = {
    "encoder_block_types": "ResBlock",
    "decoder_block_types": "ResBlock",
    "decoder_norm_types": "rms_norm",
    "decoder_act_fns": "silu",
    "decoder_conv_act_fn": "relu",
}
DC_READ = frozenset(
    [
        "in_channels",
        "latent_channels",
        "encoder_block_out_channels",
        "decoder_block_out_channels",
        "encoder_layers_per_block",
        "decoder_layers_per_block",
        "downsample_block_type",
        "upsample_block_type",
    ]
)


def unet_tree(config: Config) -> Tree | None:
    """Of a ``UNet2DConditionModel``."""
    if not _ordinary(config, UNET_READ, UNET_USUAL, UNET_FREE):
        return None
    widths, down, up = (
        list(config.get(key) or ()) for key in ("block_out_channels", "down_block_types", "up_block_types")
    )
    heads, layers, groups = (
        config.get("attention_head_dim"),
        config.get("layers_per_block"),
        config.get("norm_num_groups", 32),
    )
    every = list(heads) if isinstance(heads, list | tuple) else [heads] * len(widths)
    numbers = [config.get(key) for key in ("in_channels", "out_channels", "cross_attention_dim")]
    if not _counts(*widths, *every, layers, groups, *numbers) or not len(widths) == len(down) == len(up) == len(every):
        return None
    depths = [ATTENDS.get(str(name)) for name in down]
    mirrored = all(name.replace("Down", "Up") == other for name, other in zip(down, up[::-1], strict=True))
    divided = all(width % groups == 0 and width % own == 0 for width, own in zip(widths, every, strict=True))
    if not mirrored or not divided or not widths or None in depths:
        return None
    return unet(
        widths=tuple(widths),
        depths=tuple(depth or 0 for depth in depths),
        per_level=config["layers_per_block"],
        context=config["cross_attention_dim"],
        linear_projection=bool(config.get("use_linear_projection", False)),
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
    )


def text_tree(config: Config) -> Tree | None:
    """Of a ``CLIPTextModel``, without the level ``text_model``. A config of it may say anything besides."""
    keys = ("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size", "max_position_embeddings")
    numbers = [config.get(key) for key in (*keys, "num_attention_heads")]
    if not _counts(*numbers) or config.get("hidden_act") not in ("quick_gelu", "gelu"):
        return None
    width, depth, inner, words, positions = (config[key] for key in keys)
    if width % config["num_attention_heads"]:
        return None
    return clip(width=width, depth=depth, inner=inner, words=words, positions=positions)


def vae_tree(kind: str, config: Config) -> Tree | None:
    """Of the autoencoder of the class ``kind``."""
    return {"AutoencoderKL": _kl_tree, "AutoencoderDC": _dc_tree}.get(kind, lambda _: None)(config)


def _kl_tree(config: Config) -> Tree | None:
    if not _ordinary(config, KL_READ, {"act_fn": "silu"}, KL_FREE):
        return None
    widths, down, up = (
        list(config.get(key) or ()) for key in ("block_out_channels", "down_block_types", "up_block_types")
    )
    groups, pixels = config.get("norm_num_groups", 32), (config.get("in_channels"), config.get("out_channels"))
    usual = down == ["DownEncoderBlock2D"] * len(widths) and up == ["UpDecoderBlock2D"] * len(widths)
    if (
        not usual
        or not widths
        or not _counts(*widths, groups, *pixels, *map(config.get, ("layers_per_block", "latent_channels")))
    ):
        return None
    if any(width % groups for width in widths):
        return None
    return kl(
        widths=widths,
        layers=config["layers_per_block"],
        pixels=(config["in_channels"], config["out_channels"]),
        latents=config["latent_channels"],
        quantised=(bool(config.get("use_quant_conv", True)), bool(config.get("use_post_quant_conv", True))),
        attention=bool(config.get("mid_block_add_attention", True)),
    )


def _dc_tree(config: Config) -> Tree | None:
    if not _ordinary(config, DC_READ, DC_USUAL, DC_FREE) or not DC_USUAL.keys() <= config.keys():
        return None
    sides = ("encoder", "decoder")
    widths = [list(config.get(f"{side}_block_out_channels") or ()) for side in sides]
    layers = [list(config.get(f"{side}_layers_per_block") or ()) for side in sides]
    folds = (config.get("downsample_block_type"), config.get("upsample_block_type"))
    least = min(map(len, (*widths, *layers)))
    numbers = (*widths[0], *widths[1], config.get("in_channels"), config.get("latent_channels"))
    if least < 2 or not _counts(*numbers) or any(len(a) != len(b) for a, b in zip(widths, layers, strict=True)):
        return None
    whole = all(isinstance(count, int) and count >= 0 for side in layers for count in side)
    if (
        not whole
        or folds != ("pixel_unshuffle", "pixel_shuffle")
        or any(width % 4 for side in widths for width in side)
    ):
        return None
    return dc(
        widths=(widths[0], widths[1]),
        layers=(layers[0], layers[1]),
        pixels=config["in_channels"],
        latents=config["latent_channels"],
    )


def with_growth(tree: Tree) -> dict[str, Mapping[str, Shape]]:
    """The tree with the bias that a layer has not but could have; a table of vectors could not."""
    return {
        module: parameters
        if "bias" in parameters or module.endswith("_embedding") or len(parameters.get("weight", ())) < 2
        else {"bias": parameters["weight"][:1], **parameters}
        for module, parameters in tree.items()
    }


def _ordinary(config: Config, read: frozenset[str], usual: Config, free: frozenset[str]) -> bool:
    """Whether a config says nothing but what is read here, what is usual, and what changes no weight."""
    return all(
        key in read
        or key.startswith("_")
        or (key in free and (value is None or isinstance(value, int | float | list | tuple)))
        or (key in usual and value == usual[key])
        for key, value in config.items()
    )


def _counts(*values: object) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and value > 0 for value in values)
