"""Noise by seed and frame of the clip: alike wherever and whenever a Span is rendered."""

from __future__ import annotations

import pytest
import torch

from sakuga.render.noise import START, WHOLE_CLIP, draw, span_noise, step_purpose

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


@pytest.mark.parametrize(("moving", "drawn"), [(True, 3), (False, 1)])
def test_diffsynth1_is_one_draw_for_the_clip_as_its_global_generator_gives_it(moving, drawn):
    torch.manual_seed(7)
    theirs = torch.randn((drawn, *SHAPE), dtype=torch.float16)
    ours = span_noise(WHOLE_CLIP, 7, range(20, 23), SHAPE, moving=moving)
    assert ours.dtype == torch.float32 and torch.equal(ours, theirs.float().expand(3, *SHAPE))


def test_the_noise_of_diffsynth1_is_the_same_on_every_machine():
    """Pinned: with these numbers its users know their seeds. They are those of float32, rounded to float16."""
    noise = span_noise(WHOLE_CLIP, 0, range(2), (4, 8, 8), moving=True)
    exact = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(noise, exact.half().float())
    assert noise[0, 0, 0, :4].tolist() == pytest.approx([-1.12598, -1.15234, -0.25049, -0.43384], abs=1e-4)


def test_diffsynth1_goes_by_the_place_in_the_run_and_not_by_the_frame_of_the_clip():
    whole, part = (span_noise(WHOLE_CLIP, 7, frames, SHAPE, moving=True) for frames in (range(8), range(4, 8)))
    assert not torch.equal(whole[4:], part)
    purpose = step_purpose(0)  # what a sampler adds on its way was never there, so it is ours
    ours, frames = (span_noise(policy, 7, range(3), SHAPE, purpose) for policy in (WHOLE_CLIP, "frame"))
    assert torch.equal(ours, frames)
