"""The catalogue of layouts: for each, keys in the style of its producers, and where their modules are in the model."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.unit.lora_listed import Row

DOWN, BLOCK = "down_blocks_1_attentions_0", "transformer_blocks_0"
FIRST = "transformer.transformer_blocks.0"
T, TT = f"{FIRST}.attn", "transformer.single_transformer_blocks.0"
QKV = f"{T}.to_q {T}.to_k {T}.to_v"
KOHYA_FLUX = (
    f"lora_unet_double_blocks_0_img_attn_qkv | 9216x3072 | {QKV}",
    "lora_unet_double_blocks_0_img_mod_lin | 18432x3072 | transformer.transformer_blocks.0.norm1.linear",
    f"lora_unet_single_blocks_0_linear1 | 21504x3072 | {TT}.attn.to_q {TT}.attn.to_k {TT}.attn.to_v {TT}.proj_mlp",
    "lora_unet_final_layer_adaLN_modulation_1 | 6144x3072 | transformer.norm_out.linear",
    "lora_te1_text_model_encoder_layers_0_mlp_fc1 | 3072x768 | text_encoder.encoder.layers.0.mlp.fc1",
    "lora_te3_encoder_block_0_layer_0_SelfAttention_q | 4096x4096"
    " | text_encoder_2.encoder.block.0.layer.0.SelfAttention.q",
)
Z = "transformer.layers.0.attention"
SD_UNET = "unet.down_blocks.1.attentions.0.transformer_blocks.0"
WAN = "transformer.blocks.0"

ROWS: Mapping[str, Row] = {
    "K-SD": Row(
        leaves="kohya",
        families="sd15",
        modules=(
            f"lora_unet_{DOWN}_{BLOCK}_attn2_to_k | 640x768 | {SD_UNET}.attn2.to_k",
            "lora_te_text_model_encoder_layers_0_mlp_fc1 | 3072x768 | text_encoder.encoder.layers.0.mlp.fc1",
        ),
    ),
    "K-XL-sgm": Row(
        leaves="kohya",
        families="sdxl",
        modules=(
            f"lora_unet_input_blocks_4_1_{BLOCK}_attn2_to_k | 640x2048 | {SD_UNET}.attn2.to_k",
            "lora_unet_label_emb_0_0 | 1280x2816 | unet.add_embedding.linear_1",
            "lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q | 1280x1280"
            " | unet.mid_block.attentions.0.transformer_blocks.9.attn1.to_q",
            "lora_te1_text_model_encoder_layers_0_mlp_fc1 | 3072x768 | text_encoder.encoder.layers.0.mlp.fc1",
            "lora_te2_text_model_encoder_layers_31_mlp_fc1 | 5120x1280"
            " | text_encoder_2.text_model.encoder.layers.31.mlp.fc1",
        ),
    ),
    "K-XL-diff": Row(
        leaves="kohya",
        families="sdxl",
        modules=(
            f"lora_unet_{DOWN}_{BLOCK}_attn2_to_k | 640x2048 | {SD_UNET}.attn2.to_k",
            "lora_te2_text_projection | 1280x1280 | text_encoder_2.text_projection",
        ),
    ),
    "K-OFT": Row(
        leaves="oft",
        families="sdxl",
        modules=(
            f"oft_unet_input_blocks_4_1_{BLOCK}_attn2_to_k | 640x2048 | {SD_UNET}.attn2.to_k",
            "oft_unet_input_blocks_8_1_transformer_blocks_9_attn1_to_q | 1280x1280"
            " | unet.down_blocks.2.attentions.1.transformer_blocks.9.attn1.to_q",
        ),
        metadata={"ss_base_model_version": "sdxl_base_v1-0"},
    ),
    "K-FLUX": Row(leaves="kohya", families="flux", modules=KOHYA_FLUX),
    "K-FLUX2": Row(
        leaves="kohya",
        families="flux2",
        modules=(
            f"lora_unet_double_blocks_0_img_attn_qkv | 18432x6144 | {QKV}",
            "lora_unet_double_blocks_0_img_mlp_0 | 36864x6144 | transformer.transformer_blocks.0.ff.linear_in",
            f"lora_unet_single_blocks_47_linear1 | 55296x6144 | {TT.replace('0', '47')}.attn.to_qkv_mlp_proj",
        ),
    ),
    "K-SD3": Row(
        leaves="kohya",
        families="sd3",
        modules=(
            f"lora_unet_joint_blocks_0_x_block_attn_qkv | 4608x1536 | {QKV}",
            "lora_unet_joint_blocks_0_context_block_mlp_fc1 | 6144x1536"
            " | transformer.transformer_blocks.0.ff_context.net.0.proj",
            f"lora_unet_joint_blocks_0_x_block_attn2_qkv | 4608x1536 | {QKV.replace('attn.', 'attn2.')}",
            "lora_unet_joint_blocks_23_context_block_adaLN_modulation_1 | 3072x1536"
            " | transformer.transformer_blocks.23.norm1_context.linear",
            "lora_te3_encoder_block_0_layer_0_SelfAttention_q | 4096x4096"
            " | text_encoder_3.encoder.block.0.layer.0.SelfAttention.q",
        ),
    ),
    "K-WAN": Row(
        leaves="kohya",
        families="wan",
        modules=(
            f"lora_unet_blocks_0_self_attn_q | 5120x5120 | {WAN}.attn1.to_q",
            f"lora_unet_blocks_0_cross_attn_k | 5120x5120 | {WAN}.attn2.to_k",
            f"lora_unet_blocks_0_cross_attn_k_img | 5120x5120 | {WAN}.attn2.add_k_proj",
            f"lora_unet_blocks_0_ffn_0 | 13824x5120 | {WAN}.ffn.net.0.proj",
        ),
    ),
    "K-WANFUN": Row(
        leaves="kohya",
        families="wan",
        modules=(f"lora_unet__blocks_0_cross_attn_k | 1536x1536 | {WAN}.attn2.to_k",),
    ),
    "K-HV": Row(
        leaves="kohya",
        families="hunyuan-video",
        modules=(
            f"lora_unet_double_blocks_0_img_attn_qkv | 9216x3072 | {QKV}",
            "lora_unet_double_blocks_19_img_mlp_fc1 | 12288x3072 | transformer.transformer_blocks.19.ff.net.0.proj",
            "lora_unet_single_blocks_0_modulation_linear | 9216x3072"
            " | transformer.single_transformer_blocks.0.norm.linear",
        ),
    ),
    "K-QWEN": Row(
        leaves="kohya",
        families="qwen-image",
        modules=(
            f"lora_unet_transformer_blocks_0_attn_add_q_proj | 3072x3072 | {T}.add_q_proj",
            "lora_unet_transformer_blocks_0_img_mlp_net_0_proj | 12288x3072"
            " | transformer.transformer_blocks.0.img_mlp.net.0.proj",
            "lora_unet_transformer_blocks_0_img_mod_1 | 18432x3072 | transformer.transformer_blocks.0.img_mod.1",
        ),
    ),
    "K-ZIMG": Row(
        leaves="kohya",
        families="z-image",
        modules=(
            f"lora_unet_layers_0_attention_qkv | 11520x3840 | {Z}.to_q {Z}.to_k {Z}.to_v",
            "lora_unet_layers_1_attention_out | 3840x3840 | transformer.layers.1.attention.to_out.0",
            "lora_unet__context_refiner_0_attention_to_q | 3840x3840 | transformer.context_refiner.0.attention.to_q",
        ),
    ),
    "D-UNET": Row(
        leaves="dot",
        families="sd15",
        modules=(f"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k | 640x768 | {SD_UNET}.attn2.to_k",),
    ),
    "D-PROC": Row(
        leaves="plain",
        families="sd15",
        modules=(
            "down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora | 640x768"
            f" | {SD_UNET}.attn2.to_k",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora | 640x640"
            f" | {SD_UNET}.attn1.to_out.0",
        ),
    ),
    "D-PEFT": Row(
        leaves="peft",
        families="flux hunyuan-video",
        modules=(
            f"transformer.transformer_blocks.0.attn.to_q | 3072x3072 | {T}.to_q",
            f"transformer.transformer_blocks.0.norm1.linear | 18432x3072 | {FIRST}.norm1.linear",
            f"transformer.single_transformer_blocks.37.proj_mlp | 12288x3072 | {TT.replace('0', '37')}.proj_mlp",
            "text_encoder.text_model.encoder.layers.0.mlp.fc1 | 3072x768 | text_encoder.encoder.layers.0.mlp.fc1",
        ),
    ),
    "P-PEFT": Row(
        leaves="peft",
        families="sd15",
        modules=(
            "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k | 640x768"
            f" | {SD_UNET}.attn2.to_k",
        ),
    ),
    "P-NAMED": Row(leaves="named", families="wan", modules=(f"blocks.0.self_attn.q | 1536x1536 | {WAN}.attn1.to_q",)),
    "S-BARE": Row(
        leaves="kohya",
        families="wan",
        modules=(
            f"blocks.0.cross_attn.v_img | 5120x5120 | {WAN}.attn2.add_v_proj",
            "head.head | 64x5120 | transformer.proj_out",
        ),
    ),
    "C-COMFY": Row(
        leaves="kohya",
        families="flux",
        modules=(
            f"diffusion_model.double_blocks.0.img_attn.qkv | 9216x3072 | {QKV}",
            "diffusion_model.double_blocks.0.img_mod.lin | 18432x3072 | transformer.transformer_blocks.0.norm1.linear",
            "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1 | 3072x768"
            " | text_encoder.encoder.layers.0.mlp.fc1",
            "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q | 4096x4096"
            " | text_encoder_2.encoder.block.0.layer.0.SelfAttention.q",
        ),
    ),
    "X-XLABS": Row(
        leaves="plain",
        families="flux",
        modules=(
            f"double_blocks.0.processor.qkv_lora1 | 9216x3072 | {QKV}",
            f"double_blocks.0.processor.proj_lora2 | 3072x3072 | {T}.to_add_out",
            f"single_blocks.0.processor.qkv_lora | 9216x3072 | {TT}.attn.to_q {TT}.attn.to_k {TT}.attn.to_v",
            f"single_blocks.0.processor.proj_lora | 3072x15360 | {TT}.proj_out",
        ),
    ),
    "B-PEFT": Row(
        leaves="peft",
        families="flux",
        modules=(
            f"base_model.model.double_blocks.0.img_attn.qkv | 9216x3072 | {QKV}",
            "base_model.model.double_blocks.0.img_mod.lin | 18432x3072 | transformer.transformer_blocks.0.norm1.linear",
        ),
    ),
    "O-LEG": Row(
        leaves="kohya",
        families="flux",
        modules=(
            f"lora_transformer_transformer_blocks_0_attn_to_q | 3072x3072 | {T}.to_q",
            "lora_transformer_transformer_blocks_0_norm1_linear | 18432x3072"
            " | transformer.transformer_blocks.0.norm1.linear",
            f"lora_transformer_single_transformer_blocks_37_proj_mlp | 12288x3072 | {TT.replace('0', '37')}.proj_mlp",
            "lora_te1_text_model_encoder_layers_0_mlp_fc1 | 3072x768 | text_encoder.encoder.layers.0.mlp.fc1",
            "lora_te2_encoder_block_0_layer_0_SelfAttention_q | 4096x4096"
            " | text_encoder_2.encoder.block.0.layer.0.SelfAttention.q",
        ),
    ),
    "O-OMI": Row(
        leaves="kohya",
        families="flux",
        modules=(
            f"transformer.double_blocks.0.img_attn.qkv.0 | 3072x3072 | {T}.to_q",
            f"transformer.double_blocks.0.img_attn.qkv.2 | 3072x3072 | {T}.to_v",
            f"transformer.single_blocks.0.linear1.3 | 12288x3072 | {TT}.proj_mlp",
            "clip_l.text_model.encoder.layers.0.mlp.fc1 | 3072x768 | text_encoder.encoder.layers.0.mlp.fc1",
            "t5.encoder.block.0.layer.0.SelfAttention.q | 4096x4096"
            " | text_encoder_2.encoder.block.0.layer.0.SelfAttention.q",
        ),
        metadata={"ot_branch": "omi_format", "modelspec.architecture": "Flux.1-dev/lora"},
    ),
    "O-DOT": Row(
        leaves="kohya",
        families="sdxl",
        modules=(f"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k | 640x2048 | {SD_UNET}.attn2.to_k",),
        metadata={"ot_branch": "master"},
    ),
    "A-FLUX": Row(
        leaves="peft",
        families="flux",
        modules=(f"transformer.transformer_blocks.0.attn.to_q | 3072x3072 | {T}.to_q",),
        metadata={"software": json.dumps({"name": "ai-toolkit"}), "ss_base_model_version": "flux1"},
    ),
    "A-LOKR": Row(
        leaves="lokr",
        families="qwen-image",
        modules=(
            f"diffusion_model.transformer_blocks.59.attn.to_q | 3072x3072 | {T.replace('0', '59')}.to_q",
            "diffusion_model.transformer_blocks.0.img_mod.1 | 18432x3072 | transformer.transformer_blocks.0.img_mod.1",
        ),
    ),
    "T-SIMPLE": Row(
        leaves="lokr",
        families="qwen-image",
        modules=(f"lycoris_transformer_blocks_59_attn_to_q | 3072x3072 | {T.replace('0', '59')}.to_q",),
    ),
    "T-SIMPLE2": Row(
        leaves="bare",
        families="sd3",
        modules=(f"unet.base_model.model.transformer_blocks.0.attn.to_q | 1536x1536 | {T}.to_q",),
    ),
    "F-HCP": Row(
        leaves="hcp",
        families="sd15",
        modules=(f"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k | 640x768 | {SD_UNET}.attn2.to_k",),
    ),
    "M-AD": Row(
        leaves="plain",
        families="animatediff",
        modules=(
            "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.processor"
            ".to_out_lora | 320x320 | unet.down_blocks.0.motion_modules.0.transformer_blocks.0.attn2.to_out.0",
        ),
    ),
}
# Families of which no tree is known.
UNTREED: Mapping[str, Row] = {
    "O-CASC": Row(leaves="kohya", families="cascade", modules=("lora_prior_unet_down_blocks_0_1_0 | 64x64 | -",)),
    "K-LUMINA": Row(leaves="kohya", families="lumina2", modules=("lora_unet_layers_0_attention_qkv | 6912x2304 | -",)),
    "K-HYI": Row(
        leaves="kohya",
        families="hunyuan-image",
        modules=(
            "lora_unet_double_blocks_0_img_attn_qkv | 10752x3584 | -",
            "lora_unet_double_blocks_0_img_mlp_fc1 | 14336x3584 | -",
        ),
    ),
    "K-MISC": Row(leaves="kohya", families="anima", modules=("lora_unet_blocks_0_self_attn_q_proj | 64x64 | -",)),
}
ELSEWHERE = {"B-CTRL", "X-USO", "F-CLONE"}  # told by more than modules: tests/unit/test_lora_conformance.py
