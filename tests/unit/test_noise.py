"""Noise by seed and frame of the clip: alike wherever and whenever a Span is rendered."""

from __future__ import annotations

import pytest
import torch

from sakuga.render.noise import START, draw, span_noise, step_purpose

SHAPE = (2, 8, 8)


def test_a_frame_gets_the_same_noise_in_any_span():
    whole = span_noise("frame", 7, range(10), SHAPE)
    assert torch.equal(whole[4:6], span_noise("frame", 7, range(4, 6), SHAPE))
    assert torch.equal(whole[4], draw(7, 4, SHAPE))


def test_the_noise_is_the_same_on_every_machine():
    """Pinned: a change here changes every picture of every seed."""
    noise = draw(5, 3, (4, 8))
    assert noise[0, :4].tolist() == pytest.approx([-0.26383, 0.7861, 1.5717, -0.111], abs=2e-5)
    assert noise[3, 7].item() == pytest.approx(-0.57771, abs=2e-5)


def test_seeds_frames_and_purposes_do_not_meet():
    draws = [
        draw(seed, frame, SHAPE, purpose)
        for seed in (0, 1, 2)
        for frame in (None, 0, 1, 2)
        for purpose in (START, step_purpose(0), step_purpose(1))
    ]
    flat = torch.stack(draws).flatten(1)
    likeness = torch.corrcoef(flat) - torch.eye(len(draws))
    assert likeness.abs().max() < 0.5  # independent draws of 128 numbers stay below 0.4


def test_shared_noise_is_one_draw_and_zero_is_none():
    shared = span_noise("shared", 7, range(5, 9), SHAPE)
    assert all(torch.equal(shared[0], other) for other in shared)
    assert torch.equal(shared[0], span_noise("shared", 7, range(1), SHAPE)[0])
    assert not span_noise("zero", 7, range(5, 9), SHAPE).any()


def test_it_is_unit_normal_float32_and_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    noise = span_noise("frame", 3, range(20), (4, 16, 16))
    assert torch.equal(before, torch.get_rng_state())
    assert noise.dtype == torch.float32 and noise.shape == (20, 4, 16, 16)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


@pytest.mark.parametrize("seed", [-1, 0, 2**40, 2**80])
def test_any_whole_number_is_a_seed(seed):
    assert torch.isfinite(draw(seed, 0, SHAPE)).all()
