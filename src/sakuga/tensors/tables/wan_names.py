"""Names of Wan in the code of its makers. Checked in the tests against diffusers' own converters."""

from __future__ import annotations

from sakuga.tensors.tables.naming import Naming, Rules, within

BLOCK: Rules = {
    **{f"self_attn.{name}": f"attn1.to_{name}" for name in "qkv"},
    "self_attn.o": "attn1.to_out.0",
    "self_attn.norm_q": "attn1.norm_q",
    "self_attn.norm_k": "attn1.norm_k",
    **{f"cross_attn.{name}": f"attn2.to_{name}" for name in "qkv"},
    "cross_attn.o": "attn2.to_out.0",
    "cross_attn.norm_q": "attn2.norm_q",
    "cross_attn.norm_k": "attn2.norm_k",
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
    "norm3": "norm2",  # the one norm of a block that has weights; the two namings count them in different orders
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}
PICTURE: Rules = {"proj.0": "norm1", "proj.1": "ff.net.0.proj", "proj.3": "ff.net.2", "proj.4": "norm2"}
WAN = Naming(
    own="condition_embedder.time_proj",
    other="blocks.0.self_attn.q",
    rules={
        **within("blocks.#", "blocks.#", BLOCK),
        **within("img_emb", "condition_embedder.image_embedder", PICTURE),
        "text_embedding.0": "condition_embedder.text_embedder.linear_1",
        "text_embedding.2": "condition_embedder.text_embedder.linear_2",
        "time_embedding.0": "condition_embedder.time_embedder.linear_1",
        "time_embedding.2": "condition_embedder.time_embedder.linear_2",
        "time_projection.1": "condition_embedder.time_proj",
        "head.head": "proj_out",
    },
)
