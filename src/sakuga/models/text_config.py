"""The config of a CLIP text encoder from the shapes in a file's header, for files that come without a config."""

from __future__ import annotations

from typing import Any

from sakuga.errors import UnknownFile
from sakuga.models.keys import Keys

HEAD_WIDTH = 64  # of every CLIP text encoder that was published; narrower ones have one head
BEGIN, END = 49406, 49407


def text_config(keys: Keys) -> dict[str, Any]:
    """The config for ``CLIPTextConfig``; ``keys`` without any prefix. Raises UnknownFile if a table is missing."""
    table = keys.shape("embeddings.token_embedding.weight")
    positions = keys.shape("embeddings.position_embedding.weight")
    inner = keys.shape("encoder.layers.0.mlp.fc1.weight")
    heads = max(table[1] // HEAD_WIDTH, 1) if table else 1
    if table is None or positions is None or inner is None or table[1] % heads:
        raise UnknownFile(
            "the weights make no CLIP text encoder",
            given=f"token table {table}, position table {positions}, inner layer {inner}",
            expected=f"all three, of a width that its {heads} heads divide",
            do="use the model as a diffusers folder, whose config says how it is built",
        )
    return {
        "vocab_size": table[0],
        "hidden_size": table[1],
        "intermediate_size": inner[0],
        "num_hidden_layers": keys.count(r"(encoder\.layers\.\d+)\."),
        "num_attention_heads": heads,
        "max_position_embeddings": positions[0],
        "hidden_act": "quick_gelu",
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "pad_token_id": END,
    }
