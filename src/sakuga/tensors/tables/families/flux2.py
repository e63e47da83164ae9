"""The tree of Flux.2, in diffusers naming.

There are no biases; all blocks share their modulation; a block of one stream begins with one fused layer.
"""

from __future__ import annotations

from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import blocks, embedder, linear, projections, scale, under

HEAD, TIME, CHANNELS = 128, 256, 128


def flux2(*, width: int, double: int, single: int, text: int, guidance: bool) -> Tree:
    """Flux.2 with states of ``width`` and a text encoder that gives ``text`` numbers for each word."""

    def plain(inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        return dict(linear(inputs, outputs, bias=False))

    streams = "to_q to_k to_v to_out.0 add_q_proj add_k_proj add_v_proj to_add_out"
    gated: Tree = {"linear_in": plain(width, 6 * width), "linear_out": plain(3 * width, width)}
    two: Tree = {
        **under("attn", projections(streams, width, width, bias=False)),
        **dict.fromkeys(("attn.norm_q", "attn.norm_k", "attn.norm_added_q", "attn.norm_added_k"), scale(HEAD)),
        **under("ff", gated),
        **under("ff_context", gated),
    }
    one: Tree = {
        "attn.to_qkv_mlp_proj": plain(width, 9 * width),
        "attn.norm_q": scale(HEAD),
        "attn.norm_k": scale(HEAD),
        "attn.to_out": plain(4 * width, width),
    }
    times = ("timestep_embedder", "guidance_embedder") if guidance else ("timestep_embedder",)
    return {
        **{
            name: layer
            for embedded in times
            for name, layer in under(f"time_guidance_embed.{embedded}", embedder(TIME, width, bias=False)).items()
        },
        "double_stream_modulation_img.linear": plain(width, 6 * width),
        "double_stream_modulation_txt.linear": plain(width, 6 * width),
        "single_stream_modulation.linear": plain(width, 3 * width),
        "x_embedder": plain(CHANNELS, width),
        "context_embedder": plain(text, width),
        **blocks("transformer_blocks", double, two),
        **blocks("single_transformer_blocks", single, one),
        "norm_out.linear": plain(width, 2 * width),
        "proj_out": plain(width, CHANNELS),
    }
