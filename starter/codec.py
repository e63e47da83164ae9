"""The codec: a diffusers AutoencoderDC, factor 4, 8 channels, started as the principal components of 4x4 patches.

The class is built from pixel_unshuffle and pixel_shuffle, so the 48 numbers of a patch can pass it unchanged; the start
below lays that path and trains from there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC
from torch import Tensor

from loop import Plan, train

if TYPE_CHECKING:
    from pairs import Batch, Sampler

CHANNELS = 8
FACTOR = 4
PATCH_START = 24  # where the encoder's second unshuffle leaves the patch


def build() -> AutoencoderDC:
    """The untrained network in its shipped configuration."""
    return AutoencoderDC(
        latent_channels=CHANNELS,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(64, 64, 128),
        decoder_block_out_channels=(64, 64, 128),
        encoder_layers_per_block=(0, 1, 2),
        decoder_layers_per_block=(0, 1, 2),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        downsample_block_type="pixel_unshuffle",
        upsample_block_type="pixel_shuffle",
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
        scaling_factor=1.0,
    )


@torch.no_grad()
def start_as_patches(vae: AutoencoderDC, pictures: Tensor) -> None:
    """Lay the exact patch path, the first 8 principal directions at its end. ``pictures``: [B,3,H,W] in -1..1."""
    for name, parameter in vae.named_parameters():
        parameter.mul_(0.0 if name.endswith("norm.weight") else 0.1)
    encoder, decoder = vae.encoder, vae.decoder
    first = encoder.conv_in.conv
    _clear(first, range(3))
    for c in range(3):
        first.weight[c, c, 1, 1] = 1
    down = encoder.down_blocks[1][1].conv
    _clear(down, range(6, 18))
    for j in range(12):
        down.weight[6 + j, j, 1, 1] = 1
    h = encoder.conv_in(pictures)
    for block in encoder.down_blocks:
        h = block(h)
    patch = h[:, PATCH_START : PATCH_START + 48].permute(0, 2, 3, 1).reshape(-1, 48).double()
    mean = patch.mean(0)
    values, vectors = torch.linalg.eigh((patch - mean).T @ (patch - mean) / len(patch))
    top = values.argsort(descending=True)[:CHANNELS]
    spread, directions = values[top].sqrt(), vectors[:, top]
    out = encoder.conv_out
    _clear(out, range(CHANNELS))
    out.weight[:, PATCH_START : PATCH_START + 48, 1, 1] = (directions / spread).T.float()
    out.bias[:] = -(mean @ (directions / spread)).float()
    _clear(decoder.conv_in, range(48))
    decoder.conv_in.weight[:48, :, 1, 1] = (directions * spread).float()
    decoder.conv_in.bias[:48] = mean.float()
    _start_decoder_tail(decoder)


def _start_decoder_tail(decoder: torch.nn.Module) -> None:
    up = decoder.up_blocks[1][0].conv
    keep = [*range(48), *range(192, 256)]
    _clear(up, keep)
    for j in keep:
        up.weight[j, j // 2, 1, 1] = -1  # the block's shortcut copies channel j // 2 here; taken off again
    for j in range(48):
        up.weight[j, j, 1, 1] += 1
    up.bias[192:] = 8  # sixteen constant channels make the RMS norm nearly a fixed scale of 4
    decoder.norm_out.weight[:12] = 4
    decoder.norm_out.bias[:12] = 2  # lifts the pixels over the ReLU
    decoder.norm_out.weight[12:] = 1
    last = decoder.conv_out.conv
    _clear(last, range(12))
    for j in range(12):
        last.weight[j, j, 1, 1] = 1
        last.bias[j] = -2


def _clear(conv: torch.nn.Conv2d, rows: range | list[int]) -> None:
    conv.weight[list(rows)] = 0
    conv.bias[list(rows)] = 0


def fit(folder: Path, pictures: list[np.ndarray], samples: int) -> AutoencoderDC:
    """Train on 128-pixel crops of RGB uint8 pictures and save to ``folder / "vae"``."""
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    vae = build()

    def crops(count: int) -> Tensor:
        chosen = []
        for _ in range(count):
            p = pictures[random.integers(len(pictures))]
            y, x = random.integers(0, p.shape[0] - 127), random.integers(0, p.shape[1] - 127)
            crop = p[y : y + 128, x : x + 128]
            chosen.append(crop[:, ::-1] if random.random() < 0.5 else crop)
        batch = torch.from_numpy(np.stack(chosen).copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
        return batch.contiguous(memory_format=torch.channels_last)

    start_as_patches(vae, crops(64))
    vae.to(memory_format=torch.channels_last)

    def loss_of(count: int) -> Tensor:
        x = crops(count)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = vae.encode(x).latent.float()
            y = vae.decode(z + 0.04 * torch.randn_like(z)).sample.float()
        spread = (z.var(dim=(0, 2, 3)).log() ** 2).mean() + z.mean(dim=(0, 2, 3)).square().mean()
        return pixel_loss(y, x) + 0.01 * spread

    train(Plan(name="codec", folder=folder, samples=samples, batch=8, rate=1.5e-4), {"vae": vae}, loss_of)
    save(vae, folder)
    return vae


def save(vae: AutoencoderDC, folder: Path) -> None:
    """Write it to ``folder / "vae"``."""
    vae.to(memory_format=torch.contiguous_format).save_pretrained(folder / "vae")


def pixel_loss(got: Tensor, wanted: Tensor) -> Tensor:
    """How far two pictures in -1..1 are apart: L1, twice the square, half the L1 of the steps between neighbours."""
    edges = sum((got.diff(dim=d) - wanted.diff(dim=d)).abs().mean() for d in (2, 3))
    return F.l1_loss(got, wanted) + 2 * F.mse_loss(got, wanted) + 0.5 * edges


def picture_loss(vae: AutoencoderDC, latents: Tensor, batch: Batch) -> Tensor:
    """``pixel_loss`` of decoded latents against the picture of the batch."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        picture = vae.decode(latents.contiguous(memory_format=torch.channels_last)).sample
    return pixel_loss(picture.float(), batch.pixels)


def settle(vae: AutoencoderDC, draw: Sampler, predict: Callable[[Batch], Tensor], plan: Plan) -> None:
    """Train the decoder alone on latents as the model gives them, half of each batch on the codec's own.

    Predicted latents miss the codec's by a pattern that repeats every 4 pixels; the decoder learns not to show it.
    """
    vae.decoder.requires_grad_(True)
    vae.to(memory_format=torch.channels_last)

    def loss_of(count: int) -> Tensor:
        batch = draw(count)
        own = torch.arange(count) < count // 2
        with torch.no_grad():
            z = torch.where(own.view(-1, 1, 1, 1), batch.target + 0.04 * torch.randn_like(batch.target), predict(batch))
        return picture_loss(vae, z, batch)

    train(plan, {"decoder": vae.decoder}, loss_of)
    vae.requires_grad_(False)


def load(folder: Path) -> AutoencoderDC:
    """The trained codec in fp32, for encoding the training pictures."""
    return AutoencoderDC.from_pretrained(folder / "vae").eval().requires_grad_(False)


@torch.inference_mode()
def latents_of(vae: AutoencoderDC, picture: np.ndarray) -> Tensor:
    """[8, H/4, W/4] fp16 latents of one RGB uint8 picture."""
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent
    return z[0].half()
