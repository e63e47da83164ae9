"""What every sampler in SAMPLERS promises, whatever its method."""

from __future__ import annotations

import pytest
import torch

from sakuga.errors import JobError, Stopped
from sakuga.models.schedule import Schedule
from sakuga.render.samplers import SAMPLERS, StepHooks, find_sampler

SHAPE = (3, 4, 5, 6)
NORMAL = Schedule.scaled_linear()
ZERO_SNR = Schedule.scaled_linear(prediction="v_prediction", spacing="trailing", zero_terminal_snr=True)


def noise(step: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(step))


HOOKS = StepHooks(noise=noise)


def curved(x, level, step):
    """A denoiser that is not constant: a soft squeeze that depends on level and step."""
    return torch.tanh(level.alpha * x + 0.1 * step) - 0.2 * level.sigma


@pytest.fixture(params=SAMPLERS, ids=lambda sampler: sampler.name)
def sampler(request):
    return request.param


@pytest.mark.parametrize("schedule", [NORMAL, ZERO_SNR], ids=["normal", "zero terminal SNR"])
@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_a_denoiser_that_knows_the_picture_gets_it(sampler, schedule, steps):
    picture = torch.linspace(-3, 3, 360).reshape(SHAPE)
    levels = sampler.levels(schedule, steps, 1.0)
    assert len(levels) == steps
    result = sampler.sample(lambda x, level, step: picture, noise(99), levels, HOOKS)
    torch.testing.assert_close(result, picture, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_it_stays_finite_when_the_first_level_is_pure_noise(sampler, steps):
    levels = sampler.levels(ZERO_SNR, steps, 1.0)
    assert levels[0].alpha == 0
    assert torch.isfinite(sampler.sample(curved, noise(99), levels, HOOKS)).all()


def test_it_computes_in_float32_alike_each_time_and_leaves_its_inputs_alone(sampler):
    x, answers = noise(99), []

    def remembering(x, level, step):
        answers.append((x, x.clone(), answer := curved(x, level, step), answer.clone()))
        return answer

    levels = sampler.levels(NORMAL, 5, 0.7)
    first = sampler.sample(remembering, x, levels, HOOKS)
    assert first.dtype == torch.float32 and first.shape == x.shape
    assert torch.equal(x, noise(99))
    assert all(torch.equal(now, then) for a, b, c, d in answers for now, then in ((a, b), (c, d)))
    assert torch.equal(first, sampler.sample(curved, x, levels, HOOKS))


def test_every_step_is_told_in_order_and_may_stop_the_run(sampler):
    told = []

    def before(step):
        if step == 3:
            raise Stopped("enough")
        told.append(f"before {step}")

    hooks = StepHooks(before_step=before, after_step=lambda i, x, clean: told.append(f"after {i}"), noise=noise)
    with pytest.raises(Stopped):
        sampler.sample(curved, noise(99), sampler.levels(NORMAL, 5, 1.0), hooks)
    assert told == ["before 0", "after 0", "before 1", "after 1", "before 2", "after 2"]


def test_frames_do_not_mix(sampler):
    levels = sampler.levels(NORMAL, 4, 1.0)
    whole = sampler.sample(curved, noise(99), levels, HOOKS)
    alone = StepHooks(noise=lambda step: noise(step)[1:2])
    assert torch.equal(whole[1:2], sampler.sample(curved, noise(99)[1:2], levels, alone))


def test_only_those_that_say_so_ask_for_noise(sampler):
    asked = []
    hooks = StepHooks(noise=lambda step: asked.append(step) or noise(step))
    sampler.sample(curved, noise(99), sampler.levels(NORMAL, 4, 1.0), hooks)
    assert asked == ([0, 1, 2] if sampler.needs_noise else [])


def test_names_are_found_and_misspelt_ones_get_the_nearest():
    assert [find_sampler(sampler.name) for sampler in SAMPLERS] == list(SAMPLERS)
    assert len({sampler.name for sampler in SAMPLERS}) == len(SAMPLERS)
    with pytest.raises(JobError) as error:
        find_sampler("dpmpp2m")
    assert error.value.nearest == "dpmpp_2m"
