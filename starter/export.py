"""From trained weights to the bundle that ships: diffusers-layout folders in fp16, LoRAs in kohya's layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderDC
from safetensors.torch import save_file
from torch import Tensor

import base

LIMIT_BYTES = 16 * 2**20
LORA_METADATA = {"ss_base_model_version": "sakuga_starter", "ss_network_module": "networks.lora", "ss_network_dim": "8"}
DEFAULTS = {
    "schema": 1,
    "family": "sd15",
    "name": "starter",
    "defaults": {
        "controls": ["tile", "lineart"],
        "sampler": "ddim",
        "steps": 1,
        "guidance": 1.0,
        "noise": "zero",
        "motion": "starter_motion",
    },
}


def bundle(model: base.Model, vae: AutoencoderDC, target: Path) -> None:
    """Write UNet, codec, text encoder, schedule and ControlNets below ``target``."""
    places = {"unet": model.unet, "text_encoder": model.text, "vae": vae}
    places |= {"controls/tile": model.tile, "controls/lineart": model.lineart}
    for place, net in places.items():
        net.to(memory_format=torch.contiguous_format).half().save_pretrained(target / place)
        net.float()
        config = json.loads((target / place / "config.json").read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)  # where it lay while it was trained is nobody's business
        _write_json(target / place / "config.json", config)
    base.scheduler().save_pretrained(target / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderDC"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    _write_json(target / "model_index.json", index)
    _write_json(target / "sakuga.json", DEFAULTS)


def motion(state: dict[str, Tensor], target: Path) -> None:
    """Write a motion module in AnimateDiff's own flat layout."""
    path = target / "motion" / "starter_motion.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().half().contiguous() for name, t in state.items()}, path)


def copy(source: Path, target: Path) -> None:
    """Copy the finished files of a stage into the bundle."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.safetensors")):
        shutil.copyfile(path, target / path.name)


def check_sizes(target: Path) -> int:
    """The size of the bundle in bytes; raises when a file is above the limit."""
    files = [path for path in target.rglob("*") if path.is_file()]
    for path in files:
        if path.stat().st_size > LIMIT_BYTES:
            raise RuntimeError(f"{path} has {path.stat().st_size} bytes, the limit is {LIMIT_BYTES}")
    return sum(path.stat().st_size for path in files)


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
