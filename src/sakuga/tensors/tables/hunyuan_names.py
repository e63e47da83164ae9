"""Names of HunyuanVideo in Tencent's code, and in ComfyUI's, which builds it of Flux's layers.

Checked in the tests against diffusers' own converter.
"""

from __future__ import annotations

from sakuga.tensors.tables.flux_names import ADDED, QKV
from sakuga.tensors.tables.naming import Naming, Rules, within

REFINERS, OWN_REFINERS = "txt_in.individual_token_refiner.blocks.#", "context_embedder.token_refiner.refiner_blocks.#"
TEXT, OWN_TEXT = "txt_in", "context_embedder.time_text_embed"

DOUBLE: Rules = {
    "img_attn_qkv": QKV,
    "txt_attn_qkv": ADDED,
    "img_attn_proj": "attn.to_out.0",
    "txt_attn_proj": "attn.to_add_out",
    "img_attn_q_norm": "attn.norm_q",
    "img_attn_k_norm": "attn.norm_k",
    "txt_attn_q_norm": "attn.norm_added_q",
    "txt_attn_k_norm": "attn.norm_added_k",
    "img_mlp.fc1": "ff.net.0.proj",
    "img_mlp.fc2": "ff.net.2",
    "txt_mlp.fc1": "ff_context.net.0.proj",
    "txt_mlp.fc2": "ff_context.net.2",
    "img_mod.linear": "norm1.linear",
    "txt_mod.linear": "norm1_context.linear",
}
SINGLE: Rules = {
    "linear1": f"{QKV} + proj_mlp",
    "linear2": "proj_out",
    "modulation.linear": "norm.linear",
    "q_norm": "attn.norm_q",
    "k_norm": "attn.norm_k",
}
# Here the modulation of a refiner has its halves in the same order in both namings, that of the last layer has not.
REFINER: Rules = {"norm1": "norm1", "norm2": "norm2", "adaLN_modulation.1": "norm_out.linear"}
NATIVE_REFINER: Rules = {
    "self_attn_qkv": QKV,
    "self_attn_proj": "attn.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
COMFY_REFINER: Rules = {
    "self_attn.qkv": QKV,
    "self_attn.proj": "attn.to_out.0",
    "mlp.0": "ff.net.0.proj",
    "mlp.2": "ff.net.2",
}
ENDS: Rules = {"img_in.proj": "x_embedder.proj", "txt_in.input_embedder": "context_embedder.proj_in"}
NATIVE_ENDS: Rules = {
    "time_in.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "time_in.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "guidance_in.mlp.0": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.mlp.2": "time_text_embed.guidance_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "~norm_out.linear",
}
NATIVE_TEXT: Rules = {
    "t_embedder.mlp.0": "timestep_embedder.linear_1",
    "t_embedder.mlp.2": "timestep_embedder.linear_2",
    "c_embedder.linear_1": "text_embedder.linear_1",
    "c_embedder.linear_2": "text_embedder.linear_2",
}
COMFY_TEXT: Rules = {
    "t_embedder.in_layer": "timestep_embedder.linear_1",
    "t_embedder.out_layer": "timestep_embedder.linear_2",
    "c_embedder.in_layer": "text_embedder.linear_1",
    "c_embedder.out_layer": "text_embedder.linear_2",
}
OWN = "context_embedder.token_refiner.refiner_blocks.0.attn.to_q"

HUNYUAN_VIDEO = Naming(
    own=OWN,
    other="double_blocks.0.img_attn_qkv",
    rules={
        **within("double_blocks.#", "transformer_blocks.#", DOUBLE),
        **within("single_blocks.#", "single_transformer_blocks.#", SINGLE),
        **within(REFINERS, OWN_REFINERS, {**REFINER, **NATIVE_REFINER}),
        **within(TEXT, OWN_TEXT, NATIVE_TEXT),
        **ENDS,
        **NATIVE_ENDS,
    },
)
# What ComfyUI calls otherwise than Flux; the rest of its names is in Flux's table.
HUNYUAN_VIDEO_COMFY = Naming(
    own=OWN,
    other="txt_in.individual_token_refiner.blocks.0.self_attn.qkv",
    rules={
        **within(REFINERS, OWN_REFINERS, {**REFINER, **COMFY_REFINER}),
        **within(TEXT, OWN_TEXT, COMFY_TEXT),
        **ENDS,
    },
)
