"""LDM names of a ControlNet's modules: the UNet's names for its encoder, and four rules for what is its own.

Source: the files of ControlNet 1.1 (``control_model.`` before every name), checked in the tests against diffusers' own
converter.
"""

from __future__ import annotations

from collections.abc import Iterable

from sakuga.tensors.tables.ldm_unet import ldm_unet_names

HINT = "controlnet_cond_embedding"


def ldm_control_names(modules: Iterable[str]) -> dict[str, str]:
    """LDM name of each module of a ControlNet tree (diffusers naming) that LDM has too, without ``control_model.``."""
    names = list(modules)
    found = ldm_unet_names(names)
    blocks = len({name.split(".")[2] for name in names if name.startswith(f"{HINT}.blocks.")})
    for name in names:
        own = control_name(name, hint_blocks=blocks)
        if own is not None:
            found[name] = own
    return found


def control_name(name: str, *, hint_blocks: int) -> str | None:
    """LDM name of what a ControlNet has beside the UNet's encoder; ``hint_blocks`` convolutions lie in the middle."""
    match name.split("."):
        case ["controlnet_down_blocks", index]:
            return f"zero_convs.{index}.0"
        case ["controlnet_mid_block"]:
            return "middle_block_out.0"
        case ["controlnet_cond_embedding", "conv_in"]:
            return "input_hint_block.0"
        case ["controlnet_cond_embedding", "blocks", index]:
            return f"input_hint_block.{2 * int(index) + 2}"
        case ["controlnet_cond_embedding", "conv_out"]:
            return f"input_hint_block.{2 * hint_blocks + 2}"
    return None
