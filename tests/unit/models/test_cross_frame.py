"""Cross-frame attention: one sequence for the frames of a group, and nothing left behind."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from sakuga.models.cross_frame import CrossFrame, cross_framed

FRAMES, PIXELS, WIDTH = 5, 6, 16


@pytest.fixture
def layer() -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=WIDTH, heads=2, dim_head=8).eval().requires_grad_(False)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3


def by_hand(layer: Attention, frames: Tensor) -> Tensor:
    """Softmax attention over all pixels of ``frames`` [F, pixels, C], head by head."""
    x = frames.flatten(0, 1)
    q, k, v = layer.to_q(x), layer.to_k(x), layer.to_v(x)
    heads = [slice(0, 8), slice(8, 16)]
    mixed = [(q[:, h] @ k[:, h].T / math.sqrt(8)).softmax(-1) @ v[:, h] for h in heads]
    return layer.to_out[0](torch.cat(mixed, dim=-1)).unflatten(0, (len(frames), -1))


@pytest.mark.parametrize("extent", [1, 2, 4, 5, 9])
def test_frames_of_a_group_are_one_sequence_and_halves_never_meet(layer: Attention, extent: int) -> None:
    x = random(2 * FRAMES, PIXELS, WIDTH)
    cross = CrossFrame(extent)
    layer.set_processor(cross)
    cross.frames = FRAMES
    expected = [by_hand(layer, group) for half in x.split(FRAMES) for group in half.split(extent)]
    torch.testing.assert_close(layer(x), torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_a_frame_alone_is_as_without(layer: Attention) -> None:
    x = random(3, PIXELS, WIDTH)
    plain = layer(x)
    cross = CrossFrame(1)
    layer.set_processor(cross)
    cross.frames = 3
    torch.testing.assert_close(layer(x), plain, rtol=1e-4, atol=1e-5)


def test_a_unet_has_its_own_attention_back_also_after_an_error() -> None:
    unet: Any = UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    before = unet.attn_processors
    with pytest.raises(ZeroDivisionError), cross_framed(unet, 4) as cross:
        changed = {name for name, one in unet.attn_processors.items() if one is cross}
        assert changed == {name for name in before if ".attn1." in name}
        raise ZeroDivisionError
    assert unet.attn_processors == before
