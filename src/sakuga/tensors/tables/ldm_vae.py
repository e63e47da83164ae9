"""LDM names of a VAE's modules, and the older diffusers names of its attention.

In LDM the decoder's levels are counted from the finest, in diffusers from the coarsest; the attention is made of
convolutions of one pixel there and of linear layers here (the loader takes the two ones off the shape).
Checked in the tests against diffusers' own converter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ATTENTION: Mapping[str, str] = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OLD_ATTENTION: Mapping[str, str] = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
MIDDLE = ".mid_block.attentions.0."


def ldm_vae_names(modules: Iterable[str]) -> dict[str, str]:
    """LDM name of each module of a VAE tree (diffusers naming) that LDM has too, without ``first_stage_model.``."""
    names = list(modules)
    levels = len({name.split(".")[2] for name in names if name.startswith("decoder.up_blocks.")})
    found = ((name, ldm_vae_name(name, levels)) for name in names)
    return {name: ldm for name, ldm in found if ldm is not None}


def ldm_vae_name(name: str, levels: int) -> str | None:
    """LDM name of one module of a VAE with ``levels`` levels, None if LDM has no such module."""
    match name.split("."):
        case ["quant_conv" | "post_quant_conv"] | ["encoder" | "decoder", "conv_in" | "conv_out"]:
            return name
        case [side, "conv_norm_out"]:
            return f"{side}.norm_out"
        case ["encoder", "down_blocks", level, "downsamplers", "0", "conv"]:
            return f"encoder.down.{level}.downsample.conv"
        case ["decoder", "up_blocks", level, "upsamplers", "0", "conv"]:
            return f"decoder.up.{levels - 1 - int(level)}.upsample.conv"
        case ["encoder", "down_blocks", level, "resnets", index, inner]:
            return f"encoder.down.{level}.block.{index}.{_resnet(inner)}"
        case ["decoder", "up_blocks", level, "resnets", index, inner]:
            return f"decoder.up.{levels - 1 - int(level)}.block.{index}.{_resnet(inner)}"
        case [side, "mid_block", "resnets", index, inner]:
            return f"{side}.mid.block_{int(index) + 1}.{_resnet(inner)}"
        case [side, "mid_block", "attentions", "0", *inner] if ".".join(inner) in ATTENTION:
            return f"{side}.mid.attn_1.{ATTENTION['.'.join(inner)]}"
    return None


def old_vae_names(modules: Iterable[str]) -> dict[str, str]:
    """What diffusers called the attention of a VAE before version 0.17, for the modules that were renamed since."""
    parts = ((name, *name.rpartition(MIDDLE)) for name in modules)
    return {name: side + MIDDLE + OLD_ATTENTION[own] for name, side, _, own in parts if side and own in OLD_ATTENTION}


def _resnet(inner: str) -> str:
    return "nin_shortcut" if inner == "conv_shortcut" else inner
