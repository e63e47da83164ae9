"""Files with underscore names, of kohya's trainers, musubi, Wan-Fun and OneTrainer: each with what is a trap in it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.museum.makers.sheet import Sheet

_LDM = "input_blocks_4_1_transformer_blocks_0"

SHEETS: Mapping[str, Sheet] = {
    "kohya-sdxl-sgm": Sheet(
        layout="K-XL-sgm",
        table="sdxl",
        guess="sdxl",
        pairs=(
            (f"lora_unet_{_LDM}_attn1_to_q", 640, 640),
            (f"lora_unet_{_LDM}_attn2_to_k", 640, 2048),
            ("lora_unet_output_blocks_2_1_transformer_blocks_9_ff_net_0_proj", 10240, 1280),
            ("lora_unet_label_emb_0_0", 1280, 2816),
            ("lora_unet_time_embed_2", 1280, 1280),
            ("lora_te1_text_model_encoder_layers_0_mlp_fc1", 3072, 768),
            ("lora_te2_text_model_encoder_layers_31_self_attn_q_proj", 1280, 1280),
        ),
        metadata={"ss_network_module": "networks.lora", "ss_base_model_version": "sdxl_base_v1-0"},
    ),
    "kohya-oft": Sheet(
        layout="K-OFT",
        table="sdxl",
        guess=None,
        more={f"oft_unet_{_LDM}_attn1_to_q.oft_blocks": (4, 160, 160)},
        numbers={f"oft_unet_{_LDM}_attn1_to_q.alpha": 0.01},
        algorithms=("OFT",),
    ),
    "kohya-flux-t5": Sheet(
        layout="K-FLUX",
        table="flux dev",
        guess="flux",
        pairs=(
            ("lora_unet_double_blocks_0_img_mod_lin", 18432, 3072),
            ("lora_unet_final_layer_adaLN_modulation_1", 6144, 3072),
            ("lora_te1_text_model_encoder_layers_11_self_attn_out_proj", 768, 768),
            ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", 4096, 4096),
        ),
    ),
    "kohya-flux-attention": Sheet(
        layout="K-FLUX",
        table="flux dev",
        guess=("chroma", "flux", "flux2", "hunyuan-video"),
        pairs=(("lora_unet_double_blocks_0_img_attn_qkv", 9216, 3072),),
    ),
    "kohya-flux2": Sheet(
        layout="K-FLUX2",
        table="flux2 klein-9b",
        guess="flux2",
        pairs=(
            ("lora_unet_double_blocks_0_img_attn_qkv", 12288, 4096),
            ("lora_unet_double_blocks_0_img_mlp_0", 24576, 4096),
            ("lora_unet_single_blocks_3_linear1", 36864, 4096),
        ),
    ),
    "kohya-sd35": Sheet(
        layout="K-SD3",
        table="sd3 3.5-medium",
        guess="sd3",
        pairs=(
            ("lora_unet_joint_blocks_0_x_block_attn2_qkv", 4608, 1536),
            ("lora_unet_joint_blocks_0_context_block_mlp_fc1", 6144, 1536),
            ("lora_unet_joint_blocks_23_context_block_adaLN_modulation_1", 3072, 1536),
            ("lora_te3_encoder_block_23_layer_1_DenseReluDense_wi_1", 10240, 4096),
        ),
    ),
    "kohya-wan-i2v": Sheet(
        layout="K-WAN",
        table="wan 2.1-i2v-14b",
        guess="wan",
        pairs=(
            ("lora_unet_blocks_3_cross_attn_k_img", 5120, 5120),
            ("lora_unet_blocks_3_cross_attn_k", 5120, 5120),
            ("lora_unet_blocks_3_ffn_0", 13824, 5120),
        ),
    ),
    "wan-fun": Sheet(
        layout="K-WANFUN",
        table="wan 2.1-t2v-14b",
        guess="wan",
        pairs=(("lora_unet__blocks_0_cross_attn_k", 5120, 5120), ("lora_unet__blocks_0_ffn_2", 5120, 13824)),
    ),
    "kohya-hunyuan-video": Sheet(
        layout="K-HV",
        table="hunyuan-video",
        guess="hunyuan-video",
        pairs=(
            ("lora_unet_double_blocks_19_img_attn_qkv", 9216, 3072),
            ("lora_unet_double_blocks_0_img_mlp_fc1", 12288, 3072),
            ("lora_unet_single_blocks_39_modulation_linear", 9216, 3072),
        ),
    ),
    "kohya-qwen": Sheet(
        layout="K-QWEN",
        table="qwen-image",
        guess="qwen-image",
        pairs=(
            ("lora_unet_transformer_blocks_0_attn_add_q_proj", 3072, 3072),
            ("lora_unet_transformer_blocks_59_img_mod_1", 18432, 3072),
            ("lora_unet_transformer_blocks_0_img_mlp_net_0_proj", 12288, 3072),
        ),
    ),
    "kohya-z-image": Sheet(
        layout="K-ZIMG",
        table="z-image",
        guess="z-image",
        pairs=(
            ("lora_unet_layers_0_attention_qkv", 11520, 3840),
            ("lora_unet_context_refiner_1_feed_forward_w2", 3840, 10240),
        ),
    ),
    "onetrainer-flux": Sheet(
        layout="O-LEG",
        table="flux dev",
        guess=("chroma", "flux"),
        pairs=(
            ("lora_transformer_transformer_blocks_0_attn_to_q", 3072, 3072),
            ("lora_transformer_single_transformer_blocks_0_proj_mlp", 12288, 3072),
            ("lora_te2_encoder_block_0_layer_0_SelfAttention_q", 4096, 4096),
        ),
    ),
}
