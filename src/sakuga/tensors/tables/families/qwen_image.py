"""The tree of Qwen-Image and Qwen-Image-Edit, in diffusers naming, which is the naming of every tool for it."""

from __future__ import annotations

from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import blocks, embedder, linear, mlp, projections, scale, under

WIDTH, HEAD, TIME, TEXT, CHANNELS = 3072, 128, 256, 3584, 64


def qwen_image(*, depth: int = 60) -> Tree:
    """Qwen-Image of ``depth`` blocks."""
    streams = "to_q to_k to_v to_out.0 add_q_proj add_k_proj add_v_proj to_add_out"
    block: Tree = {
        "img_mod.1": linear(WIDTH, 6 * WIDTH),
        **under("attn", projections(streams, WIDTH, WIDTH)),
        **dict.fromkeys(("attn.norm_q", "attn.norm_k", "attn.norm_added_q", "attn.norm_added_k"), scale(HEAD)),
        **under("img_mlp", mlp(WIDTH, 4 * WIDTH)),
        "txt_mod.1": linear(WIDTH, 6 * WIDTH),
        **under("txt_mlp", mlp(WIDTH, 4 * WIDTH)),
    }
    return {
        **under("time_text_embed.timestep_embedder", embedder(TIME, WIDTH)),
        "txt_norm": scale(TEXT),
        "img_in": linear(CHANNELS, WIDTH),
        "txt_in": linear(TEXT, WIDTH),
        **blocks("transformer_blocks", depth, block),
        "norm_out.linear": linear(WIDTH, 2 * WIDTH),
        "proj_out": linear(WIDTH, CHANNELS),
    }
