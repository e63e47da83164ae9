"""The layouts of the public files that annotators draw with: names and sizes, as torch.save wrote them there.

Each takes ``thin``, by which its widths are divided: at 1 they are the public ones, more makes a small file of the same
build. ``weights`` makes random numbers for a layout, drawn so that signals keep their size from layer to layer.
"""

from __future__ import annotations

import torch

Shapes = dict[str, tuple[int, ...]]


def conv(shapes, name, out, inner, kernel, *, bias=True):
    shapes[f"{name}.weight"] = (out, inner, kernel, kernel)
    if bias:
        shapes[f"{name}.bias"] = (out,)


def batch_norm(shapes, name, width):
    for part in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"{name}.{part}"] = (width,)
    shapes[f"{name}.num_batches_tracked"] = ()


def norm(shapes, name, width):
    shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)


def linear(shapes, name, out, inner):
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, inner), (out,)


def hed(thin=1) -> Shapes:
    """ControlNetHED.pth: 37 tensors."""
    shapes: Shapes = {"norm": (1, 3, 1, 1)}
    inner = 3
    for block, (width, layers) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        width //= thin
        for layer in range(layers):
            conv(shapes, f"block{block}.convs.{layer}", width, inner, 3)
            inner = width
        conv(shapes, f"block{block}.projection", 1, width, 1)
    return shapes


def lineart(thin=1) -> Shapes:
    """sk_model.pth: 24 tensors, three residual blocks."""
    w = 64 // thin
    shapes: Shapes = {}
    conv(shapes, "model0.1", w, 3, 7)
    conv(shapes, "model1.0", 2 * w, w, 3)
    conv(shapes, "model1.3", 4 * w, 2 * w, 3)
    for block in range(3):
        conv(shapes, f"model2.{block}.conv_block.1", 4 * w, 4 * w, 3)
        conv(shapes, f"model2.{block}.conv_block.5", 4 * w, 4 * w, 3)
    shapes |= {"model3.0.weight": (4 * w, 2 * w, 3, 3), "model3.0.bias": (2 * w,)}
    shapes |= {"model3.3.weight": (2 * w, w, 3, 3), "model3.3.bias": (w,)}
    conv(shapes, "model4.1", 1, w, 7)
    return shapes


def lineart_anime(thin=1) -> Shapes:
    """netG.pth: 32 tensors, all with ``module.`` before them."""
    w = 64 // thin
    widths = [w, 2 * w, 4 * w, *[8 * w] * 5]
    shapes: Shapes = {}
    conv(shapes, "module.model.model.0", w, 3, 4)
    name = "module.model.model.1"
    for depth in range(1, 8):
        outer, inner = widths[depth - 1], widths[depth]
        conv(shapes, f"{name}.model.1", inner, outer, 4)
        last = depth == 7
        up = f"{name}.model.{3 if last else 5}"
        shapes |= {f"{up}.weight": (inner * (1 if last else 2), outer, 4, 4), f"{up}.bias": (outer,)}
        name += ".model.3"
    return shapes | {"module.model.model.3.weight": (2 * w, 1, 4, 4), "module.model.model.3.bias": (1,)}


def midas(*, public=True) -> Shapes:
    """dpt_hybrid-midas-501f0c75.pt, or the smallest of that build: normalisation wants multiples of 32 channels."""
    stages = (256, 512, 1024) if public else (128, 128, 128)
    token, fused, stem, side = (768, 256, 64, 24) if public else (64, 16, 32, 4)
    model, backbone = "pretrained.model", "pretrained.model.patch_embed.backbone"
    shapes: Shapes = {f"{model}.cls_token": (1, 1, token), f"{model}.pos_embed": (1, 1 + side**2, token)}
    conv(shapes, f"{backbone}.stem.conv", stem, 3, 7, bias=False)
    norm(shapes, f"{backbone}.stem.norm", stem)
    inner = stem
    for stage, (out, blocks) in enumerate(zip(stages, (3, 4, 9), strict=True)):
        middle = out // 4
        for block in range(blocks):
            name = f"{backbone}.stages.{stage}.blocks.{block}"
            if block == 0:
                conv(shapes, f"{name}.downsample.conv", out, inner, 1, bias=False)
                norm(shapes, f"{name}.downsample.norm", out)
            for number, (o, i, k) in enumerate(((middle, inner, 1), (middle, middle, 3), (out, middle, 1)), start=1):
                conv(shapes, f"{name}.conv{number}", o, i, k, bias=False)
                norm(shapes, f"{name}.norm{number}", o)
            inner = out
    conv(shapes, f"{model}.patch_embed.proj", token, inner, 1)
    for block in range(12):
        name = f"{model}.blocks.{block}"
        norm(shapes, f"{name}.norm1", token)
        linear(shapes, f"{name}.attn.qkv", 3 * token, token)
        linear(shapes, f"{name}.attn.proj", token, token)
        norm(shapes, f"{name}.norm2", token)
        linear(shapes, f"{name}.mlp.fc1", 4 * token, token)
        linear(shapes, f"{name}.mlp.fc2", token, 4 * token)
    norm(shapes, f"{model}.norm", token)
    linear(shapes, f"{model}.head", 1000, token)
    for number in (3, 4):
        linear(shapes, f"pretrained.act_postprocess{number}.0.project.0", token, 2 * token)
        conv(shapes, f"pretrained.act_postprocess{number}.3", token, token, 1)
    conv(shapes, "pretrained.act_postprocess4.4", token, token, 3)
    for number, width in enumerate((*stages[:2], token, token), start=1):
        conv(shapes, f"scratch.layer{number}_rn", fused, width, 3, bias=False)
    for number in (1, 2, 3, 4):
        name = f"scratch.refinenet{number}"
        conv(shapes, f"{name}.out_conv", fused, fused, 1)
        for unit in (1, 2):
            conv(shapes, f"{name}.resConfUnit{unit}.conv1", fused, fused, 3)
            conv(shapes, f"{name}.resConfUnit{unit}.conv2", fused, fused, 3)
    conv(shapes, "scratch.output_conv.0", fused // 2, fused, 3)
    conv(shapes, "scratch.output_conv.2", 32, fused // 2, 3)
    conv(shapes, "scratch.output_conv.4", 1, 32, 1)
    return shapes


B5 = ((24, 3, 3, 1), (40, 5, 3, 6), (64, 5, 5, 6), (128, 7, 3, 6), (176, 7, 5, 6), (304, 9, 5, 6), (512, 3, 3, 6))


def normalbae(thin=1) -> Shapes:
    """scannet.pt, what is under ``model``: tf_efficientnet_b5 in the names of its program, and the decoder."""

    def w(width):
        return width if thin == 1 else max(8, round(width / thin / 8) * 8)

    e, d = "encoder.original_model", "decoder"
    shapes: Shapes = {}
    conv(shapes, f"{e}.conv_stem", w(48), 3, 3, bias=False)
    batch_norm(shapes, f"{e}.bn1", w(48))
    inner = w(48)
    for stage, (out, blocks, kernel, widen) in enumerate(B5):
        out = w(out)
        for block in range(blocks):
            name, middle = f"{e}.blocks.{stage}.{block}", inner * widen
            norms = iter(("bn1", "bn2", "bn3"))
            if widen > 1:
                conv(shapes, f"{name}.conv_pw", middle, inner, 1, bias=False)
                batch_norm(shapes, f"{name}.{next(norms)}", middle)
            shapes[f"{name}.conv_dw.weight"] = (middle, 1, kernel, kernel)
            batch_norm(shapes, f"{name}.{next(norms)}", middle)
            conv(shapes, f"{name}.se.conv_reduce", max(1, inner // 4), middle, 1)
            conv(shapes, f"{name}.se.conv_expand", middle, max(1, inner // 4), 1)
            conv(shapes, f"{name}.{'conv_pwl' if widen > 1 else 'conv_pw'}", out, middle, 1, bias=False)
            batch_norm(shapes, f"{name}.{next(norms)}", out)
            inner = out
    conv(shapes, f"{e}.conv_head", w(2048), inner, 1, bias=False)
    batch_norm(shapes, f"{e}.bn2", w(2048))
    conv(shapes, f"{d}.conv2", w(2048), w(2048), 1)
    inner = w(2048)
    for number, (beside, out) in enumerate(((176, 1024), (64, 512), (40, 256), (24, 128)), start=1):
        conv(shapes, f"{d}.up{number}._net.0", w(out), inner + w(beside), 3)
        batch_norm(shapes, f"{d}.up{number}._net.1", w(out))
        conv(shapes, f"{d}.up{number}._net.3", w(out), w(out), 3)
        batch_norm(shapes, f"{d}.up{number}._net.4", w(out))
        inner = w(out)
    conv(shapes, f"{d}.out_conv_res8", 4, w(512), 3)
    for part, width in ((4, 512), (2, 256), (1, 128)):
        sizes = (w(width) + 4, w(128), w(128), w(128), 4)
        for number in range(4):
            name = f"{d}.out_conv_res{part}.{2 * number}"
            shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (
                (sizes[number + 1], sizes[number], 1),
                (sizes[number + 1],),
            )
    return shapes


VGG = (("1_1", 64), ("1_2", 64), ("2_1", 128), ("2_2", 128), ("3_1", 256), ("3_2", 256), ("3_3", 256), ("3_4", 256))


def body(thin=1) -> Shapes:
    """body_pose_model.pth: 184 tensors."""
    shapes: Shapes = {}
    inner = 3
    for name, width in (*VGG, ("4_1", 512), ("4_2", 512), ("4_3_CPM", 256), ("4_4_CPM", 128)):
        conv(shapes, f"conv{name}", width // thin, inner, 3)
        inner = width // thin
    w = 128 // thin
    for branch, out in ((1, 38), (2, 19)):
        for number in (1, 2, 3):
            conv(shapes, f"conv5_{number}_CPM_L{branch}", w, w, 3)
        conv(shapes, f"conv5_4_CPM_L{branch}", 512 // thin, w, 1)
        conv(shapes, f"conv5_5_CPM_L{branch}", out, 512 // thin, 1)
    for stage in range(2, 7):
        for branch, out in ((1, 38), (2, 19)):
            for number in range(1, 6):
                conv(shapes, f"Mconv{number}_stage{stage}_L{branch}", w, w + 57 if number == 1 else w, 7)
            conv(shapes, f"Mconv6_stage{stage}_L{branch}", w, w, 1)
            conv(shapes, f"Mconv7_stage{stage}_L{branch}", out, w, 1)
    return shapes


def part(points, thin=1) -> Shapes:
    """hand_pose_model.pth (22 points) and facenet.pth (71): 104 tensors."""
    shapes: Shapes = {}
    inner = 3
    four_and_five = (("4_1", 512), ("4_2", 512), ("4_3", 512), ("4_4", 512), ("5_1", 512), ("5_2", 512))
    for name, width in (*VGG, *four_and_five, ("5_3_CPM", 128)):
        conv(shapes, f"conv{name}", width // thin, inner, 3)
        inner = width // thin
    w = 128 // thin
    conv(shapes, "conv6_1_CPM", 512 // thin, w, 1)
    conv(shapes, "conv6_2_CPM", points, 512 // thin, 1)
    for stage in range(2, 7):
        for number in range(1, 6):
            conv(shapes, f"Mconv{number}_stage{stage}", w, w + points if number == 1 else w, 7)
        conv(shapes, f"Mconv6_stage{stage}", w, w, 1)
        conv(shapes, f"Mconv7_stage{stage}", points, w, 1)
    return shapes


LAYOUTS = {
    "hed": hed,
    "lineart": lineart,
    "lineart_anime": lineart_anime,
    "midas": midas,
    "normalbae": normalbae,
    "body": body,
    "hand": lambda thin=1: part(22, thin),
    "face": lambda thin=1: part(71, thin),
}
THIN = {"normalbae": 16, "body": 16, "hand": 16, "face": 16}


def small(name) -> Shapes:
    """A small file of a network's build."""
    return midas(public=False) if name == "midas" else LAYOUTS[name](THIN.get(name, 8))


def weights(shapes, seed=0) -> dict[str, torch.Tensor]:
    """Random weights for a layout."""
    generator = torch.Generator().manual_seed(seed)

    def draw(name, shape):
        if name.endswith("running_var"):
            return torch.ones(shape)
        if name.endswith("num_batches_tracked"):
            return torch.tensor(7)
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1 and name not in ("norm",):
            return values * (2 / max(1, torch.Size(shape[1:]).numel())) ** 0.5
        is_scale = "norm" in name or ".bn" in name or "_net.1." in name or "_net.4." in name
        return 1 + values / 10 if is_scale and name.endswith("weight") else values / 10

    return {name: draw(name, shape) for name, shape in shapes.items()}
