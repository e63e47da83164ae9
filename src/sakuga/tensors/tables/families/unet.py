"""Trees of the UNets of Stable Diffusion 1, 2 and XL, and of AnimateDiff's motion modules, in diffusers naming.

A UNet is told by the width of each level, how deep the attention of each is (0: none) and what the text gives.
"""

from __future__ import annotations

from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import Parameters, blocks, conv, embedder, linear, mlp, norm, under

PER_LEVEL = 2  # resnets of a level on the way down; one more on the way up


def unet(
    *,
    widths: tuple[int, ...] = (320, 640, 1280, 1280),
    depths: tuple[int, ...] = (1, 1, 1, 0),
    middle_depth: int = 1,
    context: int,
    linear_projection: bool = False,
    in_channels: int = 4,
    out_channels: int = 4,
    per_level: int = PER_LEVEL,
    added: int | None = None,
) -> Tree:
    """A UNet. ``context``: width of the text's states; ``added``: width of what SDXL adds to the time, or None;
    ``per_level``: resnets of a level on the way down, one less than on the way up.
    """
    time, levels = 4 * widths[0], len(widths)
    tree: dict[str, Parameters] = {"conv_in": conv(in_channels, widths[0], 3, 3)}
    tree.update(under("time_embedding", embedder(widths[0], time)))
    if added is not None:
        tree.update(under("add_embedding", embedder(added, time)))

    def attention(width: int, depth: int) -> Tree:
        return _spatial(width, depth, context, linear_projection=linear_projection)

    now, skips = widths[0], [widths[0]]
    for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        place = f"down_blocks.{level}"
        for index in range(per_level):
            tree.update(under(f"{place}.resnets.{index}", _resnet(now, width, time)))
            if depth:
                tree.update(under(f"{place}.attentions.{index}", attention(width, depth)))
            now = width
            skips.append(width)
        if level < levels - 1:
            tree[f"{place}.downsamplers.0.conv"] = conv(width, width, 3, 3)
            skips.append(width)
    for index in range(2):
        tree.update(under(f"mid_block.resnets.{index}", _resnet(now, now, time)))
    tree.update(under("mid_block.attentions.0", attention(now, middle_depth)))
    for level, (width, depth) in enumerate(zip(widths[::-1], depths[::-1], strict=True)):
        place = f"up_blocks.{level}"
        for index in range(per_level + 1):
            tree.update(under(f"{place}.resnets.{index}", _resnet(now + skips.pop(), width, time)))
            if depth:
                tree.update(under(f"{place}.attentions.{index}", attention(width, depth)))
            now = width
        if level < levels - 1:
            tree[f"{place}.upsamplers.0.conv"] = conv(width, width, 3, 3)
    return {**tree, "conv_norm_out": norm(now), "conv_out": conv(now, out_channels, 3, 3)}


def motion_modules(*, widths: tuple[int, ...] = (320, 640, 1280, 1280), middle: bool) -> Tree:
    """AnimateDiff's modules for a UNet of these widths; only those of version 2 have one in the middle."""
    tree = dict(under("mid_block", blocks("motion_modules", 1, _temporal(widths[-1])))) if middle else {}
    for side, order, count in (("down_blocks", widths, PER_LEVEL), ("up_blocks", widths[::-1], PER_LEVEL + 1)):
        for level, width in enumerate(order):
            tree.update(under(f"{side}.{level}", blocks("motion_modules", count, _temporal(width))))
    return tree


def _resnet(inputs: int, outputs: int, time: int) -> Tree:
    shortcut = {"conv_shortcut": conv(inputs, outputs, 1, 1)} if inputs != outputs else {}
    return {
        "norm1": norm(inputs),
        "conv1": conv(inputs, outputs, 3, 3),
        "time_emb_proj": linear(time, outputs),
        "norm2": norm(outputs),
        "conv2": conv(outputs, outputs, 3, 3),
        **shortcut,
    }


def _spatial(width: int, depth: int, context: int, *, linear_projection: bool) -> Tree:
    projection = linear(width, width) if linear_projection else conv(width, width, 1, 1)
    inner = blocks("transformer_blocks", depth, _transformer(width, context))
    return {"norm": norm(width), "proj_in": projection, **inner, "proj_out": projection}


def _temporal(width: int) -> Tree:
    inner = blocks("transformer_blocks", 1, _transformer(width, width))
    return {"norm": norm(width), "proj_in": linear(width, width), **inner, "proj_out": linear(width, width)}


def _transformer(width: int, context: int) -> Tree:
    return {
        "norm1": norm(width),
        **under("attn1", _attention(width, width)),
        "norm2": norm(width),
        **under("attn2", _attention(width, context)),
        "norm3": norm(width),
        **under("ff", mlp(width, 4 * width, gate=2)),
    }


def _attention(width: int, context: int) -> Tree:
    return {
        "to_q": linear(width, width, bias=False),
        "to_k": linear(context, width, bias=False),
        "to_v": linear(context, width, bias=False),
        "to_out.0": linear(width, width),
    }
