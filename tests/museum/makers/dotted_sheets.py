"""Files with dotted names, and the odd layouts: each with what is a trap in it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.museum.makers.models import INNER
from tests.museum.makers.sheet import DOT, PEFT, SIZED, Sheet

_MOTION = "motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor"

SHEETS: Mapping[str, Sheet] = {
    "onetrainer-omi": Sheet(
        layout="O-OMI",
        table="flux dev",
        guess="flux",
        pairs=(
            ("transformer.double_blocks.0.img_attn.qkv.0", 3072, 3072),
            ("transformer.double_blocks.0.img_attn.qkv.2", 3072, 3072),
            ("transformer.single_blocks.0.linear1.3", 12288, 3072),
            ("clip_l.text_model.encoder.layers.0.mlp.fc1", 3072, 768),
        ),
        metadata={"modelspec.architecture": "Flux.1-dev/lora", "ot_branch": "omi_format"},
    ),
    "ai-toolkit-flux": Sheet(
        layout="A-FLUX",
        table="flux dev",
        guess=SIZED,
        leaves=PEFT,
        alphas=False,
        pairs=(("transformer.transformer_blocks.0.attn.to_q", 3072, 3072),),
        metadata={"software": json.dumps({"name": "ai-toolkit", "version": "0.1.0"})},
    ),
    "ai-toolkit-lokr": Sheet(
        layout="A-LOKR",
        table="qwen-image",
        guess="qwen-image",
        more={
            "diffusion_model.transformer_blocks.0.attn.to_q.lokr_w1": (8, 8),
            "diffusion_model.transformer_blocks.0.attn.to_q.lokr_w2": (384, 384),
            "diffusion_model.transformer_blocks.0.img_mlp.net.2.lokr_w1": (4, 16),
            "diffusion_model.transformer_blocks.0.img_mlp.net.2.lokr_w2": (768, 768),
        },
        numbers={"diffusion_model.transformer_blocks.0.attn.to_q.alpha": 1e5},
        algorithms=("LoKr",),
    ),
    "comfy-wan": Sheet(
        layout="C-COMFY",
        table="wan 2.1-t2v-14b",
        guess="wan",
        leaves=PEFT,
        alphas=False,
        pairs=(("diffusion_model.blocks.0.self_attn.q", 5120, 5120), ("diffusion_model.blocks.39.ffn.0", 13824, 5120)),
        more={
            "diffusion_model.blocks.0.self_attn.q.diff_b": (5120,),
            "diffusion_model.blocks.0.norm3.diff": (5120,),
            "diffusion_model.head.head.diff": (64, 5120),
        },
        algorithms=("Full (difference of weights)", "LoRA", "LoRA + difference of biases"),
    ),
    "bare-wan": Sheet(
        layout="S-BARE",
        table="wan 2.1-t2v-1.3b",
        guess="wan",
        leaves=PEFT,
        alphas=False,
        pairs=(("blocks.0.self_attn.q", 1536, 1536), ("blocks.29.cross_attn.o", 1536, 1536)),
    ),
    "named-wan": Sheet(
        layout="P-NAMED",
        table="wan 2.1-t2v-14b",
        guess="wan",
        leaves=("lora_A.default.weight", "lora_B.default.weight"),
        alphas=False,
        pairs=(("blocks.0.self_attn.q", 5120, 5120),),
    ),
    "simpletuner-twice-wrapped": Sheet(
        layout="T-SIMPLE2",
        table="flux dev",
        guess=SIZED,
        leaves=DOT,
        alphas=False,
        pairs=(("transformer.base_model.model.transformer_blocks.0.attn.to_q", 3072, 3072),),
    ),
    "diffusers-processors": Sheet(
        layout="D-PROC",
        table="sd15",
        guess="sd15",
        alphas=False,
        leaves=("down.weight", "up.weight"),
        pairs=(
            (f"unet.{INNER}.attn1.processor.to_q_lora", 640, 640),
            (f"unet.{INNER}.attn2.processor.to_k_lora", 640, 768),
            (f"unet.{INNER}.attn2.processor.to_out_lora", 640, 640),
        ),
    ),
    "animatediff-motion-v2": Sheet(
        layout="M-AD",
        table="animatediff v2",
        guess="animatediff",
        alphas=False,
        leaves=("down.weight", "up.weight"),
        pairs=(
            (f"down_blocks.0.{_MOTION}.to_q_lora", 320, 320),
            (f"mid_block.{_MOTION}.to_out_lora", 1280, 1280),
        ),
        pickled=True,
    ),
    "animatediff-motion-on-v1": Sheet(
        layout="M-AD",
        table="animatediff v1",
        guess="animatediff",
        alphas=False,
        leaves=("down.weight", "up.weight"),
        pairs=(
            (f"down_blocks.0.{_MOTION}.to_q_lora", 320, 320),
            (f"mid_block.{_MOTION}.to_out_lora", 1280, 1280),
        ),
        ignored=2,
    ),
    "animatediff-domain-adapter": Sheet(
        layout="D-PROC",
        table="sd15",
        guess=("sd15",),
        alphas=False,
        leaves=("down.weight", "up.weight"),
        pairs=((f"{INNER}.attn1.processor.to_v_lora", 640, 640), (f"{INNER}.attn2.processor.to_v_lora", 640, 768)),
        pickled=True,
    ),
    "xlabs": Sheet(
        layout="X-XLABS",
        table="flux dev",
        guess=None,
        alphas=False,
        leaves=("down.weight", "up.weight"),
        pairs=(
            ("double_blocks.0.processor.qkv_lora1", 9216, 3072),
            ("double_blocks.0.processor.proj_lora2", 3072, 3072),
            ("single_blocks.1.processor.qkv_lora", 9216, 3072),
            ("single_blocks.1.processor.proj_lora", 3072, 15360),
        ),
    ),
    "bfl-control": Sheet(
        layout="B-CTRL",
        table="flux dev",
        guess="flux",
        alphas=False,
        leaves=PEFT,
        pairs=(
            ("double_blocks.0.img_attn.qkv", 9216, 3072),
            ("double_blocks.0.img_mod.lin", 18432, 3072),
            ("single_blocks.0.linear1", 21504, 3072),
        ),
        more={
            "double_blocks.0.img_attn.qkv.lora_B.bias": (9216,),
            "double_blocks.0.img_attn.norm.query_norm.scale": (128,),
            "single_blocks.0.norm.key_norm.scale": (128,),
        },
        algorithms=("LoRA", "LoRA + bias of a LoRA", "replacement of weights"),
    ),
    "bfl-peft": Sheet(
        layout="B-PEFT",
        table="flux dev",
        guess="flux",
        alphas=False,
        leaves=PEFT,
        pairs=(
            ("base_model.model.double_blocks.0.img_attn.qkv", 9216, 3072),
            ("base_model.model.single_blocks.0.modulation.lin", 9216, 3072),
        ),
    ),
    "hcp": Sheet(
        layout="F-HCP",
        table="sd15",
        guess=None,
        leaves=("layer.W_down", "layer.W_up"),
        alphas=False,
        pairs=((f"{INNER}.attn1.to_q.___", 640, 640), (f"{INNER}.attn2.to_k.___", 640, 768)),
    ),
    "comfy-flux": Sheet(
        layout="C-COMFY",
        table="flux schnell",
        guess="flux",
        pairs=(
            ("diffusion_model.double_blocks.18.txt_attn.qkv", 9216, 3072),
            ("diffusion_model.double_blocks.0.img_mlp.0", 12288, 3072),
            ("diffusion_model.single_blocks.37.modulation.lin", 9216, 3072),
            ("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc2", 768, 3072),
        ),
    ),
    "qwen-lightning": Sheet(
        layout="D-PEFT",
        table="qwen-image",
        guess="qwen-image",
        pairs=(
            ("transformer.transformer_blocks.0.attn.to_add_out", 3072, 3072),
            ("transformer.transformer_blocks.0.txt_mlp.net.0.proj", 12288, 3072),
        ),
    ),
    "slider-of-sd2": Sheet(
        layout="K-SD",
        table="sd2",
        guess="sd2",
        pairs=(
            (f"lora_unet_{INNER.replace('.', '_')}_attn2_to_v", 640, 1024),
            (f"lora_unet_{INNER.replace('.', '_')}_attn1_to_k", 640, 640),
        ),
        pickled=True,
    ),
    "onetrainer-with-words": Sheet(
        layout="K-SD",
        table="sd15",
        guess="sd15",
        pairs=((f"lora_unet_{INNER.replace('.', '_')}_attn2_to_v", 640, 768),),
        more={"bundle_emb.ink.string_to_param.*": (2, 768), "_aux.step": (1,)},
        ignored=1,
    ),
    "sd15-and-a-stranger": Sheet(
        layout="K-SD",
        table="sd15",
        guess="sd15",
        pairs=(
            (f"lora_unet_{INNER.replace('.', '_')}_attn2_to_v", 640, 768),
            (f"lora_unet_{INNER.replace('.', '_')}_attn3_to_v", 640, 768),
        ),
        more={"first_stage_model.decoder.conv_in.weight": (4, 4)},
        refused=4,
    ),
}
