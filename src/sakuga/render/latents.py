"""Frames to latents and back, in batches that fit, and the latent a run starts from.

Latents are float32 and stay where the frames are; only a batch at a time visits the codec. Refuses to know of video
files and of samplers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from sakuga.models.schedule import Level

PIXELS_AT_ONCE = 1024 * 1024  # four frames of 512 x 512; a codec's widest layer then stays below 1 GiB in fp16


class PixelCodec(Protocol):
    """The two answers that are needed of ``sakuga.models.codec.Codec``."""

    def encode(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in -1 … 1 → latents [B, C, h, w], float32."""

    def decode(self, latents: Tensor) -> Tensor:
        """The way back."""


def frames_at_once(height: int, width: int, pixels: int = PIXELS_AT_ONCE) -> int:
    """How many frames of this size make a batch within a budget of pixels; at least one."""
    return max(1, pixels // (height * width))


@torch.no_grad()
def encode(codec: PixelCodec, frames: Tensor, pixels: int = PIXELS_AT_ONCE) -> Tensor:
    """Frames [F, 3, H, W] in -1 … 1 → latents [F, C, h, w], float32, on the device of ``frames``."""
    size = frames_at_once(frames.shape[-2], frames.shape[-1], pixels)
    return torch.cat([codec.encode(batch).to(device=frames.device) for batch in frames.split(size)])


def decode(codec: PixelCodec, latents: Tensor, pixels: int = PIXELS_AT_ONCE) -> Iterator[Tensor]:
    """Latents [F, C, h, w] → frames [3, H, W] in -1 … 1, float32, one after another, lest pixels pile up.

    The first batch is a single frame: only then is the size of a frame known.
    """
    done, size = 0, 1
    while done < len(latents):
        with torch.no_grad():
            frames = codec.decode(latents[done : done + size]).to(device=latents.device, dtype=torch.float32)
        yield from frames
        done += size
        size = frames_at_once(frames.shape[-2], frames.shape[-1], pixels)


def add_noise(clean: Tensor, noise: Tensor, level: Level) -> Tensor:
    """x = alpha·picture + sigma·noise, float32."""
    return level.alpha * clean.float() + level.sigma * noise.to(clean.device)


def start(clean: Tensor | None, noise: Tensor, level: Level) -> Tensor:
    """The latent a run starts from: the noise alone if no picture is to be kept (strength 1), else a noised picture."""
    return noise.clone() if clean is None else add_noise(clean, noise, level)
