"""Codec: between pictures and latents, for every kind of autoencoder that a base may have.

Takes the mean of the encoding and never a sample, so a clip encodes alike every time. Computes in float32. Knows no
sizes of its own: channels and factor are the model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sakuga.models.skeletons import Vae


def factor_of(config: Mapping[str, Any]) -> int:
    """Pixels along a side of one latent, from the config of an autoencoder: every level but the last halves them."""
    widths = config.get("block_out_channels") or config["encoder_block_out_channels"]  # the name in Tiny and DC
    return int(2 ** (len(widths) - 1))


@dataclass(frozen=True, kw_only=True)
class Codec:
    """An autoencoder with its two directions. Latents are scaled as the UNet wants them, float32."""

    vae: Vae

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self.vae.config["latent_channels"])

    @property
    def factor(self) -> int:
        """Pixels along a side of one latent."""
        return factor_of(self.vae.config)

    @property
    def scaling(self) -> float:
        """What encodings are multiplied by (0.18215 for SD 1.5)."""
        return float(self.vae.config["scaling_factor"])

    @property
    def shift(self) -> float:
        """What is taken off encodings before they are scaled; 0 where the config has none."""
        return float(self.vae.config.get("shift_factor") or 0.0)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Latents [B, channels, H/factor, W/factor] float32 of pixels [B, 3, H, W] in -1 … 1."""
        given = pixels.to(self.vae.device, self.vae.dtype)
        encoded = self.vae.encode(given)
        latents = _mean(encoded)
        return (latents.float() - self.shift) * self.scaling

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] float32 in -1 … 1 of latents as ``encode`` gives them."""
        return self.unclamped(latents).clamp(-1, 1)

    @torch.no_grad()
    def unclamped(self, latents: Tensor) -> Tensor:
        """As ``decode``, with what is beyond black and white, so that parts of a picture can be averaged first."""
        given = latents.to(self.vae.device, torch.float32) / self.scaling + self.shift
        pixels: Tensor = self.vae.decode(given.to(self.vae.dtype)).sample
        return pixels.float()


def _mean(encoded: object) -> Tensor:
    """The latents in what an encoder gives: a distribution (KL), ``latent`` (DC) or ``latents`` (Tiny)."""
    spread = getattr(encoded, "latent_dist", None)
    found = spread.mode() if spread is not None else getattr(encoded, "latent", None)
    if found is None:
        found = getattr(encoded, "latents", None)
    assert isinstance(found, Tensor)
    return found
