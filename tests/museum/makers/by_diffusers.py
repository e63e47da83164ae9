"""Exhibits that diffusers writes: ``save_lora_weights`` of its pipelines, and its own converters to other layouts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from tests.museum.makers.exhibit import Made
from tests.museum.makers.models import ALIKE, CLIP, FLUX, QWEN, SD3, UNET, WAN, Z_IMAGE, forget, model

BY = "diffusers 0.42.1"
WEIGHTS = "pytorch_lora_weights.safetensors"
FLUX2 = ("transformer_blocks.2.attn.to_q", "single_transformer_blocks.7.attn.to_out")
SD35 = (*SD3, "transformer_blocks.2.attn2.to_q")
# pipeline → (model, layers, table, guess)
TRANSFORMERS: dict[str, tuple[str, tuple[str, ...], str, Any]] = {
    "FluxPipeline": ("flux", FLUX, "flux dev", ALIKE),
    "StableDiffusion3Pipeline": ("sd35", SD35, "sd3 3.5-medium", "sd3"),
    "WanPipeline": ("wan", WAN, "wan 2.1-t2v-1.3b", "wan"),
    "QwenImagePipeline": ("qwen", QWEN, "qwen-image", "qwen-image"),
    "ZImagePipeline": ("z-image", Z_IMAGE, "z-image", "z-image"),
    "HunyuanVideoPipeline": ("hunyuan", FLUX, "hunyuan-video", ALIKE),
    "Flux2Pipeline": ("flux2", FLUX2, "flux2 dev", "flux2"),
}


def exhibits(folder: Path) -> Iterator[Made]:
    """All of them, written into ``folder`` one after another."""
    yield from _stable_diffusion(folder)
    for pipeline, (name, layers, table, guess) in TRANSFORMERS.items():
        place = folder / pipeline
        weights = _trained(model(name, *layers), layers)
        getattr(diffusers, pipeline).save_lora_weights(place, transformer_lora_layers=weights)
        forget()
        more = {"by": f"{BY}, {pipeline}", "name": f"diffusers-{name}"}
        yield Made(path=place / WEIGHTS, layout="D-PEFT", table=table, algorithms=("LoRA",), guess=guess, **more)


def _stable_diffusion(folder: Path) -> Iterator[Made]:
    unet, text = _trained(model("sd15", *UNET), UNET), _trained(model("clip l", *CLIP), CLIP)
    pipeline = diffusers.StableDiffusionPipeline
    told = {"r": 4, "lora_alpha": 8, "target_modules": list(UNET)}
    common = {"table": "sd15", "algorithms": ("LoRA",)}
    for name, given in (
        ("sd15", {"unet_lora_layers": unet, "text_encoder_lora_layers": text}),
        ("sd15-metadata", {"unet_lora_layers": unet, "unet_lora_adapter_metadata": told}),
        ("sd15-pickle", {"unet_lora_layers": unet, "safe_serialization": False}),
    ):
        pipeline.save_lora_weights(folder / name, **given)
        path = folder / name / (WEIGHTS if name != "sd15-pickle" else "pytorch_lora_weights.bin")
        yield Made(
            path=path, by=f"{BY}, save_lora_weights", layout="D-PEFT", guess="sd15", name=f"diffusers-{name}", **common
        )
    parts = {"unet": unet, "text_encoder": text}
    whole = {f"{part}.{key}": value for part, weights in parts.items() for key, value in weights.items()}
    path = folder / "diffusers-sd15-kohya.safetensors"
    save_file(convert_state_dict_to_kohya(whole), path)
    yield Made(path=path, by=f"{BY}, convert_state_dict_to_kohya", layout="K-SD", guess=("sd15",), **common)
    path = folder / "diffusers-sd15-old.safetensors"
    save_file(convert_state_dict_to_diffusers(whole), path)
    yield Made(path=path, by=f"{BY}, convert_state_dict_to_diffusers", layout="D-UNET", guess="sd15", **common)
    forget()
    layers = (*UNET[:4], "add_embedding.linear_1")
    unet = _trained(model("sdxl", *layers), layers)
    second = ("text_model.encoder.layers.31.self_attn.q_proj", "text_model.encoder.layers.0.mlp.fc2")
    texts = {
        "text_encoder_lora_layers": _trained(model("clip l", *CLIP), CLIP),
        "text_encoder_2_lora_layers": _trained(model("clip g", *second), second),
    }
    diffusers.StableDiffusionXLPipeline.save_lora_weights(folder / "xl", unet_lora_layers=unet, **texts)
    forget()
    path = folder / "xl" / WEIGHTS
    told = {"layout": "D-PEFT", "table": "sdxl", "algorithms": ("LoRA",), "guess": "sdxl"}
    yield Made(path=path, by=f"{BY}, StableDiffusionXLPipeline", name="diffusers-sdxl", **told)


def _trained(whole: Any, layers: tuple[str, ...]) -> dict[str, Any]:
    """The state of an adapter on some layers of a model, and the model without it again."""
    whole.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=list(layers)))
    state = {key: value.clone() for key, value in get_peft_model_state_dict(whole).items()}
    whole.delete_adapters("default") if hasattr(whole, "delete_adapters") else whole.delete_adapter("default")
    return state
