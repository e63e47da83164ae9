"""By which names in a header each kind of file is known: one table, read from top to bottom, the first match counts.

A mark is a regular expression for the beginning of a key. All marks of a signature have to be found below one and the
same prefix. File names and hashes play no part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sakuga.models.keys import Keys

Role = Literal[
    "checkpoint",
    "unet",
    "vae",
    "text_encoder",
    "scheduler",
    "control",
    "motion",
    "embedding",
    "adapter",
    "bundle",
    "annotator",
    "interpolator",
]
SPOKEN = {
    "adapter": "LoRA",
    "annotator": "network of an annotator",
    "control": "ControlNet",
    "interpolator": "RIFE network (it draws frames between frames, which is not part of this program)",
    "motion": "motion module",
    "vae": "VAE",
    "unet": "UNet",
}
WRAPPING = r"(?:state_dict\.)?(?:module\.)?"  # what training programs put around all names
MOTION = r"(?:down|up)_blocks\.\d+\.motion_modules\.\d+\."


def spoken(role: str) -> str:
    """A role as people say it: "a VAE", "an embedding"."""
    word = SPOKEN.get(role, role.replace("_", " "))
    return f"{'an' if word[0] in 'aeio' else 'a'} {word}"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One kind of file: its role and layout, the family if names alone tell it, its marks, what must be absent."""

    role: Role
    layout: str
    marks: tuple[str, ...]
    prefix: str = ""
    family: str | None = None
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a signature compares with a file: its prefix there, keys with a mark, marks missing, keys in the way."""

    signature: Signature
    prefix: str
    found: tuple[str, ...]
    missing: tuple[str, ...]
    in_the_way: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """Whether this is it."""
        return not self.missing and not self.in_the_way

    @property
    def share(self) -> float:
        """How much of the signature was found, 0 … 1."""
        return len(self.found) / (len(self.found) + len(self.missing) + len(self.in_the_way))


def compare(signature: Signature, keys: Keys) -> Reading:
    """Look for the marks of ``signature`` in ``keys``."""
    prefix = _prefix(signature, keys)
    literal = re.escape(prefix or "")
    look = {mark: keys.find(f"{literal}(?:{mark})") for mark in (*signature.marks, *signature.absent)}
    marked = [look[mark] for mark in signature.marks if prefix is not None]
    return Reading(
        signature=signature,
        prefix=prefix or "",
        found=tuple(match[0] for match in marked if match),
        missing=tuple(plain(mark) for mark in signature.marks if prefix is None or not look[mark]),
        in_the_way=tuple(match[0] for mark in signature.absent if (match := look[mark])),
    )


def _prefix(signature: Signature, keys: Keys) -> str | None:
    """What stands before the first mark that is found at all, None if none is."""
    for mark in signature.marks:
        match = keys.find(f"({WRAPPING}{signature.prefix})(?:{mark})")
        if match:
            return match[1]
    return None


def plain(mark: str) -> str:
    """A mark as people read it."""
    for sign, word in ((r"\.", "."), (r"\d+", "#"), ("(?:down|up)", "down"), (".*", "…"), (".+", "…")):
        mark = mark.replace(sign, word)
    return mark.rstrip("$")


LDM_UNET = (r"input_blocks\.0\.0\.weight$", r"time_embed\.0\.weight$", r"middle_block\.1\.", r"out\.2\.weight$")
LDM = r"model\.diffusion_model\."
DIFFUSERS_UNET = (r"conv_in\.weight$", r"time_embedding\.linear_1\.weight$", r"down_blocks\.0\.resnets\.0\.")
LDM_VAE = (r"encoder\.down\.0\.block\.0\.", r"encoder\.conv_out\.weight$", r"decoder\.up\.0\.block\.0\.")
TEXT = r"embeddings\.token_embedding\.weight$"

SIGNATURES: tuple[Signature, ...] = (
    Signature(
        role="adapter",
        layout="adapter",
        marks=(
            r".*(?:lora_up|lora_down|lora\.up|lora\.down|lora_[AB](?:\.\w+)?|lora_linear_layer\.up|_lora\.up)\.weight$"
            r"|.*\.(?:hada_w[12]_a|lokr_w[12](?:_a)?|oft_blocks|oft_diag|oft_R\.weight|on_input|a1\.weight|diff|w_norm)$",
        ),
    ),
    Signature(
        role="control",
        layout="ldm",
        prefix=r"(?:control_model\.)?",
        marks=(
            r"input_hint_block\.0\.weight$",
            r"zero_convs\.0\.0\.weight$",
            r"middle_block_out\.0\.weight$",
            *LDM_UNET[:3],
        ),
        absent=(r"difference$",),
    ),
    Signature(
        role="control",
        layout="diffusers",
        marks=(r"controlnet_cond_embedding\.conv_in\.weight$", r"controlnet_down_blocks\.0\.", *DIFFUSERS_UNET),
    ),
    Signature(
        role="motion",
        layout="animatediff",
        marks=(MOTION + r"temporal_transformer\.proj_in\.", MOTION + r".*\.attention_blocks\.0\.to_q\.weight$"),
    ),
    Signature(
        role="motion",
        layout="diffusers",
        marks=(MOTION + r"proj_in\.", MOTION + r"transformer_blocks\.0\.attn1\.to_q\.weight$"),
        absent=(r"conv_in\.weight$",),
    ),
    Signature(
        role="checkpoint",
        layout="ldm",
        family="sdxl",
        prefix=LDM,
        marks=(*LDM_UNET, r"label_emb\.0\.0\.weight$"),
    ),
    Signature(role="unet", layout="ldm", family="sdxl", marks=(*LDM_UNET, r"label_emb\.0\.0\.weight$")),
    Signature(role="unet", layout="diffusers", family="sdxl", marks=(*DIFFUSERS_UNET, r"add_embedding\.linear_1\.")),
    Signature(
        role="checkpoint",
        layout="original",
        family="sd3",
        prefix=rf"(?:{LDM})?",
        marks=(r"joint_blocks\.0\.x_block\.attn\.qkv\.weight$", r"x_embedder\.proj\.weight$"),
    ),
    Signature(
        role="checkpoint",
        layout="original",
        family="flux",
        prefix=rf"(?:{LDM})?",
        marks=(r"double_blocks\.0\.img_attn\.qkv\.weight$", r"single_blocks\.0\.linear1\.weight$"),
    ),
    Signature(
        role="unet",
        layout="diffusers",
        family="flux",
        marks=(r"single_transformer_blocks\.0\.", r"transformer_blocks\.0\.attn\.add_q_proj\."),
    ),
    Signature(
        role="unet",
        layout="diffusers",
        family="sd3",
        marks=(r"transformer_blocks\.0\.attn\.add_q_proj\.", r"pos_embed\.proj\.weight$"),
    ),
    Signature(role="checkpoint", layout="ldm", prefix=LDM, marks=LDM_UNET),
    Signature(role="unet", layout="ldm", marks=LDM_UNET),
    Signature(role="unet", layout="diffusers", marks=(*DIFFUSERS_UNET, r"up_blocks\.0\.resnets\.0\.")),
    Signature(role="vae", layout="ldm", prefix=r"(?:first_stage_model\.)?", marks=LDM_VAE),
    Signature(
        role="vae",
        layout="diffusers",
        marks=(
            r"encoder\.down_blocks\.0\.resnets\.0\.",
            r"encoder\.conv_out\.weight$",
            r"decoder\.up_blocks\.0\.resnets\.0\.",
        ),
    ),
    Signature(
        role="text_encoder",
        layout="transformers",
        prefix=r"(?:cond_stage_model\.transformer\.)?(?:text_model\.)?",
        marks=(TEXT, r"encoder\.layers\.0\.self_attn\.q_proj\.weight$"),
    ),
    Signature(
        role="embedding",
        layout="a1111 pt",
        marks=(r"string_to_param\..+$",),
    ),
    Signature(role="embedding", layout="a1111 safetensors", marks=(r"emb_params$",)),
    Signature(role="embedding", layout="sdxl", family="sdxl", marks=(r"clip_l$", r"clip_g$")),
    Signature(
        role="annotator",
        layout="hed",
        marks=(r"block1\.convs\.0\.weight$", r"block5\.projection\.weight$", r"norm$"),
    ),
    Signature(
        role="annotator",
        layout="lineart",
        marks=(r"model0\.1\.weight$", r"model2\.0\.conv_block\.1\.weight$", r"model4\.1\.weight$"),
    ),
    Signature(
        role="annotator",
        layout="lineart anime",
        marks=(r"model\.model\.0\.weight$", r"model\.model\.1\.model\.1\.weight$", r"model\.model\.3\.weight$"),
    ),
    Signature(
        role="annotator",
        layout="midas dpt-hybrid",
        prefix=r"(?:model\.)?",
        marks=(
            r"pretrained\.model\.patch_embed\.backbone\.stem\.conv\.weight$",
            r"scratch\.refinenet1\.out_conv\.weight$",
            r"scratch\.output_conv\.0\.weight$",
        ),
    ),
    Signature(
        role="annotator",
        layout="normalbae",
        prefix=r"(?:model\.)?(?:module\.)?",
        marks=(
            r"encoder\.original_model\.conv_stem\.weight$",
            r"decoder\.up1\._net\.0\.weight$",
            r"decoder\.out_conv_res1\.0\.weight$",
        ),
    ),
    Signature(
        role="annotator",
        layout="openpose body",
        marks=(r"conv4_4_CPM\.weight$", r"Mconv7_stage6_L1\.weight$", r"Mconv7_stage6_L2\.weight$"),
    ),
    Signature(
        role="annotator",
        layout="openpose part",
        marks=(r"conv5_3_CPM\.weight$", r"conv6_2_CPM\.weight$", r"Mconv7_stage6\.weight$"),
    ),
    Signature(
        role="interpolator",
        layout="rife",
        prefix=r"(?:flownet\.)?",
        marks=(r"block0\.conv0\.0\.0\.weight$", r"block1\.conv0\.0\.0\.weight$", r"block0\.(?:lastconv|conv1)\."),
    ),
)
