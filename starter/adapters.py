"""The starter's LoRAs and its textual inversion: trained on a frozen base, written in the files' usual layouts."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderDC
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import base
from loop import Plan, train
from pairs import Sampler

RANK = 8
TARGETS = (
    *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "conv_in", "conv_out"),
    *("time_emb_proj", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
)


class Branch(nn.Module):
    """A trainable low-rank branch beside one Linear or convolution; ``up`` starts at zero, alpha equals the rank."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if isinstance(layer, nn.Conv2d):
            self.down: nn.Module = nn.Conv2d(
                layer.in_channels, RANK, layer.kernel_size, layer.stride, layer.padding, bias=False
            )
            self.up: nn.Module = nn.Conv2d(RANK, layer.out_channels, 1, bias=False)
        else:
            self.down = nn.Linear(layer.in_features, RANK, bias=False)
            self.up = nn.Linear(RANK, layer.out_features, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.up.weight)
        self.scale = 1.0

    def beside(self, _layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + self.scale * self.up(self.down(inputs[0]))


def attach(model: base.Model) -> dict[str, Branch]:
    """Branches on every target layer of UNet and text encoder, by kohya's names."""
    branches = {}
    for prefix, part in (("lora_unet", model.unet), ("lora_te", model.text)):
        for name, layer in part.named_modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)) and any(name == t or name.endswith(f".{t}") for t in TARGETS):
                path = name
                if prefix == "lora_te" and not name.startswith("text_model."):
                    path = f"text_model.{name}"  # files always carry the level that newer transformers dropped
                branch = Branch(layer).to(memory_format=torch.channels_last)
                layer.register_forward_hook(branch.beside)
                branches[f"{prefix}_{path.replace('.', '_')}"] = branch
    return branches


def attach_file(model: base.Model, path: Path) -> dict[str, Branch]:
    """Put the LoRA of a file, as ``save`` wrote it, to work at scale 1."""
    branches = attach(model)
    fill(branches, path)
    return branches


@torch.no_grad()
def fill(branches: dict[str, Branch], path: Path) -> None:
    """Take the factors of a file that ``save`` wrote."""
    tensors = load_file(path)
    for name, branch in branches.items():
        branch.down.weight.copy_(tensors[f"{name}.lora_down.weight"])
        branch.up.weight.copy_(tensors[f"{name}.lora_up.weight"])


def fit(
    model: base.Model, draw: Sampler, plan: Plan, start: Path | None = None, vae: AutoencoderDC | None = None
) -> dict[str, Branch]:
    """Train one LoRA on the look that ``draw`` puts in place of the photograph; from ``start``, if that is given.

    ``vae``: judge the decoded picture too (``base.fit``).
    """
    torch.manual_seed(3)
    for part in model.parts().values():
        part.requires_grad_(False)
    branches = attach(model)
    if start:
        fill(branches, start)
    parameters = [p for branch in branches.values() for p in branch.parameters()]
    base.fit(model, draw, plan, parameters, vae)
    return branches


def save(branches: dict[str, Branch], path: Path, metadata: dict[str, str]) -> None:
    """Write the branches as kohya does: fp16 factors and a stored alpha for each module."""
    tensors = {}
    for name, branch in branches.items():
        tensors[f"{name}.lora_down.weight"] = branch.down.weight.detach().half().contiguous()
        tensors[f"{name}.lora_up.weight"] = branch.up.weight.detach().half().contiguous()
        tensors[f"{name}.alpha"] = torch.tensor(float(RANK), dtype=torch.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata)


def fit_word(model: base.Model, draw: Sampler, plan: Plan, count: int = 2) -> Tensor:
    """Learn ``count`` token vectors that stand for the look in ``draw``; the model does not change. [count, width]."""
    for part in model.parts().values():
        part.requires_grad_(False)
    table = model.text.get_input_embeddings()
    words = nn.Parameter(table.weight[[320, 539]][:count].detach().clone())
    alphas = base.scheduler().alphas_cumprod
    weights = torch.tensor(base.CHANNEL_WEIGHTS).view(1, -1, 1, 1)
    generator = torch.Generator().manual_seed(6)

    def put_words(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.cat([output[:, :1], words.expand(len(output), -1, -1), output[:, 1:-count]], dim=1)

    hook = table.register_forward_hook(put_words)

    def loss_of(number: int) -> Tensor:
        batch = draw(number)
        t, x, v = base.noised(batch.target, alphas, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = model(x, t, batch)
        return ((got.float() - v).abs() * weights).mean()

    train(plan, {}, loss_of, [words])
    hook.remove()
    return words.detach()


def save_word(vectors: Tensor, path: Path) -> None:
    """Write a textual inversion in the layout that A1111 reads: one tensor ``emb_params``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": vectors.half().contiguous()}, path)
