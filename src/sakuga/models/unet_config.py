"""The config of a UNet or ControlNet from the shapes in a file's header, for files that come without a config.

Looks at names in diffusers naming through a function that may translate them, so one reading serves both layouts. What
shapes cannot tell (heads, groups of the norms) comes from the family. Refuses sizes that contradict one another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sakuga.errors import UnknownFile
from sakuga.models.keys import Keys, Shape
from sakuga.tensors.tables.ldm_control import control_name
from sakuga.tensors.tables.ldm_unet import UNetTree, ldm_unet_name

Look = Callable[[str], Shape | None]
GROUPS = 32  # of every GroupNorm in files that come without a config
ATTENDED = {True: "CrossAttnDownBlock2D", False: "DownBlock2D"}
ATTENDED_UP = {True: "CrossAttnUpBlock2D", False: "UpBlock2D"}


def unet_look(keys: Keys, layout: str) -> Look:
    """Shapes of a UNet's or ControlNet's weights by diffusers' name of the module, in either layout."""
    if layout != "ldm":
        return lambda module: keys.shape(f"{module}.weight")
    tree = UNetTree(per_level=_entries_per_level(keys))
    hint_blocks = max(keys.count(r"input_hint_block\.(\d+)\.weight$") - 2, 0)

    def look(module: str) -> Shape | None:
        name = control_name(module, hint_blocks=hint_blocks) or ldm_unet_name(module, tree)
        return keys.shape(f"{name}.weight")

    return look


def _entries_per_level(keys: Keys) -> int:
    """Where the first downsampler stands; a UNet of one level has none, and all its blocks are of that level."""
    match = keys.find(r"input_blocks\.(\d+)\.0\.op\.weight$")
    return int(match[1]) if match else keys.count(r"input_blocks\.(\d+)\.")


def unet_config(look: Look, *, heads: int) -> dict[str, Any]:
    """The config for ``UNet2DConditionModel``. Raises UnknownFile if the file's shapes make no UNet of this build."""
    config = encoder_config(look, heads=heads)
    levels = len(config["block_out_channels"])
    out = _needed(look, "conv_out")
    attended = [look(f"up_blocks.{level}.attentions.0.norm") is not None for level in range(levels)]
    return {**config, "out_channels": out[0], "up_block_types": tuple(ATTENDED_UP[one] for one in attended)}


def control_config(look: Look, *, heads: int) -> dict[str, Any]:
    """The config for ``ControlNetModel``."""
    hint = "controlnet_cond_embedding"
    first = _needed(look, f"{hint}.conv_in")
    widths = [first[0]]
    while (shape := look(f"{hint}.blocks.{2 * len(widths) - 1}")) is not None:
        widths.append(shape[0])
    return {
        **encoder_config(look, heads=heads),
        "conditioning_channels": first[1],
        "conditioning_embedding_out_channels": tuple(widths),
    }


def encoder_config(look: Look, *, heads: int) -> dict[str, Any]:
    """What a UNet and a ControlNet have in common: all of the way down."""
    channels: list[int] = []
    attended: list[bool] = []
    while (shape := look(f"down_blocks.{len(channels)}.resnets.0.conv1")) is not None:
        attended.append(look(f"down_blocks.{len(channels)}.attentions.0.norm") is not None)
        channels.append(shape[0])
    layers = 0
    while look(f"down_blocks.0.resnets.{layers}.conv1") is not None:
        layers += 1
    level = attended.index(True) if True in attended else None
    block = "mid_block.attentions.0" if level is None else f"down_blocks.{level}.attentions.0"
    context = _needed(look, f"{block}.transformer_blocks.0.attn2.to_k")
    projection = _needed(look, f"{block}.proj_in")
    _check(channels, layers, heads)
    return {
        "in_channels": _needed(look, "conv_in")[1],
        "block_out_channels": tuple(channels),
        "layers_per_block": layers,
        "down_block_types": tuple(ATTENDED[one] for one in attended),
        "cross_attention_dim": context[1],
        "attention_head_dim": heads,  # diffusers' name for the number of heads
        "use_linear_projection": len(projection) == 2,
        "norm_num_groups": GROUPS,
    }


def _needed(look: Look, module: str) -> Shape:
    shape = look(module)
    if shape is None:
        raise UnknownFile(
            "the weights make no UNet of Stable Diffusion's build", given=f"nothing for {module}", do="use another file"
        )
    return shape


def _check(channels: list[int], layers: int, heads: int) -> None:
    odd = [width for width in channels if width % GROUPS or width % heads]
    if not channels or not layers or odd:
        raise UnknownFile(
            "the weights make no UNet of Stable Diffusion's build",
            given=f"{len(channels)} levels of widths {channels}, {layers} layers each",
            expected=f"widths that {GROUPS} groups and {heads} heads divide",
            do="use the model as a diffusers folder, whose config says how it is built",
        )
