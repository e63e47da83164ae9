"""Tiles: how they lie, how they are blended, and that every size is covered, odd ones too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sakuga.models.tiles import TiledCodec, in_tiles, mask, starts, tiled_attention, tiled_blocks

TEXT = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def unet() -> Any:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


def run(net: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        answer: Tensor = net(x, 500.0, encoder_hidden_states=TEXT[: len(x)]).sample
    return answer


def test_golden_mask() -> None:
    """8 by 8 with a border of 4: rings of 0.25, 0.5, 0.75 and 1."""
    found = mask(8, 8, 4)
    assert [found[ring, ring].item() for ring in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert torch.equal(found, found.flip(0)) and torch.equal(found, found.T)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 48), st.integers(1, 48), st.integers(1, 32), st.integers(1, 32))
@example(72, 64, 64, 32)
def test_any_size_is_covered_and_what_changes_nothing_comes_back(
    height: int, width: int, tile: int, stride: int
) -> None:
    """A latent of 72 in tiles of 64 by 32 was 11 % NaN in DiffSynth 1.x."""
    x = random(1, 1, height, width)
    torch.testing.assert_close(in_tiles(lambda part: part, x, tile, stride), x, rtol=1e-4, atol=1e-4)


def test_tiles_that_fit_lie_where_diffsynth_had_them() -> None:
    assert starts(192, 64, 32) == (0, 32, 64, 96, 128)
    assert starts(64, 64, 32) == (0,)


def test_one_tile_is_the_whole_bit_for_bit(unet: Any) -> None:
    x = random(2, 4, 16, 16)
    with tiled_attention(unet, 16, 8):
        tiled = run(unet, x)
    assert torch.equal(tiled, run(unet, x))


def test_attention_in_tiles_is_another_picture_and_leaves_no_trace(unet: Any) -> None:
    x = random(2, 4, 16, 24)
    whole = run(unet, x)
    with tiled_attention(unet, 8, 4):
        tiled = run(unet, x)
    assert tiled.isfinite().all() and not torch.allclose(tiled, whole, atol=1e-4)
    assert torch.equal(run(unet, x), whole)
    assert not [module for module in unet.modules() if "forward" in module.__dict__]


def test_a_controlnet_in_tiles_covers_every_level(unet: Any) -> None:
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, shown = random(2, 4, 12, 20), random(2, 3, 24, 40)

    def ask() -> list[Tensor]:
        with torch.no_grad():
            down, middle = net(x, 500.0, TEXT, shown, return_dict=False)
        return [*down, middle]

    whole = ask()
    with tiled_blocks(net, 8, 4):
        tiled = ask()
    assert [part.shape for part in tiled] == [part.shape for part in whole]
    assert all(part.isfinite().all() for part in tiled)
    assert not torch.allclose(tiled[-1], whole[-1])
    with tiled_blocks(net, 32, 16):
        assert all(torch.equal(a, b) for a, b in zip(ask(), whole, strict=True))
    assert not [module for module in net.modules() if "forward" in module.__dict__]


class Doubling:
    """A codec that gives every latent its four pixels, so that tiles must not show."""

    channels, factor = 3, 2

    def encode(self, pixels: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(pixels, 2)

    def unclamped(self, latents: Tensor) -> Tensor:
        return nn.functional.interpolate(latents, scale_factor=2)


@pytest.mark.parametrize(("tile", "stride"), [(8, 4), (5, 5), (64, 32)])
def test_a_codec_in_tiles_counts_latents_in_both_directions(tile: int, stride: int) -> None:
    codec = Doubling()
    tiled = TiledCodec(codec=codec, tile=tile, stride=stride)
    pixels = random(2, 3, 26, 38)
    torch.testing.assert_close(tiled.encode(pixels), codec.encode(pixels))
    torch.testing.assert_close(tiled.decode(pixels), codec.unclamped(pixels).clamp(-1, 1))
    assert (tiled.channels, tiled.factor) == (3, 2)


def test_tiles_are_averaged_before_black_and_white_cut_them_off() -> None:
    """Two tiles that say 3 and -1 of a pixel between them say 1; cut off first, they would say 0."""

    class Sided(Doubling):
        def unclamped(self, latents: Tensor) -> Tensor:
            value = 3.0 if latents[0, 0, 0, 0] == 0 else -1.0
            return super().unclamped(latents).fill_(value)

    across = torch.arange(12.0).expand(1, 3, 8, 12)
    middle = TiledCodec(codec=Sided(), tile=8, stride=4).decode(across)[0, 0, 8, 11:13]
    torch.testing.assert_close(middle, torch.tensor([1.0, 1.0]))
