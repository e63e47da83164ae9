"""HED, as the softedge ControlNets were trained with: five stages of convolutions, each with a look at the edges.

Source: Xie and Tu, "Holistically-Nested Edge Detection" (2015), in the RGB form that belongs to the ControlNets.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sakuga.models.annotators.weights import Weights

STAGES = 5


def edges(weights: Weights, pixels: Tensor) -> Tensor:
    """How surely each pixel is an edge: RGB [B, 3, H, W] in 0 … 255 to [B, 1, H, W] in 0 … 1."""
    size = pixels.shape[-2:]
    x = pixels - weights["norm"]
    sides = []
    for stage in range(1, STAGES + 1):
        block = f"block{stage}"
        if stage > 1:
            x = F.max_pool2d(x, 2)
        number = 0
        while f"{block}.convs.{number}.weight" in weights or number == 0:
            x = F.relu(weights.conv(f"{block}.convs.{number}", x))
            number += 1
        side = weights.conv(f"{block}.projection", x)
        sides.append(F.interpolate(side, size=size, mode="bilinear", align_corners=False))
    return torch.stack(sides).mean(dim=0).sigmoid()
