"""The starter's networks in their shipped configuration, and the start that lets them pass a picture before training.

Source of the start: the tile ControlNet's condition embedding gives the codec's latents, an identity carries them over
the outermost skip connection to the output; the lineart ControlNet gets the same way on other channels.
"""

from __future__ import annotations

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from codec import CHANNELS

WIDTHS = (48, 96, 128, 128)
TEXT_WIDTH = 64
TILE_AT, LINE_AT, NEGATIVE_AT = 0, 24, 12  # where the two conditions and the tile's negative travel


def unet() -> UNet2DConditionModel:
    """The denoiser: four levels, attention at the two in the middle and the bottleneck."""
    net = UNet2DConditionModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    net.set_attn_processor(AttnProcessor())  # faster than fused attention for these narrow heads on a CPU
    return net


def control(of: UNet2DConditionModel) -> ControlNetModel:
    """A true ControlNet of the denoiser; three embedding widths make its factor 4."""
    net = ControlNetModel.from_unet(of, conditioning_channels=3, conditioning_embedding_out_channels=(16, 48, 96))
    net.set_attn_processor(AttnProcessor())
    return net


def text_encoder() -> CLIPTextModel:
    """A small CLIP text encoder over the real vocabulary."""
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=TEXT_WIDTH,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=49407,
    )
    return CLIPTextModel(config)


@torch.no_grad()
def lay_identity(net: UNet2DConditionModel, controls: dict[str, tuple[ControlNetModel, int]]) -> None:
    """Before training: v = -(the tile's latents), and both conditions reach the last level whole."""
    taken = [*range(16), *range(LINE_AT, LINE_AT + CHANNELS)]
    for one in (net, controls["tile"][0], controls["lineart"][0]):
        one.conv_in.weight[taken] = 0
        one.conv_in.bias[taken] = 0
    for model, at in controls.values():
        for zero in (*model.controlnet_down_blocks, model.controlnet_mid_block):
            nn.init.normal_(zero.weight, std=0.01)
        outermost = model.controlnet_down_blocks[0]
        outermost.weight[:] = 0
        outermost.bias[:] = 0
        for k in range(CHANNELS):
            outermost.weight[at + k, k, 0, 0] = 1
    last = net.up_blocks[3].resnets[1]
    width = WIDTHS[0]
    last.conv_shortcut.weight.mul_(0.3)
    for k in range(CHANNELS):
        for row, sign in ((k, 1), (NEGATIVE_AT + k, -1)):
            last.conv_shortcut.weight[row] = 0
            last.conv_shortcut.bias[row] = 0
            last.conv_shortcut.weight[row, width + TILE_AT + k, 0, 0] = sign
            last.conv2.weight[row] *= 0.1
    net.conv_out.weight.mul_(0.1)
    net.conv_out.bias.zero_()
    for k in range(CHANNELS):
        net.conv_out.weight[k] = 0
        net.conv_out.weight[k, k, 1, 1] = -1
        net.conv_out.weight[k, NEGATIVE_AT + k, 1, 1] = 1
