"""The samplers' numbers: golden values of Diffutoon's DDIM, and equality with diffusers' schedulers on a toy model."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, LCMScheduler

from sakuga.models.schedule import Schedule
from sakuga.render.denoisers.predict import to_clean
from sakuga.render.samplers import CLEAN, StepHooks, lcm_levels, sample_ddim, sample_dpmpp_2m, sample_euler, sample_lcm

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, numpy 2


def model(x, timestep):
    """A toy UNet: any smooth function of x and the timestep."""
    return torch.sin(2 * x) + 0.3 * x * float(timestep) / 1000


def denoiser(prediction):
    return lambda x, level, step: to_clean(model(x, level.timestep), x, level, prediction)


def theirs(scheduler, x, noises=None):
    """Diffusers' loop. ``x`` is the latent in our scaling (variance preserving)."""
    if isinstance(scheduler, EulerDiscreteScheduler):
        x = x * (scheduler.sigmas[0] ** 2 + 1) ** 0.5
    for timestep in scheduler.timesteps:
        answer = model(scheduler.scale_model_input(x, timestep), timestep)
        x = scheduler.step(answer, timestep, x, return_dict=False)[0]
    return x


def close(ours, reference):
    assert (ours - reference).abs().max() <= 1e-5 * reference.abs().max()


@pytest.mark.parametrize(
    ("name", "here", "there", "golden"),
    [
        ("linear", 999, 888, "1.44337547"),
        ("scaled_linear", 999, 888, "1.42488444"),
        ("linear", 0, None, "0.98584157"),
        ("scaled_linear", 0, None, "0.98584157"),
        ("linear", 999, None, "12.5929346"),
        ("scaled_linear", 999, None, "7.34149551"),
    ],
)
def test_ddim_step_has_the_golden_value(name, here, there, golden):
    """x = 1 and a predicted noise of 0.5. The values were printed from float32, so their last digits are its rounding:
    the formula of Diffutoon gives them digit for digit, our loop (another order of operations) to one unit of float32.
    """
    schedule = getattr(Schedule, name)()
    a, b = schedule.level(here), CLEAN if there is None else schedule.level(there)
    x, noise = torch.ones(1), torch.full((1,), 0.5)
    formula = (b.alpha / a.alpha) * x + (b.sigma - b.alpha * a.sigma / a.alpha) * noise
    assert f"{formula.item():.{len(golden.partition('.')[2])}f}" == golden

    steps = []
    hooks = StepHooks(after_step=lambda i, x, clean: steps.append(x.item()))
    sample_ddim(lambda x, level, step: to_clean(noise, x, level, "epsilon"), x, (a, b) if there else (a,), hooks)
    assert steps[0] == pytest.approx(float(golden), rel=2**-23)


@pytest.mark.parametrize("steps", [1, 4, 10])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_ddim_equals_diffusers_where_its_grid_is_regular(steps, prediction):
    scheduler = DDIMScheduler(
        **BETAS, clip_sample=False, prediction_type=prediction, timestep_spacing="trailing", set_alpha_to_one=True
    )
    scheduler.set_timesteps(steps)
    schedule = Schedule.scaled_linear(prediction=prediction, spacing="trailing")
    close(sample_ddim(denoiser(prediction), X, schedule.levels(steps)), theirs(scheduler, X))


def test_ddim_equals_diffusers_at_zero_terminal_snr():
    scheduler = DDIMScheduler(
        **BETAS,
        clip_sample=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )
    scheduler.set_timesteps(4)
    schedule = Schedule.from_config(scheduler.config)
    close(sample_ddim(denoiser("v_prediction"), X, schedule.levels(4)), theirs(scheduler, X))


@pytest.mark.parametrize("steps", [2, 7, 20])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("spacing", "called"), [("diffutoon", "linspace"), ("trailing", "trailing")])
def test_euler_equals_diffusers(steps, prediction, spacing, called):
    scheduler = EulerDiscreteScheduler(**BETAS, prediction_type=prediction, timestep_spacing=called)
    scheduler.set_timesteps(steps)
    schedule = Schedule.scaled_linear(prediction=prediction, spacing=spacing)
    close(sample_euler(denoiser(prediction), X, schedule.fractional_levels(steps)), theirs(scheduler, X))


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_dpmpp_2m_equals_diffusers(steps, prediction):
    """20 steps too: there diffusers has no lower_order_final any more, but still ends at first order (sigma 0)."""
    scheduler = DPMSolverMultistepScheduler(
        **BETAS, prediction_type=prediction, algorithm_type="dpmsolver++", solver_order=2, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    schedule = Schedule.scaled_linear(prediction=prediction, spacing="trailing")
    close(sample_dpmpp_2m(denoiser(prediction), X, schedule.levels(steps)), theirs(scheduler, X))


def test_dpmpp_2m_equals_diffusers_on_the_diffutoon_grid():
    schedule = Schedule.scaled_linear()
    scheduler = DPMSolverMultistepScheduler(**BETAS, algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(timesteps=list(schedule.timesteps(9, 0.8)))
    close(sample_dpmpp_2m(denoiser("epsilon"), X, schedule.levels(9, 0.8)), theirs(scheduler, X))


def test_dpmpp_2m_is_the_limit_of_its_second_order_at_zero_terminal_snr():
    """diffusers puts alpha-bar 2⁻²⁴ where the schedule says 0; the nearer to 0, the nearer to our first-order step."""
    schedule = Schedule.scaled_linear(prediction="v_prediction", spacing="trailing", zero_terminal_snr=True)
    exact, *rest = schedule.levels(5)
    ours = sample_dpmpp_2m(denoiser("v_prediction"), X, (exact, *rest))
    errors = [
        (sample_dpmpp_2m(denoiser("v_prediction"), X, (dataclasses.replace(exact, alpha=alpha), *rest)) - ours)
        .abs()
        .max()
        for alpha in (1e-2, 1e-30, 1e-300)
    ]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-2


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_lcm_equals_diffusers_given_the_same_noise(steps):
    scheduler = LCMScheduler(**BETAS)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(3)
    noises = [torch.randn(X.shape, generator=generator) for _ in range(steps)]
    reference, generator = X, torch.Generator().manual_seed(3)
    for timestep in scheduler.timesteps:
        answer = model(reference, timestep)
        reference = scheduler.step(answer, timestep, reference, generator=generator, return_dict=False)[0]
    levels = lcm_levels(Schedule.scaled_linear(), steps)
    close(sample_lcm(denoiser("epsilon"), X, levels, StepHooks(noise=noises.__getitem__)), reference)


@pytest.mark.parametrize("strength", [1.0, 0.6, 0.31])
def test_lcm_grid_is_that_of_diffusers(strength):
    for steps in range(1, int(50 * strength) + 1):
        scheduler = LCMScheduler()
        scheduler.set_timesteps(steps, strength=strength)
        ours = [level.timestep for level in lcm_levels(Schedule.scaled_linear(), steps, strength)]
        assert ours == scheduler.timesteps.tolist(), steps
    assert len(lcm_levels(Schedule.scaled_linear(), 200, strength)) == int(50 * strength)


def test_lcm_without_noise_says_so():
    with pytest.raises(AssertionError, match="noise"):
        sample_lcm(denoiser("epsilon"), X, lcm_levels(Schedule.scaled_linear(), 2))
