"""MiDaS, DPT-hybrid: depth from one picture, by a residual network, a transformer on its features and a fusion.

Any size that is a multiple of 32. transformers has this architecture too (a test holds the two against each other), but
there it takes square pictures of one size only. Source: Ranftl et al., "Vision Transformers for Dense Prediction"
(2021).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sakuga.models.annotators.weights import Weights, pad_same

MODEL = "pretrained.model"
BACKBONE = f"{MODEL}.patch_embed.backbone"
DEPTHS = (3, 4, 9)  # blocks of the stages of the residual network
TRANSFORMER_BLOCKS = 12
READ_AFTER = (8, 11)  # the transformer's blocks that the fusion looks at; before them two stages of the backbone
HEAD_WIDTH = 64
NORM_GROUPS = 32


def depth(weights: Weights, pixels: Tensor) -> Tensor:
    """Nearness up to scale and shift: RGB [B, 3, H, W] in 0 … 255 to [B, 1, H, W], 0 or more, near is large."""
    stages = _backbone(weights, pixels / 127.5 - 1)
    tokens = _transformer(weights, stages[2])
    levels = [*stages[:2], *(_map(weights, 3 + n, token, stages[2]) for n, token in enumerate(tokens))]
    path: Tensor | None = None
    for number in (4, 3, 2, 1):
        level = weights.conv(f"scratch.layer{number}_rn", levels[number - 1])
        path = _fused(weights, f"scratch.refinenet{number}", level, path)
    assert path is not None
    x = _doubled(weights.conv("scratch.output_conv.0", path))
    x = F.relu(weights.conv("scratch.output_conv.2", x))
    return F.relu(weights.conv("scratch.output_conv.4", x))


def _backbone(weights: Weights, x: Tensor) -> list[Tensor]:
    """The three stages of the residual network (ResNetV2 with standardised convolutions), at 1/4, 1/8 and 1/16."""
    x = _std_conv(weights, f"{BACKBONE}.stem.conv", x, stride=2)
    x = F.relu(weights.group_norm(f"{BACKBONE}.stem.norm", x, groups=NORM_GROUPS))
    x = F.max_pool2d(pad_same(x, 3, 2), 3, stride=2)
    stages = []
    for stage, blocks in enumerate(DEPTHS):
        for block in range(blocks):
            first = block == 0
            x = _bottleneck(weights, f"{BACKBONE}.stages.{stage}.blocks.{block}", x, 2 if first and stage else 1)
        stages.append(x)
    return stages


def _bottleneck(weights: Weights, name: str, x: Tensor, stride: int) -> Tensor:
    def norm(place: str, x: Tensor) -> Tensor:
        return weights.group_norm(f"{name}.{place}", x, groups=NORM_GROUPS)

    short = x
    if f"{name}.downsample.conv.weight" in weights:
        short = norm("downsample.norm", _std_conv(weights, f"{name}.downsample.conv", x, stride=stride))
    x = F.relu(norm("norm1", _std_conv(weights, f"{name}.conv1", x)))
    x = F.relu(norm("norm2", _std_conv(weights, f"{name}.conv2", x, stride=stride)))
    return F.relu(short + norm("norm3", _std_conv(weights, f"{name}.conv3", x)))


def _std_conv(weights: Weights, name: str, x: Tensor, *, stride: int = 1) -> Tensor:
    """A convolution whose filters have mean 0 and variance 1, padded as TensorFlow pads."""
    weight = weights[f"{name}.weight"]
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True, correction=0)
    weight = (weight - mean) / (variance + 1e-8).sqrt()
    return F.conv2d(pad_same(x, weight.shape[-1], stride), weight, stride=stride)


def _transformer(weights: Weights, features: Tensor) -> list[Tensor]:
    """Tokens [B, 1 + h·w, C] after the blocks that are looked at."""
    x = weights.conv(f"{MODEL}.patch_embed.proj", features)
    height, width = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([weights[f"{MODEL}.cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + _positions(weights[f"{MODEL}.pos_embed"], height, width)
    read = []
    for block in range(TRANSFORMER_BLOCKS):
        name = f"{MODEL}.blocks.{block}"
        x = x + _attention(weights, f"{name}.attn", weights.layer_norm(f"{name}.norm1", x))
        inner = weights.linear(f"{name}.mlp.fc1", weights.layer_norm(f"{name}.norm2", x))
        x = x + weights.linear(f"{name}.mlp.fc2", F.gelu(inner))
        if block in READ_AFTER:
            read.append(x)
    return read


def _positions(positions: Tensor, height: int, width: int) -> Tensor:
    """The learned positions of a square of tokens, stretched to this grid."""
    one, grid = positions[:, :1], positions[:, 1:]
    side = round(grid.shape[1] ** 0.5)
    square = grid.transpose(1, 2).reshape(1, -1, side, side)
    stretched = F.interpolate(square, size=(height, width), mode="bilinear", align_corners=False)
    return torch.cat([one, stretched.flatten(2).transpose(1, 2)], dim=1)


def _attention(weights: Weights, name: str, x: Tensor) -> Tensor:
    batch, count, width = x.shape
    heads = max(1, width // HEAD_WIDTH)
    split = weights.linear(f"{name}.qkv", x).reshape(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    seen = F.scaled_dot_product_attention(split[0], split[1], split[2])
    return weights.linear(f"{name}.proj", seen.transpose(1, 2).reshape(batch, count, width))


def _map(weights: Weights, number: int, tokens: Tensor, like: Tensor) -> Tensor:
    """A map from tokens, the first of which is read into all others; the fourth map has half the size."""
    name = f"pretrained.act_postprocess{number}"
    own = tokens[:, 1:]
    joined = torch.cat([own, tokens[:, :1].expand_as(own)], dim=-1)
    read = F.gelu(weights.linear(f"{name}.0.project.0", joined))
    x = weights.conv(f"{name}.3", read.transpose(1, 2).unflatten(2, like.shape[-2:]))
    return weights.conv(f"{name}.4", x, stride=2) if number == 4 else x


def _fused(weights: Weights, name: str, level: Tensor, path: Tensor | None) -> Tensor:
    """A level joined with what came from the coarser ones, twice as large."""
    x = level if path is None else path + _residual(weights, f"{name}.resConfUnit1", level)
    return weights.conv(f"{name}.out_conv", _doubled(_residual(weights, f"{name}.resConfUnit2", x)))


def _residual(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x + weights.conv(f"{name}.conv2", F.relu(weights.conv(f"{name}.conv1", F.relu(x))))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
