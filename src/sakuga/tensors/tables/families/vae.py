"""Trees of autoencoders, in diffusers naming: AutoencoderKL as Stable Diffusion has it, and AutoencoderDC of residual
blocks alone. Adapters leave them alone; the trees tell whether a file has every weight.
"""

from __future__ import annotations

from collections.abc import Sequence

from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import Parameters, blocks, conv, linear, norm, projections, under


def kl(
    *,
    widths: Sequence[int],
    layers: int,
    pixels: tuple[int, int],
    latents: int,
    quantised: tuple[bool, bool] = (True, True),
    attention: bool = True,
) -> Tree:
    """An AutoencoderKL. ``layers``: resnets of a level of the encoder, one less than the decoder has; ``pixels``:
    channels in and out; ``quantised``: whether there are the convolutions after the encoder and before the decoder.
    """
    tree: dict[str, Parameters] = {"encoder.conv_in": conv(pixels[0], widths[0], 3, 3)}
    now = widths[0]
    for side, order, count in (("encoder", widths, layers), ("decoder", widths[::-1], layers + 1)):
        level_name, step = ("down_blocks", "downsamplers") if side == "encoder" else ("up_blocks", "upsamplers")
        if side == "decoder":
            tree["decoder.conv_in"] = conv(latents, now, 3, 3)
            tree.update(under("decoder.mid_block", _middle(now, attention=attention)))
        for level, width in enumerate(order):
            place = f"{side}.{level_name}.{level}"
            for index in range(count):
                tree.update(under(f"{place}.resnets.{index}", _resnet(now, width)))
                now = width
            if level < len(order) - 1:
                tree[f"{place}.{step}.0.conv"] = conv(width, width, 3, 3)
        if side == "encoder":
            tree.update(under("encoder.mid_block", _middle(now, attention=attention)))
        tree[f"{side}.conv_norm_out"] = norm(now)
        tree[f"{side}.conv_out"] = conv(now, 2 * latents if side == "encoder" else pixels[1], 3, 3)
    if quantised[0]:
        tree["quant_conv"] = conv(2 * latents, 2 * latents, 1, 1)
    if quantised[1]:
        tree["post_quant_conv"] = conv(latents, latents, 1, 1)
    return tree


def dc(
    *,
    widths: tuple[Sequence[int], Sequence[int]],
    layers: tuple[Sequence[int], Sequence[int]],
    pixels: int,
    latents: int,
) -> Tree:
    """An AutoencoderDC of residual blocks, which folds pixels into channels on the way down and unfolds them on the way
    up. Pairs are of encoder and decoder; where the first level has no layers, its step belongs to the pixels.
    """
    down, up = widths
    tree: dict[str, Parameters] = {}
    if layers[0][0]:
        tree["encoder.conv_in"] = conv(pixels, down[0], 3, 3)
    else:
        tree["encoder.conv_in.conv"] = _fold(pixels, down[1])
    for level, (width, count) in enumerate(zip(down, layers[0], strict=True)):
        place = f"encoder.down_blocks.{level}"
        tree.update(blocks(place, count, _residual(width)))
        if level < len(down) - 1 and count:
            tree[f"{place}.{count}.conv"] = _fold(width, down[level + 1])
    tree["encoder.conv_out"] = conv(down[-1], latents, 3, 3)
    tree["decoder.conv_in"] = conv(latents, up[-1], 3, 3)
    for level, (width, count) in enumerate(zip(up, layers[1], strict=True)):
        steps = level < len(up) - 1 and count > 0
        if steps:
            tree[f"decoder.up_blocks.{level}.0.conv"] = _unfold(up[level + 1], width)
        for index in range(count):
            tree.update(under(f"decoder.up_blocks.{level}.{index + steps}", _residual(width)))
    outer = up[0 if layers[1][0] else 1]
    tree["decoder.norm_out"] = norm(outer)
    if layers[1][0]:
        tree["decoder.conv_out"] = conv(outer, pixels, 3, 3)
    else:
        tree["decoder.conv_out.conv"] = _unfold(outer, pixels)
    return tree


def _fold(inputs: int, outputs: int) -> Parameters:
    return conv(inputs, outputs // 4, 3, 3)


def _unfold(inputs: int, outputs: int) -> Parameters:
    return conv(inputs, 4 * outputs, 3, 3)


def _resnet(inputs: int, outputs: int) -> Tree:
    shortcut = {"conv_shortcut": conv(inputs, outputs, 1, 1)} if inputs != outputs else {}
    return {
        "norm1": norm(inputs),
        "conv1": conv(inputs, outputs, 3, 3),
        "norm2": norm(outputs),
        "conv2": conv(outputs, outputs, 3, 3),
        **shortcut,
    }


def _middle(width: int, *, attention: bool) -> Tree:
    looks = {
        "group_norm": norm(width),
        **projections("to_q to_k to_v", width, width),
        "to_out.0": linear(width, width),
    }
    return {**blocks("resnets", 2, _resnet(width, width)), **(under("attentions.0", looks) if attention else {})}


def _residual(width: int) -> Tree:
    return {
        "conv1": conv(width, width, 3, 3),
        "conv2": {"weight": (width, width, 3, 3)},
        "norm": norm(width),
    }
