"""Codec: the mean, scaled, for each kind of autoencoder; sizes are the model's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny

from sakuga.models.codec import Codec


def kl() -> Any:
    return AutoencoderKL(
        block_out_channels=(32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=6,
        scaling_factor=0.3,
        shift_factor=0.1,
    )


def dc() -> Any:
    widths = (8, 8, 16)
    return AutoencoderDC(
        latent_channels=8,
        attention_head_dim=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        scaling_factor=1.0,
    )


def tiny_vae() -> Any:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )


@pytest.mark.parametrize(
    ("make", "channels", "factor", "scaling"),
    [(kl, 6, 4, 0.3), (dc, 8, 4, 1.0), (tiny_vae, 4, 2, 1.0)],
    ids=["kl", "dc", "tiny"],
)
def test_sizes_and_both_ways(make: Any, channels: int, factor: int, scaling: float) -> None:
    vae = make().eval()
    codec = Codec(vae=vae)
    assert (codec.channels, codec.factor, codec.scaling) == (channels, factor, scaling)
    pixels = torch.rand(2, 3, 16, 24) * 2 - 1
    latents = codec.encode(pixels)
    assert latents.shape == (2, channels, 16 // factor, 24 // factor) and latents.dtype == torch.float32
    assert torch.equal(latents, codec.encode(pixels)), "the mean, no sample"
    back = codec.decode(latents)
    assert back.shape == pixels.shape and back.abs().max() <= 1 and back.dtype == torch.float32
    with torch.no_grad():
        raw = vae.decode(latents / scaling + codec.shift).sample
    assert torch.equal(back, raw.clamp(-1, 1))


def test_scale_and_shift() -> None:
    codec = Codec(vae=kl().eval())
    pixels = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        mean = codec.vae.encode(pixels).latent_dist.mean
    assert torch.allclose(codec.encode(pixels), (mean - 0.1) * 0.3)
