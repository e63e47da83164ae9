"""Names of Flux.1 in the code of Black Forest Labs, which Chroma keeps and ComfyUI's HunyuanVideo borrows.

Checked in the tests against diffusers' own converters.
"""

from __future__ import annotations

from sakuga.tensors.tables.naming import Naming, Rules, within

QKV, ADDED = "attn.to_q + attn.to_k + attn.to_v", "attn.add_q_proj + attn.add_k_proj + attn.add_v_proj"

DOUBLE: Rules = {
    "img_attn.qkv": QKV,
    "txt_attn.qkv": ADDED,
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
}
SINGLE: Rules = {
    "linear1": f"{QKV} + proj_mlp",
    "linear2": "proj_out",
    "modulation.lin": "norm.linear",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
ENDS: Rules = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "~norm_out.linear",
}
BLOCKS: Rules = {
    **within("double_blocks.#", "transformer_blocks.#", DOUBLE),
    **within("single_blocks.#", "single_transformer_blocks.#", SINGLE),
    **ENDS,
}
GUIDANCE: Rules = {
    "distilled_guidance_layer.layers.#.in_layer": "distilled_guidance_layer.layers.#.linear_1",
    "distilled_guidance_layer.layers.#.out_layer": "distilled_guidance_layer.layers.#.linear_2",
}
OWN, OTHER = "single_transformer_blocks.0.proj_mlp", "double_blocks.0.img_attn.qkv"

FLUX = Naming(own=OWN, other=OTHER, rules={**BLOCKS, **GUIDANCE, "img_in": "x_embedder", "txt_in": "context_embedder"})
# OneTrainer's OMI files call the first layer as HunyuanVideo does.
FLUX_OMI = Naming(own=OWN, other=OTHER, rules={"img_in.proj": "x_embedder"})
