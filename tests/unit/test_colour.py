"""Between the file and the model: what must come back exactly does, and sizes keep their shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sakuga.video.colour import Fit, fit, resize, to_float, to_uint8

SIDES = st.integers(1, 40)


def frames(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def test_every_value_comes_back_exactly() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    tensor = to_float(values)
    assert tensor.dtype == torch.float32
    assert (tensor.min(), tensor.max()) == (-1, 1)
    assert np.array_equal(to_uint8(tensor), values)
    assert np.array_equal(to_uint8(tensor.double()), values)
    assert torch.equal(to_float(to_uint8(tensor)), tensor)


def test_planes_and_pixels_change_places() -> None:
    pixels = frames(2, 3, 5)
    tensor = to_float(pixels)
    assert tensor.shape == (2, 3, 3, 5)
    assert tensor[1, 2, 0, 4] == pytest.approx(pixels[1, 0, 4, 2] / 127.5 - 1)
    assert tensor.is_contiguous()
    back = to_uint8(tensor)
    assert back.shape == (2, 3, 5, 3)
    assert back.flags.c_contiguous
    assert np.array_equal(to_uint8(to_float(pixels[:, ::-1, ::-1])), pixels[:, ::-1, ::-1]), "views will do"


def test_halves_go_up_and_what_is_outside_is_clamped() -> None:
    levels = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0, float("inf")])
    pixels = to_uint8(levels.reshape(1, 1, 1, 6).expand(1, 3, 1, 6))
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 255], "0 is 127.5"
    just_below = torch.full((1, 3, 1, 1), -1e-6)
    assert to_uint8(just_below)[0, 0, 0, 0] == 127


def test_nothing_that_was_given_is_changed() -> None:
    pixels = frames(1, 4, 4)
    before = pixels.copy()
    tensor = to_float(pixels)
    kept = tensor.clone()
    to_uint8(tensor.requires_grad_())
    assert np.array_equal(pixels, before)
    assert torch.equal(tensor, kept)


@given(SIDES, SIDES, st.integers(1, 16))
def test_padding_is_the_least_and_comes_off_exactly(width: int, height: int, multiple: int) -> None:
    fitted = fit(width, height, multiple)
    wide, high = fitted.padded
    assert wide % multiple == 0 and high % multiple == 0
    assert width <= wide < width + multiple and height <= high < height + multiple
    assert abs(fitted.left - fitted.right) <= 1 and abs(fitted.top - fitted.bottom) <= 1
    pixels = frames(1, height, width)[0]
    padded = fitted.pad(pixels)
    assert padded.shape == (high, wide, 3)
    assert np.array_equal(padded[fitted.top, : fitted.left], pixels[0, :1].repeat(fitted.left, axis=0))
    assert np.array_equal(padded[-1, -1], pixels[-1, -1])
    assert np.array_equal(fitted.cut(padded), pixels)


def test_several_frames_are_padded_alike() -> None:
    pixels, fitted = frames(3, 5, 7), fit(7, 5, 4)
    assert fitted == Fit(width=7, height=5, left=0, right=1, top=1, bottom=2)
    assert np.array_equal(fitted.pad(pixels)[2], fitted.pad(pixels[2]))
    cut = fitted.cut(fitted.pad(pixels))
    assert np.array_equal(cut, pixels)
    assert cut.flags.c_contiguous


def test_resizing_averages_to_shrink_and_does_not_step_to_grow() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    small = resize(stripes, 4, 4)
    assert small.shape == (4, 4, 3)
    assert np.unique(small).tolist() == [100], "a point in between would be 0 or 200"
    ramp = np.arange(0, 80, 10, dtype=np.uint8)[None, :, None].repeat(8, 0).repeat(3, 2)
    large = resize(ramp, 32, 32)
    assert large.shape == (32, 32, 3)
    assert np.diff(large[16, 4:-4, 0].astype(int)).max() <= 5, "a step would be 10"
    assert resize(ramp, 8, 8) is ramp
    assert resize(ramp, 4, 16).shape == (16, 4, 3)


def test_there_and_back_keeps_a_smooth_picture() -> None:
    rows, columns = np.mgrid[:36, :64]
    pixels = np.dstack([rows * 5, columns * 3, (rows + columns) * 2]).astype(np.uint8)
    back = resize(resize(pixels, 42, 24), 64, 36)
    assert np.abs(back.astype(int) - pixels)[2:-2, 2:-2].max() <= 5
