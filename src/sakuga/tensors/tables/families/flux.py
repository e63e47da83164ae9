"""Trees of Flux.1, Chroma and HunyuanVideo, in diffusers naming: blocks of two streams, then blocks of one."""

from __future__ import annotations

from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import (
    blocks,
    conv,
    embedder,
    linear,
    mlp,
    norm,
    projections,
    scale,
    under,
)

WIDTH, HEAD, TIME = 3072, 128, 256
TEXT, POOLED = 4096, 768  # what T5 (or a language model) and CLIP give


def flux(*, double: int = 19, single: int = 38, guidance: bool = True) -> Tree:
    """Flux.1; schnell is without ``guidance``."""
    return {
        **under("time_text_embed", _conditions(guidance=guidance)),
        "context_embedder": linear(TEXT, WIDTH),
        "x_embedder": linear(64, WIDTH),
        **_blocks(double, single, modulated=True),
        "norm_out.linear": linear(WIDTH, 2 * WIDTH),
        "proj_out": linear(WIDTH, 64),
    }


def chroma(*, double: int = 19, single: int = 38, guidance: int = 5) -> Tree:
    """Chroma: Flux whose modulations all come from one small network of ``guidance`` layers."""
    inner = 5120
    return {
        "distilled_guidance_layer.in_proj": linear(64, inner),
        **blocks("distilled_guidance_layer.layers", guidance, embedder(inner, inner)),
        **{f"distilled_guidance_layer.norms.{index}": scale(inner) for index in range(guidance)},
        "distilled_guidance_layer.out_proj": linear(inner, WIDTH),
        "context_embedder": linear(TEXT, WIDTH),
        "x_embedder": linear(64, WIDTH),
        **_blocks(double, single, modulated=False),
        "proj_out": linear(WIDTH, 64),
    }


def hunyuan_video(*, double: int = 20, single: int = 40, refiners: int = 2) -> Tree:
    """HunyuanVideo, from text to video."""
    refiner: Tree = {
        "norm1": norm(WIDTH),
        **under("attn", projections("to_q to_k to_v to_out.0", WIDTH, WIDTH)),
        "norm2": norm(WIDTH),
        **under("ff", mlp(WIDTH, 4 * WIDTH)),
        "norm_out.linear": linear(WIDTH, 2 * WIDTH),
    }
    return {
        "x_embedder.proj": conv(16, WIDTH, 1, 2, 2),
        **under("context_embedder.time_text_embed.timestep_embedder", embedder(TIME, WIDTH)),
        **under("context_embedder.time_text_embed.text_embedder", embedder(TEXT, WIDTH)),
        "context_embedder.proj_in": linear(TEXT, WIDTH),
        **blocks("context_embedder.token_refiner.refiner_blocks", refiners, refiner),
        **under("time_text_embed", _conditions(guidance=True)),
        **_blocks(double, single, modulated=True),
        "norm_out.linear": linear(WIDTH, 2 * WIDTH),
        "proj_out": linear(WIDTH, 64),
    }


def _conditions(*, guidance: bool) -> Tree:
    return {
        **under("timestep_embedder", embedder(TIME, WIDTH)),
        **(under("guidance_embedder", embedder(TIME, WIDTH)) if guidance else {}),
        **under("text_embedder", embedder(POOLED, WIDTH)),
    }


def _blocks(double: int, single: int, *, modulated: bool) -> Tree:
    both = {"norm1.linear": linear(WIDTH, 6 * WIDTH), "norm1_context.linear": linear(WIDTH, 6 * WIDTH)}
    streams = "to_q to_k to_v to_out.0 add_q_proj add_k_proj add_v_proj to_add_out"
    two: Tree = {
        **(both if modulated else {}),
        **under("attn", projections(streams, WIDTH, WIDTH)),
        **dict.fromkeys(("attn.norm_q", "attn.norm_k", "attn.norm_added_q", "attn.norm_added_k"), scale(HEAD)),
        **under("ff", mlp(WIDTH, 4 * WIDTH)),
        **under("ff_context", mlp(WIDTH, 4 * WIDTH)),
    }
    one: Tree = {
        **({"norm.linear": linear(WIDTH, 3 * WIDTH)} if modulated else {}),
        **under("attn", projections("to_q to_k to_v", WIDTH, WIDTH)),
        **dict.fromkeys(("attn.norm_q", "attn.norm_k"), scale(HEAD)),
        "proj_mlp": linear(WIDTH, 4 * WIDTH),
        "proj_out": linear(5 * WIDTH, WIDTH),
    }
    return {
        **blocks("transformer_blocks", double, two),
        **blocks("single_transformer_blocks", single, one),
    }
