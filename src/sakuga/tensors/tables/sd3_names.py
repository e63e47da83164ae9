"""Names of Stable Diffusion 3 in Stability AI's code (MMDiT). Checked in the tests against diffusers' converter."""

from __future__ import annotations

from sakuga.tensors.tables.flux_names import ADDED, QKV
from sakuga.tensors.tables.naming import Naming, Rules, within

BLOCK: Rules = {
    "x_block.attn.qkv": QKV,
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn.ln_q": "attn.norm_q",
    "x_block.attn.ln_k": "attn.norm_k",
    "x_block.attn2.qkv": "attn2.to_q + attn2.to_k + attn2.to_v",
    "x_block.attn2.proj": "attn2.to_out.0",
    "x_block.attn2.ln_q": "attn2.norm_q",
    "x_block.attn2.ln_k": "attn2.norm_k",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "x_block.adaLN_modulation.1": "norm1.linear",
    "context_block.attn.qkv": ADDED,
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.attn.ln_q": "attn.norm_added_q",
    "context_block.attn.ln_k": "attn.norm_added_k",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
    "context_block.adaLN_modulation.1": "~norm1_context.linear",  # six parts; just shift and scale in the last block
}
SD3 = Naming(
    own="pos_embed.proj",
    other="joint_blocks.0.x_block.attn.qkv",
    rules={
        **within("joint_blocks.#", "transformer_blocks.#", BLOCK),
        "x_embedder.proj": "pos_embed.proj",
        "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
        "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
        "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
        "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
        "final_layer.linear": "proj_out",
        "final_layer.adaLN_modulation.1": "~norm_out.linear",
    },
)
