"""The tree of Stable Diffusion 3 and 3.5, in diffusers naming.

The last block gives no text on and so lacks the layers for that.
"""

from __future__ import annotations

from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import blocks, conv, embedder, linear, mlp, projections, scale, under

HEAD, TIME, TEXT, POOLED, CHANNELS = 64, 256, 4096, 2048, 16


def sd3(*, depth: int, dual: int = 0, normed: bool = False) -> Tree:
    """SD 3 of ``depth`` blocks, with states 64 times as wide as that. The first ``dual`` blocks attend twice (3.5
    medium); ``normed``: q and k have norms (3.5).
    """
    width = HEAD * depth

    def block(index: int) -> Tree:
        last, twice = index == depth - 1, index < dual
        norms = ("attn.norm_q", "attn.norm_k", "attn.norm_added_q", "attn.norm_added_k")
        second = {
            **under("attn2", projections("to_q to_k to_v to_out.0", width, width)),
            **(dict.fromkeys(("attn2.norm_q", "attn2.norm_k"), scale(HEAD)) if normed else {}),
        }
        text = {"attn.to_add_out": linear(width, width), **under("ff_context", mlp(width, 4 * width))}
        return {
            "norm1.linear": linear(width, (9 if twice else 6) * width),
            "norm1_context.linear": linear(width, (2 if last else 6) * width),
            **under("attn", projections("to_q to_k to_v add_q_proj add_k_proj add_v_proj to_out.0", width, width)),
            **(dict.fromkeys(norms, scale(HEAD)) if normed else {}),
            **(second if twice else {}),
            **under("ff", mlp(width, 4 * width)),
            **({} if last else text),
        }

    return {
        "pos_embed.proj": conv(CHANNELS, width, 2, 2),
        **under("time_text_embed.timestep_embedder", embedder(TIME, width)),
        **under("time_text_embed.text_embedder", embedder(POOLED, width)),
        "context_embedder": linear(TEXT, width),
        **blocks("transformer_blocks", depth, block),
        "norm_out.linear": linear(width, 2 * width),
        "proj_out": linear(width, 4 * CHANNELS),
    }
