"""The two line networks: ``lineart`` (a residual generator) and ``lineart_anime`` (a U-Net with eight levels).

Both normalise every feature map by itself and have no weights for it. Sources: Chan et al., "Learning to Generate Line
Drawings that Convey Geometry and Semantics" (2022); Isola et al., "Image-to-Image Translation with Conditional
Adversarial Networks" (2017) for the U-Net.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sakuga.models.annotators.weights import Weights

LEVELS = 8
ANIME_MULTIPLE = 2**LEVELS  # pixels; at less the innermost level would have no pixel


def lineart(weights: Weights, pixels: Tensor) -> Tensor:
    """Dark lines on white: RGB [B, 3, H, W] in 0 … 255, sizes a multiple of 4, to [B, 1, H, W] in 0 … 1."""
    x = _mirrored(weights, "model0.1", pixels / 255, 3)
    x = F.relu(F.instance_norm(x))
    for place in (0, 3):
        x = F.relu(F.instance_norm(weights.conv(f"model1.{place}", x, stride=2)))
    number = 0
    while f"model2.{number}.conv_block.1.weight" in weights or number == 0:
        block = f"model2.{number}.conv_block"
        inner = F.relu(F.instance_norm(_mirrored(weights, f"{block}.1", x, 1)))
        x = x + F.instance_norm(_mirrored(weights, f"{block}.5", inner, 1))
        number += 1
    for place in (0, 3):
        x = F.relu(F.instance_norm(weights.conv_up(f"model3.{place}", x, output_padding=1)))
    return _mirrored(weights, "model4.1", x, 3).sigmoid()


def lineart_anime(weights: Weights, pixels: Tensor) -> Tensor:
    """Dark lines on white: RGB [B, 3, H, W] in 0 … 255, sizes a multiple of 256, to [B, 1, H, W] in 0 … 1."""
    x = weights.conv("model.model.0", pixels / 127.5 - 1, stride=2, padding=1)
    x = _level(weights, "model.model.1", x, depth=2)
    return weights.conv_up("model.model.3", F.relu(x)).tanh() / 2 + 0.5


def _level(weights: Weights, name: str, x: Tensor, depth: int) -> Tensor:
    """What a level adds below what came in. The skip carries ``x`` behind its leaky ramp: the training had it so."""
    x = F.leaky_relu(x, 0.2)
    down = weights.conv(f"{name}.model.1", x, stride=2, padding=1)
    if depth == LEVELS:
        up = weights.conv_up(f"{name}.model.3", F.relu(down))
    else:
        inner = _level(weights, f"{name}.model.3", F.instance_norm(down), depth + 1)
        up = weights.conv_up(f"{name}.model.5", F.relu(inner))
    return torch.cat([x, F.instance_norm(up)], dim=1)


def _mirrored(weights: Weights, name: str, x: Tensor, around: int) -> Tensor:
    """A convolution on a picture that is mirrored at its border."""
    return weights.conv(name, F.pad(x, (around,) * 4, mode="reflect"), padding=0)
