"""Names of a CLIP text encoder's modules: with and without the level ``text_model``, and those of OpenCLIP.

transformers 5.6 took the level away from its class, while every file and every adapter still has it; a
module is therefore known by both names, whichever of them the tree at hand uses.
"""

from __future__ import annotations

from collections.abc import Iterable

from sakuga.tensors.seat import Aliases, Seat, Tree
from sakuga.tensors.tables.naming import Naming, Rules, within

LEVEL = "text_model."
FIRST = "encoder.layers.0.self_attn.q_proj"  # a module that only CLIP has

LAYER: Rules = {
    "attn.in_proj": "self_attn.q_proj + self_attn.k_proj + self_attn.v_proj",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
}


def clip_text_names(modules: Iterable[str]) -> dict[str, str]:
    """The other name of each module or parameter: with ``text_model.`` if the tree is without it, and the reverse."""
    return {name: name.removeprefix(LEVEL) if name.startswith(LEVEL) else LEVEL + name for name in modules if name}


def clip_names(tree: Tree) -> Aliases:
    """Every module of a CLIP tree with and without the level; {} for other trees."""
    if FIRST not in tree and LEVEL + FIRST not in tree:
        return {}
    return {other: (Seat(module=own),) for own, other in clip_text_names(tree).items()}


def _open_clip(level: str) -> Naming:
    return Naming(
        own=level + FIRST,
        other="transformer.resblocks.0.attn.out_proj",
        rules={
            **within("transformer.resblocks.#", f"{level}encoder.layers.#", LAYER),
            "token_embedding": f"{level}embeddings.token_embedding",
            "ln_final": f"{level}final_layer_norm",
        },
    )


# OpenCLIP's names, for trees with the level and without it.
OPEN_CLIP, OPEN_CLIP_LEVEL = _open_clip(""), _open_clip(LEVEL)
