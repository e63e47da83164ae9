"""The tree of Wan 2.1 and 2.2, in diffusers naming."""

from __future__ import annotations

from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import blocks, conv, embedder, linear, mlp, norm, projections, scale, under

TIME, TEXT = 256, 4096


def wan(*, width: int, inner: int, depth: int, inputs: int = 16, outputs: int = 16, image: int | None = None) -> Tree:
    """Wan with states of ``width``. ``image``: width of the picture's states for the 2.1 models that attend to one."""
    block = {
        **under("attn1", projections("to_q to_k to_v to_out.0", width, width)),
        **under("attn2", projections("to_q to_k to_v to_out.0", width, width)),
        **dict.fromkeys(("attn1.norm_q", "attn1.norm_k", "attn2.norm_q", "attn2.norm_k"), scale(width)),
        "norm2": norm(width),
        **under("ffn", mlp(width, inner)),
    }
    picture: Tree = {}
    if image is not None:
        block |= under("attn2", projections("add_k_proj add_v_proj", width, width))
        block["attn2.norm_added_k"] = scale(width)
        picture = {
            "norm1": norm(image),
            "ff.net.0.proj": linear(image, image),
            "ff.net.2": linear(image, width),
            "norm2": norm(width),
        }
    return {
        "patch_embedding": conv(inputs, width, 1, 2, 2),
        **under("condition_embedder.time_embedder", embedder(TIME, width)),
        "condition_embedder.time_proj": linear(width, 6 * width),
        **under("condition_embedder.text_embedder", embedder(TEXT, width)),
        **under("condition_embedder.image_embedder", picture),
        **blocks("blocks", depth, block),
        "proj_out": linear(width, 4 * outputs),
    }
