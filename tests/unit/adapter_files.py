"""Small adapter files and the models they are for, for the tests of the tools; and the changes of a file by its own
formula in float64, which none of our code is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sakuga.lora.targets import names_of
from sakuga.lora.tools.source import Source, opened
from sakuga.lora.weight import StackWeight
from sakuga.tensors.names import NameMap

SHAPES: Mapping[str, tuple[int, ...]] = {
    "unet.to_q": (24, 16),
    "unet.to_out.0": (16, 24),
    "unet.conv": (12, 8, 3, 3),
    "unet.proj_in": (16, 8, 1, 1),
    "text_encoder.fc1": (20, 10),
}
PREFIX = {"unet": "lora_unet_", "text_encoder": "lora_te_"}


def model(dtype: torch.dtype = torch.float32) -> dict[str, nn.Module]:
    """A UNet and a text encoder of a few layers."""
    torch.manual_seed(3)
    unet = nn.Module()
    unet.add_module("to_q", nn.Linear(16, 24))
    unet.add_module("to_out", nn.Sequential(nn.Linear(24, 16)))
    unet.add_module("conv", nn.Conv2d(8, 12, 3))
    unet.add_module("proj_in", nn.Conv2d(8, 16, 1))
    unet.add_module("norm", nn.LayerNorm(16))
    text = nn.Module()
    text.add_module("fc1", nn.Linear(10, 20))
    return {"unet": unet.to(dtype), "text_encoder": text.to(dtype)}


def names() -> NameMap:
    return names_of(model())


def stem(place: str) -> str:
    component, _, path = place.partition(".")
    return PREFIX[component] + path.replace(".", "_")


def lora(
    seed: int,
    *,
    rank: int = 3,
    alpha: float | None = 2.0,
    places: Sequence[str] = tuple(SHAPES),
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """A LoRA in kohya's layout."""
    draw = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for place in places:
        shape = SHAPES[place]
        kernel = [1] * (len(shape) - 2)
        tensors[f"{stem(place)}.lora_up.weight"] = torch.randn(shape[0], rank, *kernel, generator=draw).to(dtype)
        tensors[f"{stem(place)}.lora_down.weight"] = torch.randn(rank, *shape[1:], generator=draw).to(dtype)
        if alpha is not None:
            tensors[f"{stem(place)}.alpha"] = torch.tensor(alpha).to(dtype)
    return tensors


def saved(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, dict(metadata or {}))
    return path


def read(*paths: Path, strengths: Sequence[float] = (), known: NameMap | None = None) -> tuple[Source, ...]:
    """The files, opened for the small model."""
    weights = [StackWeight(unet=strength, text_encoder=strength) for strength in strengths]
    return opened([(path.stem, path) for path in paths], known or names(), strengths=weights)


def changes(path: Path | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stem → (alpha / r) · up · down in float64, flat, of a LoRA in kohya's layout."""
    tensors = load_file(path) if isinstance(path, Path) else path
    found = {}
    for key in tensors:
        name, dot, leaf = key.partition(".")
        if leaf == "lora_down.weight":
            down, up = tensors[key].double().flatten(1), tensors[f"{name}{dot}lora_up.weight"].double().flatten(1)
            alpha = float(tensors[f"{name}.alpha"]) if f"{name}.alpha" in tensors else down.shape[0]
            found[name] = alpha / down.shape[0] * up @ down
    return found


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())
