"""The layers of a motion module: a transformer along time, for every pixel of a feature map.

Only layers: which modules there are, where their weights come from and how they reach a UNet is in ``motion.py``. Every
frame is normalised on its own, as in AnimateDiff's code and as its modules were trained;
diffusers normalises all frames together, which is 3 % off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

HEADS = 8  # AnimateDiff's constant, at every width
GROUPS = 32  # as far as the width allows: the greatest common divisor
POSITIONS = 32  # of files without positional encodings (diffusers' adapters)
SEQUENCES_AT_ONCE = 16384  # pixels in one attention call: CUDA's grid ends at 65535; the layers still see all at once


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of one motion module: channels, transformer blocks, attentions in each, width of the feed-forward."""

    channels: int
    blocks: int = 1
    attentions: int = 2
    inner: int | None = None
    positions: int = POSITIONS


class PositionalEncoding(nn.Module):
    """Sines and cosines by frame, kept as a buffer [1, positions, channels] as in AnimateDiff's files."""

    def __init__(self, channels: int, positions: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(channels, positions))

    pe: Tensor


class TemporalAttention(nn.Module):
    """Self-attention along time. The encoding is added before all three projections; only the output has a bias."""

    def __init__(self, channels: int, positions: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])
        self.pos_encoder = PositionalEncoding(channels, positions)

    def forward(self, x: Tensor) -> Tensor:
        """x: [sequences, frames, channels], normalised."""
        x = x + self.pos_encoder.pe[:, : x.shape[1]].to(x.dtype)
        q, k, v = (
            project(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for project in (self.to_q, self.to_k, self.to_v)
        )
        parts = (part.split(SEQUENCES_AT_ONCE) for part in (q, k, v))
        mixed = torch.cat([functional.scaled_dot_product_attention(*some) for some in zip(*parts, strict=True)])
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class Geglu(nn.Module):
    """A linear layer whose one half gates the other."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * functional.gelu(gate)


class FeedForward(nn.Module):
    """Geglu, (a dropout that does nothing here), linear."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Geglu(channels, inner), nn.Identity(), nn.Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TemporalBlock(nn.Module):
    """[Norm → attention → add] for each attention, then norm → feed-forward → add."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = shape.channels
        self.attention_blocks = nn.ModuleList(
            [TemporalAttention(channels, shape.positions) for _ in range(shape.attentions)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(channels) for _ in range(shape.attentions)])
        self.ff = FeedForward(channels, shape.inner or 4 * channels)
        self.ff_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            x = x + attention(norm(x))
        return x + self.ff(self.ff_norm(x))


class TemporalTransformer(nn.Module):
    """One motion module. Adds to a feature map what the same pixel does in the other frames."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = shape.channels
        self.norm = nn.GroupNorm(math.gcd(GROUPS, channels), channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(shape) for _ in range(shape.blocks)])
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """x: [clips · frames, channels, h, w], the frames of a clip one after another."""
        rows, _, height, width = x.shape
        assert rows % frames == 0, f"{rows} rows are no whole number of clips of {frames} frames"
        sequences = self.norm(x).unflatten(0, (-1, frames)).permute(0, 3, 4, 1, 2).flatten(0, 2)
        sequences = self.proj_in(sequences)  # [clips · pixels, frames, channels]
        for block in self.transformer_blocks:
            sequences = block(sequences)
        moved = self.proj_out(sequences).unflatten(0, (rows // frames, height, width)).permute(0, 3, 4, 1, 2)
        return x + moved.flatten(0, 1)


def sinusoids(channels: int, positions: int) -> Tensor:
    """The encoding [1, positions, channels] of Vaswani et al. 2017: sines at even channels, cosines at odd ones."""
    position = torch.arange(positions, device="cpu", dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, channels, 2, device="cpu", dtype=torch.float32) * (-math.log(10000.0) / channels))
    return torch.stack([torch.sin(position * rate), torch.cos(position * rate)], dim=-1).flatten(1)[None]
