"""The networks of the annotators give the same numbers as the same builds in torch.nn and in transformers."""

from __future__ import annotations

import re

import pytest
import torch
from tests.annotator_layouts import normalbae, small, weights
from torch import nn

from sakuga.models.annotators import network_named
from sakuga.models.annotators.normalbae import _encoded
from sakuga.models.annotators.weights import Weights


def close(mine, other):
    assert mine.shape == other.shape
    assert float((mine - other).norm() / other.norm()) < 1e-4


def run(name, tensors, pixels):
    plain = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    with torch.no_grad():
        return network_named(name).run(Weights(plain), pixels)


def test_hed_is_the_mean_of_five_stages():
    made, pixels = weights(small("hed")), torch.rand(1, 3, 64, 96) * 255
    x, sides = pixels - made["norm"], []
    for block, layers in enumerate((2, 2, 3, 3, 3), start=1):
        x = nn.MaxPool2d(2)(x) if block > 1 else x
        for layer in range(layers):
            name = f"block{block}.convs.{layer}"
            x = torch.conv2d(x, made[f"{name}.weight"], made[f"{name}.bias"], padding=1).relu()
        name = f"block{block}.projection"
        side = torch.conv2d(x, made[f"{name}.weight"], made[f"{name}.bias"])
        sides.append(nn.functional.interpolate(side, size=(64, 96), mode="bilinear"))
    close(run("hed", made, pixels), torch.sigmoid(sum(sides) / 5))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        half = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)]
        again = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)]
        self.conv_block = nn.Sequential(*half, nn.ReLU(), *again)

    def forward(self, x):
        return x + self.conv_block(x)


def test_lineart_is_a_residual_generator():
    made = weights(small("lineart"))
    w = made["model0.1.weight"].shape[0]

    def down(a, b):
        return [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.InstanceNorm2d(b), nn.ReLU()]

    def up(a, b):
        return [nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1), nn.InstanceNorm2d(b), nn.ReLU()]

    parts = {
        "model0": nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, w, 7), nn.InstanceNorm2d(w), nn.ReLU()),
        "model1": nn.Sequential(*down(w, 2 * w), *down(2 * w, 4 * w)),
        "model2": nn.Sequential(*(Residual(4 * w) for _ in range(3))),
        "model3": nn.Sequential(*up(4 * w, 2 * w), *up(2 * w, w)),
        "model4": nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(w, 1, 7), nn.Sigmoid()),
    }
    x = pixels = torch.rand(1, 3, 64, 128) * 255
    x = x / 255
    for name, part in parts.items():
        part.load_state_dict({k.removeprefix(f"{name}."): v for k, v in made.items() if k.startswith(f"{name}.")})
        x = part(x)
    close(run("lineart", made, pixels), x.detach())


class Level(nn.Module):
    """A level of pix2pix's U-Net; its leaky ramp works in place, so the skip carries what is behind it."""

    def __init__(self, outer, inner, below=None):
        super().__init__()
        down = [nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(outer, inner, 4, 2, 1)]
        wide = inner if below is None else 2 * inner
        up = [nn.ReLU(), nn.ConvTranspose2d(wide, outer, 4, 2, 1), nn.InstanceNorm2d(outer)]
        middle = [] if below is None else [nn.InstanceNorm2d(inner), below]
        self.model = nn.Sequential(*down, *middle, *up)

    def forward(self, x):
        return torch.cat([x, self.model(x)], 1)


class Unet(nn.Module):
    def __init__(self, w):
        super().__init__()
        level = Level(8 * w, 8 * w)
        for outer, inner in ((8, 8), (8, 8), (8, 8), (4, 8), (2, 4), (1, 2)):
            level = Level(outer * w, inner * w, level)
        inside = [nn.Conv2d(3, w, 4, 2, 1), level, nn.ReLU(), nn.ConvTranspose2d(2 * w, 1, 4, 2, 1), nn.Tanh()]
        self.model = nn.ModuleDict({"model": nn.Sequential(*inside)})


def test_lineart_anime_is_the_u_net_of_pix2pix():
    made, pixels = weights(small("lineart_anime")), torch.rand(1, 3, 256, 256) * 255
    unet = Unet(made["module.model.model.0.weight"].shape[0])
    unet.load_state_dict({name.removeprefix("module."): tensor for name, tensor in made.items()})
    with torch.no_grad():
        other = unet.model["model"](pixels / 127.5 - 1)
    close(run("lineart_anime", made, pixels), (other * 127.5 + 127.5) / 255)


def transformers_dpt(made):
    """transformers' DPT-hybrid with the weights of a MiDaS file."""
    from transformers import BitConfig, DPTConfig, DPTForDepthEstimation

    token, stem = made["pretrained.model.cls_token"].shape[-1], made[BACKBONE + "stem.conv.weight"].shape[0]
    widths = [made[f"{BACKBONE}stages.{n}.blocks.0.conv3.weight"].shape[0] for n in range(3)]
    bit = BitConfig(
        global_padding="same", layer_type="bottleneck", depths=[3, 4, 9], embedding_dynamic_padding=True,
        out_features=["stage1", "stage2", "stage3"], embedding_size=stem, hidden_sizes=[*widths, 2 * widths[-1]],
    )  # fmt: skip
    config = DPTConfig(
        is_hybrid=True, image_size=64,
        backbone_config=bit, hidden_size=token, intermediate_size=4 * token, layer_norm_eps=1e-6,
        num_attention_heads=max(1, token // 64), backbone_out_indices=[0, 1, 8, 11], reassemble_factors=[1, 1, 1, 0.5],
        neck_hidden_sizes=[*widths[:2], token, token], backbone_featmap_shape=[1, widths[2], 4, 4],
        fusion_hidden_size=made["scratch.layer1_rn.weight"].shape[0],
    )  # fmt: skip
    model = DPTForDepthEstimation(config).eval()
    tensors = {}
    for name, tensor in made.items():
        qkv = re.fullmatch(r"pretrained\.model\.blocks\.(\d+)\.attn\.qkv\.(\w+)", name)
        if qkv:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                tensors[f"dpt.encoder.layer.{qkv[1]}.attention.attention.{part}.{qkv[2]}"] = third
        elif not name.startswith("pretrained.model.head"):
            for pattern, word in NAMES:
                name = re.sub(pattern, word, name)
            tensors[name] = tensor
    model.load_state_dict(tensors)
    return model


BACKBONE = "pretrained.model.patch_embed.backbone."
BIT = "dpt.embeddings.backbone.bit."
NAMES = (
    (r"^pretrained\.model\.patch_embed\.backbone\.stem\.conv", BIT + "embedder.convolution"),
    (r"^pretrained\.model\.patch_embed\.backbone\.stem\.norm", BIT + "embedder.norm"),
    (r"^pretrained\.model\.patch_embed\.backbone\.stages\.(\d)\.blocks", BIT + r"encoder.stages.\1.layers"),
    (r"^pretrained\.model\.patch_embed\.proj", "dpt.embeddings.projection"),
    (r"^pretrained\.model\.cls_token", "dpt.embeddings.cls_token"),
    (r"^pretrained\.model\.pos_embed", "dpt.embeddings.position_embeddings"),
    (r"^pretrained\.model\.norm", "dpt.layernorm"),
    (r"^pretrained\.model\.blocks\.(\d+)\.attn\.proj", r"dpt.encoder.layer.\1.attention.output.dense"),
    (r"^pretrained\.model\.blocks\.(\d+)\.norm1", r"dpt.encoder.layer.\1.layernorm_before"),
    (r"^pretrained\.model\.blocks\.(\d+)\.norm2", r"dpt.encoder.layer.\1.layernorm_after"),
    (r"^pretrained\.model\.blocks\.(\d+)\.mlp\.fc1", r"dpt.encoder.layer.\1.intermediate.dense"),
    (r"^pretrained\.model\.blocks\.(\d+)\.mlp\.fc2", r"dpt.encoder.layer.\1.output.dense"),
    (r"^pretrained\.act_postprocess3\.0\.project\.0", "neck.reassemble_stage.readout_projects.2.0"),
    (r"^pretrained\.act_postprocess4\.0\.project\.0", "neck.reassemble_stage.readout_projects.3.0"),
    (r"^pretrained\.act_postprocess3\.3", "neck.reassemble_stage.layers.2.projection"),
    (r"^pretrained\.act_postprocess4\.3", "neck.reassemble_stage.layers.3.projection"),
    (r"^pretrained\.act_postprocess4\.4", "neck.reassemble_stage.layers.3.resize"),
    (r"^scratch\.output_conv", "head.head"),
    (r"^scratch\.layer(\d)_rn", lambda found: f"neck.convs.{int(found[1]) - 1}"),
    (r"^scratch\.refinenet(\d)\.", lambda found: f"neck.fusion_stage.layers.{4 - int(found[1])}."),
    (r"\.out_conv\.", ".projection."),
    (r"\.resConfUnit(\d)\.conv(\d)", r".residual_layer\1.convolution\2"),
)


@pytest.mark.filterwarnings("ignore")
def test_midas_is_the_dpt_hybrid_of_transformers():
    """On the one size that it takes there. Ours takes any: the same weights draw a wide picture too."""
    made, pixels = weights(small("midas")), (torch.rand(1, 3, 64, 64) * 255).double()
    double = {name: tensor.double() for name, tensor in made.items()}
    with torch.no_grad():
        other = transformers_dpt(made).double()(pixels / 127.5 - 1).predicted_depth
    assert float(other.std()) > 0
    close(run("midas", double, pixels)[:, 0], other)
    assert run("midas", made, torch.rand(1, 3, 64, 128) * 255).shape == (1, 1, 64, 128)


def test_the_encoder_of_normalbae_is_the_efficientnet_of_transformers():
    from transformers import EfficientNetConfig, EfficientNetModel

    made = weights({name: shape for name, shape in normalbae(4).items() if name.startswith("encoder.")})
    config = EfficientNetConfig(  # its stem is 32 wide, so all others are given twice as wide as they come out
        width_coefficient=0.5, depth_coefficient=1.0, num_block_repeats=[3, 5, 5, 7, 7, 9, 3],
        hidden_dim=640, batch_norm_eps=1e-3,
        in_channels=[32, 16, 16, 32, 64, 96, 160], out_channels=[16, 16, 32, 64, 96, 160, 256], image_size=64,
    )  # fmt: skip
    model = EfficientNetModel(config).eval()
    order = {}
    for name in made:
        found = re.match(r"encoder\.original_model\.blocks\.(\d)\.(\d)\.", name)
        if found:
            order.setdefault(found[0], len(order))
    tensors = {}
    for name, tensor in made.items():
        found = re.match(r"encoder\.original_model\.blocks\.(\d)\.(\d)\.", name)
        if found:
            table = FIRST_STAGE if found[1] == "0" else OTHER_STAGES
            part, end = name[len(found[0]) :].rsplit(".", 1)
            tensors[f"encoder.blocks.{order[found[0]]}.{table[part]}.{end}"] = tensor
        elif "conv_head" not in name and ".bn2." not in name:
            part, end = name.removeprefix("encoder.original_model.").rsplit(".", 1)
            tensors[f"{OUTSIDE[part]}.{end}"] = tensor
    told = model.load_state_dict(tensors, strict=False)
    assert not told.unexpected_keys and all(".top_" in name for name in told.missing_keys)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        stages, top = _encoded(Weights(made), x)
        hidden = model(x, output_hidden_states=True).hidden_states[1:]
    ends = [2, 7, 12, 19, 26, 35, 38]
    for mine, end in zip(stages, ends, strict=True):
        close(mine, hidden[end])
    assert top.shape == (1, 512, 2, 3)


OUTSIDE = {
    "conv_stem": "embeddings.convolution",
    "bn1": "embeddings.batchnorm",
}
EXCITE = {"se.conv_reduce": "squeeze_excite.reduce", "se.conv_expand": "squeeze_excite.expand"}
FIRST_STAGE = EXCITE | {
    "conv_dw": "depthwise_conv.depthwise_conv",
    "bn1": "depthwise_conv.depthwise_norm",
    "conv_pw": "projection.project_conv",
    "bn2": "projection.project_bn",
}
OTHER_STAGES = EXCITE | {
    "conv_pw": "expansion.expand_conv",
    "bn1": "expansion.expand_bn",
    "conv_dw": "depthwise_conv.depthwise_conv",
    "bn2": "depthwise_conv.depthwise_norm",
    "conv_pwl": "projection.project_conv",
    "bn3": "projection.project_bn",
}
