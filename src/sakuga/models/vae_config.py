"""The config of a VAE (AutoencoderKL) from the shapes in a file's header, for files that come without a config."""

from __future__ import annotations

from typing import Any

from sakuga.errors import UnknownFile
from sakuga.models.keys import Keys, Shape
from sakuga.tensors.tables.ldm_vae import ldm_vae_name

GROUPS = 32


def vae_config(keys: Keys, layout: str, *, scaling_factor: float) -> dict[str, Any]:
    """The config for ``AutoencoderKL``. ``scaling_factor`` is the family's: shapes do not tell it.

    Raises UnknownFile if the shapes make no such VAE.
    """
    level = r"(decoder\.up\.\d+)\." if layout == "ldm" else r"(decoder\.up_blocks\.\d+)\."
    levels = keys.count(level)

    def look(module: str) -> Shape | None:
        name = ldm_vae_name(module, levels) if layout == "ldm" else module
        return keys.shape(f"{name}.weight")

    channels = [look(f"encoder.down_blocks.{level}.resnets.0.conv1") for level in range(levels)]
    layers = 0
    while look(f"encoder.down_blocks.0.resnets.{layers}.conv1") is not None:
        layers += 1
    latent, pixels = look("decoder.conv_in"), look("encoder.conv_in")
    widths = [shape[0] for shape in channels if shape is not None]
    if latent is None or pixels is None or not layers or len(widths) < levels or any(w % GROUPS for w in widths):
        raise UnknownFile(
            "the weights make no VAE of Stable Diffusion's build",
            given=f"{levels} levels of widths {widths}, {layers} layers each",
            expected=f"an encoder and a decoder whose widths {GROUPS} groups divide",
            do="use the VAE as a diffusers folder, whose config says how it is built",
        )
    return {
        "in_channels": pixels[1],
        "out_channels": pixels[1],
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(widths),
        "layers_per_block": layers,
        "latent_channels": latent[1],
        "norm_num_groups": GROUPS,
        "scaling_factor": scaling_factor,
        "use_quant_conv": look("quant_conv") is not None,
        "use_post_quant_conv": look("post_quant_conv") is not None,
        "mid_block_add_attention": look("encoder.mid_block.attentions.0.group_norm") is not None,
    }
