"""What tells the families of models apart: which names their modules have, how wide some are, what metadata call them.

Data only, read by ``family``. A name here is a path with underscores and without a prefix; ``te_``, ``te1_`` and so on
stand before those of text encoders. Names that no family lists are no evidence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Width:
    """Modules whose names match have one of these ``sizes``: rows of the weight (``side`` 0) or features taken (1)."""

    names: re.Pattern[str]
    side: int
    sizes: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One family; ``title`` with its article."""

    name: str
    title: str
    names: re.Pattern[str]
    widths: tuple[Width, ...] = ()


def _below(end: int) -> str:
    """A number from 0 to ``end`` - 1 and an underscore, as a pattern."""
    return "(?:" + "|".join(str(number) for number in range(end)) + ")_"


def _family(name: str, title: str, names: list[str], *widths: tuple[str, int, set[int]]) -> Evidence:
    return Evidence(
        name=name,
        title=title,
        names=re.compile("|".join(f"(?:{pattern})" for pattern in names)),
        widths=tuple(Width(names=re.compile(w), side=side, sizes=frozenset(sizes)) for w, side, sizes in widths),
    )


# Stable Diffusion: UNets
_UNET = (
    r"(?!\w*(?:motion_modules|temporal_|time_stack))"
    r"(?:conv_|time_embed|down_blocks_|mid_block_|up_blocks_|input_blocks_|middle_block_|output_blocks_|out_[02]$)"
)
_ADDED = r"add_embedding_|label_emb_"
_ONE_DEEP, _FOUR_DEEP = r"^(?!.*transformer_blocks_[1-9])", r"^(?!.*transformer_blocks_[4-9])"
_THREE_LEVELS = (
    r"^(?!down_blocks_0_attentions|down_blocks_3|up_blocks_2_attentions|up_blocks_3|input_blocks_[12]_1_"
    r"|(?:in|out)put_blocks_(?:9|1\d)_|output_blocks_[678]_1_)"
)
_CROSS, _SELF = r"attn2_to_[kv]$", r"(?:attentions|put_blocks|middle_block)_\w*attn1_to_[qkv]$"
# Text encoders
_HF = r"_(?:text_model_)?(?:embeddings_|final_layer_norm|encoder_layers_)"
_HF_12 = r"_(?:text_model_)?(?:embeddings_|final_layer_norm|encoder_layers_" + _below(12) + ")"
_T5 = r"_(?:encoder_)?block_\d+_layer_"
_CLIP_WIDTH = r"self_attn_[qkv]_proj$"
# Transformers of double and single blocks
_IN = r"^double_blocks_\d+_(?:img|txt)_attn_qkv$|^(?:single_)?transformer_blocks_\d+_attn_(?:to|add)_[qkv](?:_proj)?$"
_FIRST = r"^(?:x_embedder|context_embedder|img_in|txt_in)$"
_FUSED = r"^single_blocks_\d+_linear1$"


def _streams(double: int, single: int, native: str, native_single: str, own: str, own_single: str) -> list[str]:
    """Names in Black Forest Labs' naming and in diffusers'; the last four are what follows the attention's names."""
    return [
        rf"^double_blocks_{_below(double)}(?:img|txt)_(?:attn_|{native})",
        rf"^single_blocks_{_below(single)}(?:linear[12]|norm_|{native_single})",
        rf"^transformer_blocks_{_below(double)}(?:attn_(?:to|add|norm)_|{own})",
        rf"^single_transformer_blocks_{_below(single)}(?:{own_single})",
    ]


FAMILIES: tuple[Evidence, ...] = (
    _family(
        "sd15",
        "an SD 1.x",
        [_ONE_DEEP + _UNET, "^te1?" + _HF_12],
        (_CROSS, 1, {768}),
        (_SELF, 1, {320, 640, 1280}),
        (rf"^te1?_\w*{_CLIP_WIDTH}", 1, {768}),
    ),
    _family(
        "sd2",
        "an SD 2.x",
        [_ONE_DEEP + _UNET, "^te1?" + _HF],
        (_CROSS, 1, {1024}),
        (_SELF, 1, {320, 640, 1280}),
        (rf"^te1?_\w*{_CLIP_WIDTH}", 1, {1024}),
    ),
    _family(
        "sdxl",
        "an SDXL",
        [_THREE_LEVELS + f"(?:{_UNET}|{_ADDED})", "^te1" + _HF_12, "^te2" + _HF, "^te2_text_projection"],
        (_CROSS, 1, {2048}),
        (_SELF, 1, {640, 1280}),
        (rf"^te1_\w*{_CLIP_WIDTH}", 1, {768}),
        (rf"^te2_\w*{_CLIP_WIDTH}", 1, {1280}),
    ),
    _family(
        "sdxl-refiner",
        "an SDXL refiner",
        [_FOUR_DEEP + f"(?:{_UNET}|{_ADDED})", "^te2" + _HF, "^te2_text_projection"],
        (_CROSS, 1, {1280}),
        (_SELF, 1, {768, 1536}),
    ),
    _family("svd", "a Stable Video Diffusion", [r"temporal_transformer_blocks|time_stack_"]),
    _family("animatediff", "an AnimateDiff motion", [r"motion_modules_\d"]),
    _family("cascade", "a Stable Cascade", [r"^lora_prior_"]),
    _family(
        "sd3",
        "an SD 3",
        [
            rf"^joint_blocks_{_below(38)}(?:context|x)_block_",
            rf"^transformer_blocks_{_below(38)}(?:attn_(?:to|add|norm)_|attn2_|ff_(?:context_)?net_|norm1_)",
            *("^te1" + _HF_12, "^te2" + _HF, "^te2_text_projection", "^te3" + _T5, "^context_embedder$"),
        ],
        (r"_attn2?_qkv$|blocks_\d+_attn2?_to_[qkv]$|attn_add_[qkv]_proj$", 1, {1536, 2432}),
        ("^context_embedder$", 0, {1536, 2432}),
        (rf"^te1_\w*{_CLIP_WIDTH}", 1, {768}),
        (rf"^te2_\w*{_CLIP_WIDTH}", 1, {1280}),
    ),
    _family(
        "flux",
        "a Flux.1",
        [
            *_streams(
                19, 38, r"mlp_[02]|mod_lin$", r"modulation_lin$", r"ff_(?:context_)?net_|norm1", "attn_|proj_|norm"
            ),
            *("^te1" + _HF_12, "^te[23]" + _T5, _FIRST),
        ],
        (_FIRST, 0, {3072}),
        (_FIRST, 1, {64, 4096}),
        (_IN, 1, {3072}),
        (_FUSED, 0, {21504}),
        (rf"^te1_\w*{_CLIP_WIDTH}", 1, {768}),
    ),
    _family(
        "chroma",
        "a Chroma",
        [
            *_streams(19, 38, r"mlp_[02]", "(?!)", r"ff_(?:context_)?net_", "attn_|proj_"),
            *("distilled_guidance_layer_", "^te[123]?" + _T5, _FIRST),
        ],
        (_FIRST, 0, {3072}),
        (_FIRST, 1, {64, 4096}),
        (_IN, 1, {3072}),
        (_FUSED, 0, {21504}),
    ),
    _family(
        "hunyuan-video",
        "a HunyuanVideo",
        [
            *_streams(
                20, 40, "mlp_fc|mod_linear", "modulation_linear", r"ff_(?:context_)?net_|norm1", "attn_|proj_|norm"
            ),
            *("txt_in_individual_", "context_embedder_token_refiner_", "txt_in_(?:t|c)_", "^te[12]" + _HF_12),
        ],
        (rf"^te[12]_\w*{_CLIP_WIDTH}", 1, {768}),
        (_IN, 1, {3072}),
        (r"^double_blocks_\w*_mlp_fc1$", 1, {3072}),
        (_FUSED, 0, {21504}),
    ),
    _family(
        "hunyuan-image",
        "a HunyuanImage",
        _streams(20, 40, "mlp_fc|mod_linear", "modulation_linear", "(?!)", "(?!)"),
        (_IN, 1, {3584}),
        (r"^double_blocks_\w*_mlp_fc1$", 1, {3584}),
    ),
    _family(
        "flux2",
        "a Flux.2",
        [
            *_streams(8, 48, r"mlp_[02]", "(?!)", r"ff_(?:context_)?linear_", r"attn_to_(?:qkv_mlp_proj|out)"),
            *(r"^(?:double|single)_stream_modulation_", _FIRST),
        ],
        (_FIRST, 0, {6144, 4096, 3072}),
        (_FIRST, 1, {128, 15360, 12288, 7680}),
        (_IN, 1, {6144, 4096, 3072}),
        (_FUSED, 0, {55296, 36864, 27648}),
    ),
    _family(
        "qwen-image",
        "a Qwen-Image",
        [rf"^transformer_blocks_{_below(60)}(?:attn_(?:to|add|norm)_|(?:img|txt)_(?:mlp|mod)_)", "^(?:img|txt)_in$"],
        ("^(?:img|txt)_in$", 0, {3072}),
        ("^(?:img|txt)_in$", 1, {64, 3584}),
        (_IN, 1, {3072}),
    ),
    _family(
        "pixart",
        "a PixArt",
        [rf"^transformer_blocks_{_below(28)}(?:attn[12]_to_|ff_net_)"],
        (r"attn[12]_to_[qkv]$", 1, {1152}),
    ),
    _family(
        "wan",
        "a Wan",
        [
            rf"^blocks_{_below(40)}(?:(?:self|cross)_attn_(?:[qkvo]$|[kv]_img$|norm)|attn[12]_|ffn_|norm[23])",
            *("^head_head$", "^te1" + _T5),
        ],
        (r"^blocks_\d+_(?:self_attn_|cross_attn_|attn[12]_to_)q$", 1, {1536, 3072, 5120}),
    ),
    _family(
        "anima",
        "an Anima",
        [
            r"^blocks_\d+_(?:self_attn_|cross_attn_)(?:q|k|v|output)_proj$|^blocks_\d+_mlp_layer|adaln_modulation_|^llm_adapter_"
        ],
    ),
    _family(
        "z-image",
        "a Z-Image",
        [rf"^(?:layers|noise_refiner|context_refiner)_{_below(30)}(?:attention_|feed_forward_|adaLN_)"],
        (r"_attention_(?:to_[qkv]|qkv)$", 1, {3840}),
    ),
    _family(
        "lumina2",
        "a Lumina 2",
        [rf"^(?:layers|noise_refiner|context_refiner)_{_below(26)}(?:attention_|feed_forward_|adaLN_)"],
        (r"_attention_(?:to_[qkv]|qkv)$", 1, {2304}),
    ),
)

# What metadata, a PEFT config or a sidecar call a base, in small letters: (family, pattern), read top to bottom.
STATED: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (family, re.compile(pattern))
    for family, pattern in (
        ("sdxl-refiner", r"xl.*refiner"),
        ("sdxl", r"sdxl|stable-diffusion-xl|sd_xl|pony|illustrious|noobai"),
        ("sd3", r"^sd3|stable-diffusion-(?:v)?3"),
        ("sd2", r"sd_v2|sd_2|stable-diffusion-(?:v)?2"),
        ("sd15", r"sakuga_starter|sd_v1|sd_1|sd 1|stable-diffusion-(?:v)?1"),
        ("flux2", r"flux[._-]?2"),
        ("flux", r"flux"),
        ("chroma", r"chroma"),
        ("hunyuan-video", r"hunyuan[_-]?video|framepack"),
        ("hunyuan-image", r"hunyuan[_-]?image"),
        ("qwen-image", r"qwen[_-]?image"),
        ("z-image", r"z[_-]image"),
        ("lumina2", r"lumina"),
        ("anima", r"anima"),
        ("wan", r"\bwan"),
        ("pixart", r"pixart"),
        ("cascade", r"cascade|wuerstchen"),
    )
)
STATED_KEYS = ("ss_base_model_version", "modelspec.architecture")
