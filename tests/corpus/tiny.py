"""Two tiny models with real modules, a UNet with its text encoder and a transformer of two kinds of blocks, and the
layouts of adapters for them: for tests that read real files and change real weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from tests.corpus.layouts import Layout, dotted, flat
from torch import nn

from sakuga.tensors.seat import Shape, Tree
from sakuga.tensors.tables.families import FamilyTable
from sakuga.tensors.tables.families.layers import blocks, embedding, linear, mlp, norm, projections, under
from sakuga.tensors.tables.families.unet import unet

WIDTH = 16


def _text() -> Tree:
    layer = {
        **under("self_attn", projections("q_proj k_proj v_proj out_proj", WIDTH, WIDTH)),
        "mlp.fc1": linear(WIDTH, 2 * WIDTH),
        "layer_norm1": norm(WIDTH),
    }
    return {"embeddings.token_embedding": embedding(24, WIDTH), **blocks("encoder.layers", 2, layer)}


def _sd() -> Mapping[str, Tree]:
    whole = unet(widths=(8, WIDTH), depths=(1, 0), middle_depth=1, context=WIDTH)
    kept = ("conv_in", "down_blocks.0.", "mid_block.resnets.0.")
    return {"unet": {name: own for name, own in whole.items() if name.startswith(kept)}, "text_encoder": _text()}


def _flux() -> Mapping[str, Tree]:
    streams = "to_q to_k to_v to_out.0 add_q_proj add_k_proj add_v_proj to_add_out"
    two = {
        **dict.fromkeys(("norm1.linear", "norm1_context.linear"), linear(WIDTH, 6 * WIDTH)),
        **under("attn", projections(streams, WIDTH, WIDTH)),
        **under("ff", mlp(WIDTH, 4 * WIDTH)),
        **under("ff_context", mlp(WIDTH, 4 * WIDTH)),
    }
    one = {
        "norm.linear": linear(WIDTH, 3 * WIDTH),
        **under("attn", projections("to_q to_k to_v", WIDTH, WIDTH)),
        "proj_mlp": linear(WIDTH, 4 * WIDTH),
        "proj_out": linear(5 * WIDTH, WIDTH),
    }
    ends = {"x_embedder": linear(8, WIDTH), "norm_out.linear": linear(WIDTH, 2 * WIDTH), "proj_out": linear(WIDTH, 8)}
    inner = {**blocks("transformer_blocks", 1, two), **blocks("single_transformer_blocks", 1, one)}
    return {"transformer": {**ends, **inner}}


SD = FamilyTable(name="sd15", title="a tiny UNet", build=_sd)
FLUX = FamilyTable(name="flux", title="a tiny transformer", build=_flux)


class Part(nn.Module):
    """A module that holds others; forward is never asked for."""


def grow(tree: Tree) -> nn.Module:
    """Real modules for a tree, with random weights."""
    root = Part()
    for name, shapes in tree.items():
        *parents, last = name.split(".")
        place: nn.Module = root
        for parent in parents:
            if parent not in dict(place.named_children()):
                place.add_module(parent, Part())
            place = getattr(place, parent)
        place.add_module(last, _layer(shapes["weight"], "bias" in shapes, is_table="embedding" in last))
    return root


def _layer(shape: Shape, bias: bool, *, is_table: bool) -> nn.Module:
    if is_table:
        return nn.Embedding(*shape)
    if len(shape) == 2:
        return nn.Linear(shape[1], shape[0], bias=bias)
    return nn.LayerNorm(shape) if len(shape) == 1 else nn.Conv2d(shape[1], shape[0], shape[2:], bias=bias)


def grown(table: FamilyTable) -> dict[str, nn.Module]:
    """The parts of a tiny model, the same each time."""
    torch.manual_seed(11)
    return {component: grow(tree) for component, tree in table.trees().items()}


_INNER = "down_blocks.0.attentions.0.transformer_blocks.0"
_UNET = {
    name: name
    for name in (
        *(f"{_INNER}.{layer}" for layer in ("attn1.to_q", "attn2.to_k", "ff.net.0.proj", "norm1")),
        *("down_blocks.0.attentions.0.proj_in", "mid_block.resnets.0.conv1"),
    )
}
_LDM = {
    "input_blocks.1.1.transformer_blocks.0.attn1.to_q": f"{_INNER}.attn1.to_q",
    "middle_block.0.in_layers.2": "mid_block.resnets.0.conv1",
}
_CLIP = {f"text_model.{name}": name for name in ("encoder.layers.1.mlp.fc1", "encoder.layers.0.layer_norm1")}
_BFL = {
    "double_blocks.0.img_attn.qkv": " + ".join(f"transformer_blocks.0.attn.to_{x}" for x in "qkv"),
    "double_blocks.0.txt_mlp.0": "transformer_blocks.0.ff_context.net.0.proj",
    "single_blocks.0.linear1": " + ".join(
        f"single_transformer_blocks.0.{x}" for x in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    ),
}
_OWN = {name: name for name in ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.0.proj_out")}
_KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_", "transformer": "lora_unet_"}
_PARTS = {component: f"{component}." for component in ("unet", "text_encoder", "transformer")}
_WRAPPED = dict.fromkeys(("unet", "transformer"), "base_model.model.")

TINY: Mapping[str, Layout] = {
    "kohya": flat(SD, _KOHYA, {"unet": _UNET, "text_encoder": _CLIP}),
    "kohya, LDM names": flat(SD, _KOHYA, {"unet": _LDM}),
    "kohya OFT": flat(SD, {"unet": "oft_unet_"}, {"unet": _LDM}),
    "kohya Flux": flat(FLUX, _KOHYA, {"transformer": _BFL}),
    "diffusers": dotted(SD, _PARTS, {"unet": _UNET, "text_encoder": _CLIP}),
    "diffusers 0.22": dotted(SD, _PARTS, {"unet": _UNET}, "dot"),
    "PEFT": dotted(SD, _WRAPPED, {"unet": _UNET}),
    "PEFT, named": dotted(FLUX, _WRAPPED, {"transformer": _OWN}, "named"),
    "ComfyUI": dotted(FLUX, {"transformer": "diffusion_model."}, {"transformer": _BFL}, "lycoris"),
    "LyCORIS": flat(FLUX, {"transformer": "lycoris_"}, {"transformer": _OWN}),
}
