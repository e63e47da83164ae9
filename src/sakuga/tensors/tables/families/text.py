"""Trees of the text encoders: CLIP in its sizes and T5, in the naming of transformers.

transformers 5.6 took the level ``text_model`` away from the encoder without a projection and left it to the other one.
"""

from __future__ import annotations

from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import (
    blocks,
    embedding,
    linear,
    norm,
    projections,
    scale,
    under,
)

CLIP_WORDS, CLIP_POSITIONS = 49408, 77
T5_WORDS, UMT5_WORDS = 32128, 256384


def clip(
    *,
    width: int = 768,
    depth: int = 12,
    projection: int | None = None,
    inner: int | None = None,
    words: int = CLIP_WORDS,
    positions: int = CLIP_POSITIONS,
) -> Tree:
    """A CLIP text encoder; with ``projection``, the class that has one, ``text_model.`` and ``text_projection``.
    ``inner``: width inside its feed-forwards, four times its own if nothing is said.
    """
    inner = inner or 4 * width
    layer: Tree = {
        **under("self_attn", projections("q_proj k_proj v_proj out_proj", width, width)),
        "layer_norm1": norm(width),
        "mlp.fc1": linear(width, inner),
        "mlp.fc2": linear(inner, width),
        "layer_norm2": norm(width),
    }
    tree = {
        "embeddings.token_embedding": embedding(words, width),
        "embeddings.position_embedding": embedding(positions, width),
        **blocks("encoder.layers", depth, layer),
        "final_layer_norm": norm(width),
    }
    if projection is None:
        return tree
    return {**under("text_model", tree), "text_projection": linear(width, projection, bias=False)}


def clip_l(*, projection: bool = False) -> Tree:
    """OpenAI's CLIP ViT-L/14: the encoder of SD 1, the first one of SDXL, SD 3 and Flux."""
    return clip(projection=768 if projection else None)


def clip_h() -> Tree:
    """OpenCLIP ViT-H/14 without its last layer: the encoder of SD 2."""
    return clip(width=1024, depth=23)


def clip_g() -> Tree:
    """OpenCLIP ViT-bigG/14: the second encoder of SDXL and SD 3."""
    return clip(width=1280, depth=32, projection=1280)


def t5(*, words: int = T5_WORDS, depth: int = 24, bias_everywhere: bool = False) -> Tree:
    """The encoder of T5 v1.1 XXL. UMT5 has more words and a table of distances in every block, not only the first."""
    width, inner, heads, distances = 4096, 10240, 64, 32

    def block(index: int) -> Tree:
        relative = {"SelfAttention.relative_attention_bias": embedding(distances, heads)}
        attention = {
            **under("SelfAttention", projections("q k v o", width, width, bias=False)),
            **(relative if bias_everywhere or index == 0 else {}),
            "layer_norm": scale(width),
        }
        dense = {
            **under("DenseReluDense", projections("wi_0 wi_1", width, inner, bias=False)),
            "DenseReluDense.wo": linear(inner, width, bias=False),
            "layer_norm": scale(width),
        }
        return {**under("layer.0", attention), **under("layer.1", dense)}

    return {
        "shared": embedding(words, width),
        "encoder.embed_tokens": embedding(words, width),
        **blocks("encoder.block", depth, block),
        "encoder.final_layer_norm": scale(width),
    }


def umt5() -> Tree:
    """The encoder of Wan."""
    return t5(words=UMT5_WORDS, bias_everywhere=True)
