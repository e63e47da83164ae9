"""The tree of Z-Image, in diffusers naming."""

from __future__ import annotations

from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import blocks, linear, projections, scale, under

WIDTH, INNER, HEAD, TIME, TEXT, CHANNELS = 3840, 10240, 128, 256, 2560, 64
PATCH = "2-1"  # diffusers keys the first and the last layer by the size of a patch: 2 pixels, 1 frame


def z_image(*, depth: int = 30, refiners: int = 2) -> Tree:
    """Z-Image of ``depth`` layers and ``refiners`` of each kind; those of the text are not modulated."""
    plain: Tree = {
        **under("attention", projections("to_q to_k to_v to_out.0", WIDTH, WIDTH, bias=False)),
        "attention.norm_q": scale(HEAD),
        "attention.norm_k": scale(HEAD),
        **under("feed_forward", projections("w1 w3", WIDTH, INNER, bias=False)),
        "feed_forward.w2": linear(INNER, WIDTH, bias=False),
        **dict.fromkeys(("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"), scale(WIDTH)),
    }
    modulated: Tree = {**plain, "adaLN_modulation.0": linear(TIME, 4 * WIDTH)}
    return {
        f"all_x_embedder.{PATCH}": linear(CHANNELS, WIDTH),
        f"all_final_layer.{PATCH}.linear": linear(WIDTH, CHANNELS),
        f"all_final_layer.{PATCH}.adaLN_modulation.1": linear(TIME, WIDTH),
        **blocks("noise_refiner", refiners, modulated),
        **blocks("context_refiner", refiners, plain),
        "t_embedder.mlp.0": linear(TIME, 1024),
        "t_embedder.mlp.2": linear(1024, TIME),
        "cap_embedder.0": scale(TEXT),
        "cap_embedder.1": linear(TEXT, WIDTH),
        **blocks("layers", depth, modulated),
    }
