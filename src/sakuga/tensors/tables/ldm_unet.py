"""LDM names of a UNet's modules: what diffusers calls ``down_blocks.0.resnets.1`` is ``input_blocks.2.0`` there.

The table runs from the real tree of a model (diffusers naming) to the names that a file may have, so nothing is guessed
from an outside name. It refuses nothing: a module that LDM does not have simply gets no name. Source of the rules: the
layout of Stable Diffusion 1 and XL checkpoints, checked in the tests against diffusers' own converter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FIXED: Mapping[str, str] = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET: Mapping[str, str] = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
MIDDLE: Mapping[tuple[str, str], str] = {
    ("resnets", "0"): "middle_block.0",
    ("attentions", "0"): "middle_block.1",
    ("resnets", "1"): "middle_block.2",
}


@dataclass(frozen=True, kw_only=True)
class UNetTree:
    """What the numbering needs to know: entries per level (resnets and one more), and the up levels with attention."""

    per_level: int
    attended_up: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> UNetTree:
        """Read it from dotted names in diffusers naming."""
        parts = [name.split(".") for name in names]
        down = {p[3] for p in parts if p[:3] == ["down_blocks", "0", "resnets"] and len(p) > 3}
        up = frozenset(p[1] for p in parts if p[0] == "up_blocks" and p[2:3] == ["attentions"])
        return cls(per_level=len(down) + 1, attended_up=up)


def ldm_unet_names(modules: Iterable[str]) -> dict[str, str]:
    """LDM name of each module of a UNet tree (all its dotted module names, diffusers naming) that LDM has too.

    Without the prefix ``model.diffusion_model.``. Modules that only hold others are left out.
    """
    names = list(modules)
    tree = UNetTree.of(names)
    found = ((name, ldm_unet_name(name, tree)) for name in names)
    return {name: ldm for name, ldm in found if ldm is not None}


def ldm_unet_name(name: str, tree: UNetTree) -> str | None:
    """LDM name of one module, None if LDM has no such module."""
    if name in FIXED:
        return FIXED[name]
    match name.split("."):
        case ["down_blocks", level, "downsamplers", "0", "conv"]:
            return f"input_blocks.{tree.per_level * (int(level) + 1)}.0.op"
        case ["up_blocks", level, "upsamplers", "0", "conv"]:
            place = 2 if level in tree.attended_up else 1
            return f"output_blocks.{tree.per_level * (int(level) + 1) - 1}.{place}.conv"
        case ["down_blocks", level, kind, index, *inner]:
            return _inside(f"input_blocks.{tree.per_level * int(level) + 1 + int(index)}", kind, inner)
        case ["up_blocks", level, kind, index, *inner]:
            return _inside(f"output_blocks.{tree.per_level * int(level) + int(index)}", kind, inner)
        case ["mid_block", kind, index, *inner] if (kind, index) in MIDDLE:
            return _within(MIDDLE[kind, index], kind, inner)
    return None


def _inside(block: str, kind: str, inner: list[str]) -> str | None:
    """A name inside one numbered block: resnets are its entry 0, attentions its entry 1."""
    return _within(f"{block}.{0 if kind == 'resnets' else 1}", kind, inner)


def _within(entry: str, kind: str, inner: list[str]) -> str | None:
    if kind == "resnets":
        return f"{entry}.{RESNET[inner[0]]}" if len(inner) == 1 and inner[0] in RESNET else None
    return ".".join((entry, *inner)) if kind == "attentions" and inner else None
