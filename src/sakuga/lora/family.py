"""For which family of models an adapter was made: by its names first, then by its shapes, then by what it states.

Only for words and for refusals: what an adapter fits is decided by the real module tree, never by this guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# The evidence of names, read top to bottom; a name is written with underscores only. (family, phrase, pattern)
NAME_EVIDENCE: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (family, phrase, re.compile(pattern))
    for family, phrase, pattern in (
        ("animatediff", "an AnimateDiff motion adapter", r"motion_modules|temporal_transformer"),
        ("hunyuan-video", "a HunyuanVideo adapter", r"(double|single)_blocks_\w+_(mlp_fc1|mod_linear|modulation_l)"),
        ("flux", "a Flux adapter", r"(double|single)_blocks_\d|single_transformer_blocks_\d"),
        ("sd3", "an SD 3 adapter", r"joint_blocks_\d"),
        ("qwen-image", "a Qwen-Image adapter", r"transformer_blocks_\d+_(img|txt)_(mlp|mod)"),
        ("wan", "a Wan adapter", r"(^|unet_+|model_|transformer_)blocks_\d+_(self|cross)_attn_"),
        ("z-image", "a Z-Image adapter", r"(noise|context)_refiner|(^|_)layers_\d+_attention_"),
        ("cascade", "a Stable Cascade adapter", r"^lora_prior_"),
        ("transformer", "an adapter of a transformer (Flux, SD 3, Qwen …)", r"^(lora_)?transformer_|te\d_enc"),
        ("sdxl", "an SDXL adapter", r"^lora_te2_|^text_encoder_2_|add_embedding_|label_emb_"),
        ("sdxl", "an SDXL adapter", r"(attentions_\d+|put_blocks_\d+_1|middle_block_1)_transformer_blocks_[1-9]"),
    )
)
# The evidence of widths: (pattern of the name, features that the module takes, family, phrase)
WIDTH_EVIDENCE: tuple[tuple[re.Pattern[str], int, str, str], ...] = tuple(
    (re.compile(pattern), width, family, phrase)
    for pattern, width, family, phrase in (
        (r"attn2_to_[kv]$", 768, "sd15", "an SD 1.x adapter"),
        (r"attn2_to_[kv]$", 1024, "sd2", "an SD 2.x adapter"),
        (r"attn2_to_[kv]$", 2048, "sdxl", "an SDXL adapter"),
        (r"attn2_to_[kv]$", 1280, "sdxl-refiner", "an SDXL refiner adapter"),
        (r"^(lora_te1?|text_encoder)_\w*self_attn_[qkv]_proj$", 768, "sd15", "an SD 1.x adapter"),
        (r"^(lora_te1?|text_encoder)_\w*self_attn_[qkv]_proj$", 1024, "sd2", "an SD 2.x adapter"),
    )
)
# The evidence of metadata, which is only a hint: beginning of the stated base → family, phrase
STATED: tuple[tuple[str, str, str], ...] = (
    ("sdxl", "sdxl", "an SDXL adapter"),
    ("stable-diffusion-xl", "sdxl", "an SDXL adapter"),
    ("sd_v1", "sd15", "an SD 1.x adapter"),
    ("stable-diffusion-v1", "sd15", "an SD 1.x adapter"),
    ("sd_v2", "sd2", "an SD 2.x adapter"),
    ("stable-diffusion-v2", "sd2", "an SD 2.x adapter"),
    ("flux", "flux", "a Flux adapter"),
    ("sakuga_starter", "sd15", "an adapter for the starter, a small SD 1.x model"),  # whose widths are its own
)
STATED_KEYS = ("ss_base_model_version", "modelspec.architecture")


@dataclass(frozen=True, kw_only=True)
class FamilyGuess:
    """``family`` None: no evidence. ``phrase`` is for sentences ("an SDXL adapter"), ``reason`` says what tells it."""

    family: str | None
    phrase: str
    reason: str


def guess_family(modules: Iterable[tuple[str, int | None]], metadata: Mapping[str, str]) -> FamilyGuess:
    """The family of modules given as (name, features it takes or None). Dots in names count as underscores."""
    flat = [(name.replace(".", "_"), width) for name, width in modules]
    for family, phrase, pattern in NAME_EVIDENCE:
        name = next((name for name, _ in flat if pattern.search(name)), None)
        if name:
            return FamilyGuess(family=family, phrase=phrase, reason=f"names such as {name}")
    for pattern, features, family, phrase in WIDTH_EVIDENCE:
        name = next((name for name, width in flat if width == features and pattern.search(name)), None)
        if name:
            return FamilyGuess(family=family, phrase=phrase, reason=f"{name} takes {features} features")
    for key in STATED_KEYS:
        stated = metadata.get(key, "").lower()
        for beginning, family, phrase in STATED:
            if stated.startswith(beginning):
                return FamilyGuess(family=family, phrase=phrase, reason=f"its metadata states {key} {stated[:64]}")
    return FamilyGuess(family=None, phrase="an adapter", reason="no name, width or metadata tells it")
