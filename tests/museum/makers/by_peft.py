"""Exhibits that PEFT writes: ``save_pretrained`` with its config beside, and the raw state of a wrapped model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import BOFTConfig, IA3Config, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, get_peft_model
from safetensors.torch import save_file
from tests.museum.makers.exhibit import Made
from tests.museum.makers.models import ALIKE, ATTENTION, FLUX, INNER, QWEN, UNET, WAN, forget, model

BY = "peft 0.21.2"
LINEAR = UNET[:4]
WEIGHTS = "adapter_model.safetensors"
BIASED = (f"{INNER}.attn1.to_out.0", f"{INNER}.ff.net.0.proj")
PATTERNS = {"rank_pattern": {"to_k": 2}, "alpha_pattern": {"attn1.to_q": 8}}

# name → (config, layers, algorithms in words, keys without a place)
ON_SD15: dict[str, tuple[Any, tuple[str, ...], str, int]] = {
    "lora": (lambda names: LoraConfig(r=4, lora_alpha=8, target_modules=names), UNET, "LoRA", 0),
    "lora-rs": (lambda names: LoraConfig(r=4, use_rslora=True, target_modules=names), LINEAR, "LoRA", 0),
    "lora-patterns": (lambda names: LoraConfig(r=4, target_modules=names, **PATTERNS), ATTENTION, "LoRA", 0),
    "dora": (lambda names: LoraConfig(r=4, use_dora=True, target_modules=names), UNET, "DoRA", 0),
    "lora-bias": (
        lambda names: LoraConfig(r=4, lora_bias=True, target_modules=names),
        BIASED,
        "LoRA + bias of a LoRA",
        0,
    ),
    "loha": (lambda names: LoHaConfig(r=4, alpha=4, target_modules=names), LINEAR, "LoHa", 0),
    "loha-conv": (
        lambda names: LoHaConfig(r=4, use_effective_conv2d=True, target_modules=names),
        UNET[5:],
        "LoHa",
        0,
    ),
    "lokr": (lambda names: LoKrConfig(r=4, alpha=4, decompose_factor=8, target_modules=names), LINEAR, "LoKr", 0),
    "lokr-both": (lambda names: LoKrConfig(r=2, decompose_both=True, target_modules=names), LINEAR, "LoKr", 0),
    "oft": (lambda names: OFTConfig(r=0, oft_block_size=32, target_modules=names), LINEAR, "OFT", 0),
    "oft-shared": (
        lambda names: OFTConfig(
            r=0, oft_block_size=32, block_share=True, use_cayley_neumann=False, target_modules=names
        ),
        LINEAR,
        "OFT",
        0,
    ),
    "boft": (lambda names: BOFTConfig(boft_block_size=8, target_modules=names), LINEAR[:2], "BOFT", 0),
    "ia3": (
        lambda names: IA3Config(target_modules=names, feedforward_modules=[names[3]]),
        LINEAR,
        "IA3",
        0,
    ),
    "pissa": (lambda names: LoraConfig(r=4, init_lora_weights="pissa", target_modules=names), LINEAR[:2], "LoRA", 4),
}


def exhibits(folder: Path) -> Iterator[Made]:
    """All of them, each in a folder of its own because of its config."""
    for name, (config, layers, called, refused) in ON_SD15.items():
        path = _saved(folder / name, model("sd15", *layers), config(list(layers)))
        words = ("IA3", "IA3 + IA3 of the bias") if called == "IA3" else (called,)
        more = {"refused": refused, "name": f"peft-sd15-{name}"}
        yield Made(path=path, by=f"{BY}, {name}", layout="P-PEFT", table="sd15", algorithms=words, guess=None, **more)
    for name, layers, table, guess in (
        ("flux", FLUX, "flux dev", ALIKE),
        ("wan", WAN, "wan 2.1-t2v-1.3b", "wan"),
        ("qwen", QWEN, "qwen-image", "qwen-image"),
    ):
        path = folder / f"peft-{name}-named.safetensors"
        whole = get_peft_model(model(name, *layers), LoraConfig(r=4, target_modules=list(layers)))
        save_file({key: value for key, value in whole.base_model.model.state_dict().items() if "lora_" in key}, path)
        yield Made(path=path, by=f"{BY}, raw state", layout="P-NAMED", table=table, algorithms=("LoRA",), guess=guess)
        forget()


def _saved(folder: Path, whole: Any, config: Any) -> Path:
    get_peft_model(whole, config).to(torch.float32).save_pretrained(folder)
    forget()
    return folder / WEIGHTS
