"""What a layout is called: readers that take keys apart in one way serve many producers, and people know the producers.

Words only: a table of patterns for each reader, read top to bottom. Nothing is decided by a title.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sakuga.lora.formats.layout import Header

SAMPLE = 2000  # keys that are looked at

# reader → (id, title, patterns that must each begin some key, "metadata:key=value" or "family:name")
_ROWS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "kohya": (
        ("K-OFT", "kohya OFT", r"oft_unet_"),
        ("O-CASC", "OneTrainer Stable Cascade", r"lora_prior_(unet|te)_"),
        ("O-LEG", "OneTrainer", r"lora_transformer_"),
        ("T-SIMPLE", "LyCORIS", r"lycoris_"),
        ("K-WANFUN", "kohya Wan-Fun", r"lora_unet__blocks_"),
        ("K-SD3", "kohya SD 3", r"lora_unet_joint_blocks_\d+_(context|x)_block_"),
        ("K-HYI", "kohya HunyuanImage", r"lora_unet_(double|single)_blocks_\d", r"family:hunyuan-image"),
        ("K-HV", "kohya HunyuanVideo", r"lora_unet_\w+_(mlp_fc[12]|mod_linear|modulation_linear)\."),
        ("K-FLUX2", "kohya Flux.2", r"lora_unet_(double|single)_blocks_\d", r"family:flux2"),
        ("K-FLUX", "kohya Flux", r"lora_unet_(double|single)_blocks_\d"),
        ("K-MISC", "kohya Anima", r"lora_unet_(llm_adapter_)?blocks_\d+_\w+_(q|k|v|output)_proj\."),
        ("K-WAN", "kohya Wan", r"lora_unet_blocks_\d+_((self|cross)_attn_|attn[12]_|ffn_)"),
        ("K-QWEN", "kohya Qwen-Image", r"lora_unet_transformer_blocks_\d+_"),
        ("K-LUMINA", "kohya Lumina 2", r"lora_unet__?(layers|(context|noise)_refiner)_\d+_", r"family:lumina2"),
        ("K-ZIMG", "kohya Z-Image", r"lora_unet__?(layers|(context|noise)_refiner)_\d+_"),
        ("K-XL-sgm", "kohya SDXL (sgm)", r"lora_unet_(input|middle|output)_blocks?_", r"family:sdxl"),
        ("K-XL-diff", "kohya SDXL (diffusers)", r"lora_unet_(down_blocks|mid_block|up_blocks)_", r"family:sdxl"),
        ("K-SD", "kohya"),
    ),
    "dotted": (
        ("A-FLUX", "ai-toolkit", r"metadata:software=.*ai-toolkit"),
        (
            "O-OMI",
            "OneTrainer OMI",
            r"(clip_[lg]|t5|transformer\.\w+_blocks\.\d+\.(\w+\.)*(qkv\.[0-2]|linear1\.[0-3]))\.",
        ),
        ("O-DOT", "OneTrainer", r"metadata:ot_branch="),
        ("T-SIMPLE2", "SimpleTuner", r"(unet|transformer)\.base_model\.model\."),
        ("B-CTRL", "BFL control", r"(\w+\.)*(double|single)_blocks\.\d+\.(\w+\.)*(query|key)_norm\.scale$"),
        ("B-PEFT", "PEFT with BFL's names", r"(base_model\.model\.)?(double|single)_blocks\.\d+\.\S+\.lora_[AB]\."),
        ("P-PEFT", "PEFT", r"base_model\.model\."),
        ("P-NAMED", "PEFT (named adapter)", r".*\.lora_[AB]\.(?!weight$|bias$)[^.]+\.(weight|bias)$"),
        ("A-LOKR", "ai-toolkit LoKr", r"diffusion_model\..*\.lokr_w[12]"),
        ("C-COMFY", "ComfyUI", r"(diffusion_model|text_encoders)\."),
        ("D-UNET", "diffusers", r".*\.lora(_linear_layer)?\.(down|up)\."),
        ("D-PEFT", "diffusers (PEFT)", r"(unet|transformer(_2)?|text_encoder(_[23])?)\."),
        ("S-BARE", "bare names"),
    ),
    "processors": (
        ("M-AD", "AnimateDiff", r".*(temporal_transformer|motion_modules)\."),
        ("D-PROC", "diffusers (attention processors)"),
    ),
    "XLabs": (("X-USO", "USO", r"feature_embedder\."), ("X-XLABS", "XLabs")),
    "cloneofsimo": (("F-CLONE", "cloneofsimo"),),
    "HCP-Diffusion": (("F-HCP", "HCP-Diffusion"),),
}
TITLES = {
    reader: tuple((row[0], row[1], tuple(re.compile(pattern) for pattern in row[2:])) for row in rows)
    for reader, rows in _ROWS.items()
}


def title_of(reader: str, file: Header, family: str | None) -> tuple[str, str]:
    """(id, title): the first row of the reader's table of which every pattern is shown by the file."""
    names = file.names
    shown = [*names[:: max(1, len(names) // SAMPLE)], f"family:{family}"]
    shown += [f"metadata:{key}={value[:500]}" for key, value in file.metadata.items()]
    rows = ((name, title) for name, title, wanted in TITLES[reader] if _all_shown(wanted, shown))
    return next(rows, (reader, reader))


def _all_shown(wanted: tuple[re.Pattern[str], ...], shown: list[str]) -> bool:
    return all(any(pattern.match(text) for text in shown) for pattern in wanted)
