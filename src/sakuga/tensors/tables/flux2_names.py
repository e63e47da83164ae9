"""Names of Flux.2 in the code of Black Forest Labs, and of the parts of its one fused layer.

Checked in the tests against diffusers' converters, of which the one for adapters forgets to swap the last modulation.
"""

from __future__ import annotations

from sakuga.tensors.tables.flux_names import ADDED, QKV
from sakuga.tensors.tables.naming import Naming, Rules, within

DOUBLE: Rules = {
    "img_attn.qkv": QKV,
    "txt_attn.qkv": ADDED,
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_mlp.0": "ff.linear_in",
    "img_mlp.2": "ff.linear_out",
    "txt_mlp.0": "ff_context.linear_in",
    "txt_mlp.2": "ff_context.linear_out",
}
SINGLE: Rules = {
    "linear1": "attn.to_qkv_mlp_proj",
    "linear2": "attn.to_out",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
ENDS: Rules = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
    "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
    "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
    "single_stream_modulation.lin": "single_stream_modulation.linear",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "~norm_out.linear",
}
FUSED = "single_transformer_blocks.#.attn.to_qkv_mlp_proj"
SLICES = " + ".join(f"single_blocks.#.linear1.{index}" for index in range(4))
PARTS = " + ".join(f"single_transformer_blocks.#.{part}" for part in f"{QKV} + proj_mlp".split(" + "))

FLUX2 = Naming(
    own="double_stream_modulation_img.linear",
    other="double_stream_modulation_img.lin",
    rules={
        **within("double_blocks.#", "transformer_blocks.#", DOUBLE),
        **within("single_blocks.#", "single_transformer_blocks.#", SINGLE),
        **ENDS,
    },
)
# diffusers keeps this layer fused: its parts, under the names that Flux.1 has for them, are some of its rows.
FLUX2_PARTS = Naming(own=None, other=FUSED.replace("#", "0"), rules={FUSED: PARTS})
FLUX2_SLICES = Naming(own=None, other=FUSED.replace("#", "0"), rules={FUSED: SLICES})
