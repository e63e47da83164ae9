"""NormalBae: the direction of every surface, by EfficientNet-B5 and a decoder that refines it pixel by pixel.

The encoder is the TensorFlow kind of EfficientNet (its padding, its eps). Sources: Bae et al., "Estimating and
Exploiting the Aleatoric Uncertainty in Surface Normal Estimation" (2021); Tan and Le, "EfficientNet" (2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sakuga.models.annotators.weights import Weights, pad_same

ENCODER = "encoder.original_model"
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each stage
ENCODER_EPS, DECODER_EPS = 1e-3, 1e-5
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normals(weights: Weights, pixels: Tensor) -> Tensor:
    """Surface normals: RGB [B, 3, H, W] in 0 … 255, sizes a multiple of 32, to [B, 3, H, W], −1 … 1 shown as 0 … 1."""
    mean, deviation = (torch.tensor(v, device=pixels.device).reshape(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    stages, top = _encoded(weights, (pixels / 255 - mean) / deviation)
    x = weights.conv("decoder.conv2", top)
    levels = []
    for number, stage in enumerate((4, 2, 1, 0), start=1):
        x = _joined(weights, f"decoder.up{number}._net", x, stages[stage])
        levels.append(x)
    guess = _unit(weights.conv("decoder.out_conv_res8", levels[1]))
    for part, level in zip((4, 2, 1), levels[1:], strict=True):
        guess = _refined(weights, f"decoder.out_conv_res{part}", _doubled(torch.cat([level, guess], dim=1)))
    return ((guess[:, :3] + 1) / 2).clamp(0, 1)


def _encoded(weights: Weights, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """The features after every stage, and those on top of them."""
    x = weights.conv(f"{ENCODER}.conv_stem", pad_same(x, 3, 2), stride=2, padding=0)
    x = F.silu(weights.batch_norm(f"{ENCODER}.bn1", x, eps=ENCODER_EPS))
    stages = []
    for stage, stride in enumerate(STRIDES):
        block = 0
        while f"{ENCODER}.blocks.{stage}.{block}.conv_dw.weight" in weights or block == 0:
            x = _block(weights, f"{ENCODER}.blocks.{stage}.{block}", x, 1 if block else stride)
            block += 1
        stages.append(x)
    return stages, weights.conv(f"{ENCODER}.conv_head", x)


def _block(weights: Weights, name: str, x: Tensor, stride: int) -> Tensor:
    """An inverted residual; those of the first stage have nothing to widen, and other names."""
    came, widened = x, f"{name}.conv_pwl.weight" in weights
    norms = iter(("bn1", "bn2", "bn3"))

    def norm(x: Tensor) -> Tensor:
        return weights.batch_norm(f"{name}.{next(norms)}", x, eps=ENCODER_EPS)

    if widened:
        x = F.silu(norm(weights.conv(f"{name}.conv_pw", x)))
    kernel = weights[f"{name}.conv_dw.weight"].shape[-1]
    x = weights.conv(f"{name}.conv_dw", pad_same(x, kernel, stride), stride=stride, padding=0, groups=x.shape[1])
    x = F.silu(norm(x))
    share = F.silu(weights.conv(f"{name}.se.conv_reduce", x.mean(dim=(2, 3), keepdim=True)))
    x = x * weights.conv(f"{name}.se.conv_expand", share).sigmoid()
    x = norm(weights.conv(f"{name}.conv_pwl" if widened else f"{name}.conv_pw", x))
    return x + came if stride == 1 and x.shape == came.shape else x


def _joined(weights: Weights, name: str, x: Tensor, beside: Tensor) -> Tensor:
    """``x`` at the size of ``beside``, together with it, after two convolutions."""
    x = F.interpolate(x, size=beside.shape[-2:], mode="bilinear", align_corners=True)
    x = torch.cat([x, beside], dim=1)
    for place in (0, 3):
        x = weights.batch_norm(f"{name}.{place + 1}", weights.conv(f"{name}.{place}", x), eps=DECODER_EPS)
        x = F.leaky_relu(x, 0.01)
    return x


def _refined(weights: Weights, name: str, x: Tensor) -> Tensor:
    """A guess from the features and the guess before, pixel by pixel."""
    for place in (0, 2, 4):
        x = F.relu(weights.pointwise(f"{name}.{place}", x))
    return _unit(weights.pointwise(f"{name}.6", x))


def _unit(x: Tensor) -> Tensor:
    """Directions of length 1 in the first three channels; the fourth, how sure they are, as the decoder reads it."""
    length = x[:, :3].square().sum(dim=1, keepdim=True).sqrt() + 1e-10
    return torch.cat([x[:, :3] / length, F.elu(x[:, 3:]) + 1.01], dim=1)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
