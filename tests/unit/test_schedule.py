"""The noise schedule: golden numbers, the grids, and what a scheduler_config.json may say."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, LCMScheduler, PNDMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from sakuga.errors import FileProblem
from sakuga.models.schedule import Schedule, rescale_betas_zero_snr

# What Stable Diffusion 1.5 ships, but for the version line.
SD15 = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        (
            "linear",
            {
                0: "0.99914998",
                111: "0.84814298",
                444: "0.22677635",
                888: "0.00562875",
                899: "0.00499346",
                999: "0.00157896",
            },
        ),
        (
            "scaled_linear",
            {111: "0.88035214", 444: "0.35601979", 888: "0.01600927", 899: "0.01429867", 999: "0.00466010"},
        ),
    ],
)
def test_alpha_bar_to_the_digits_printed(name, golden):
    schedule = getattr(Schedule, name)()
    assert {t: f"{schedule.alphas_bar[t]:.8f}" for t in golden} == golden


def test_the_noisiest_levels_are_those_of_the_two_schedules():
    ratios = [
        level.sigma / level.alpha for level in (Schedule.linear().level(999), Schedule.scaled_linear().level(999))
    ]
    assert [round(ratio, 2) for ratio in ratios] == [25.15, 14.61]


@pytest.mark.parametrize(
    ("steps", "strength", "golden"),
    [
        (10, 1.0, "999 888 777 666 555 444 333 222 111 0"),
        (20, 0.9, "899 852 804 757 710 662 615 568 520 473 426 379 331 284 237 189 142 95 47 0"),
        (10, 0.5, "499 444 388 333 277 222 166 111 55 0"),
        (1, 1.0, "999"),
        (4, 0.002, "1 0"),
        (5, 0.0, "0"),
    ],
)
def test_diffutoon_timesteps(steps, strength, golden):
    assert " ".join(map(str, Schedule.linear().timesteps(steps, strength))) == golden


def test_timesteps_that_lie_half_way_go_to_the_even_side():
    beginning = (999, 946, 894, 841, 789, 736, 684, 631, 578, 526, 473, 421)
    assert Schedule.linear().timesteps(20)[:12] == beginning


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 20, 50, 1000])
def test_trailing_timesteps_are_those_of_diffusers(steps):
    theirs = DDIMScheduler(timestep_spacing="trailing")
    theirs.set_timesteps(steps)
    assert Schedule.linear(spacing="trailing").timesteps(steps) == tuple(theirs.timesteps.tolist())


def test_trailing_with_strength_keeps_the_number_of_steps_and_lowers_the_start():
    assert Schedule.linear(spacing="trailing").timesteps(4, 0.5) == (499, 374, 249, 124)


@settings(deadline=None)  # the machine may be busy
@given(
    steps=st.integers(1, 1000),
    strength=st.floats(0, 1),
    spacing=st.sampled_from(["diffutoon", "trailing"]),
)
def test_any_grid_falls_from_the_strength_and_stays_in_the_schedule(steps, strength, spacing):
    grid = dataclasses.replace(TEN_STEP, spacing=spacing).timesteps(steps, strength)
    assert grid[0] == max(round(10 * strength) - 1, 0)
    assert len(grid) == min(steps, grid[0] + 1)
    assert all(a > b >= 0 for a, b in itertools.pairwise(grid))
    assert len(grid) == 1 or spacing == "trailing" or grid[-1] == 0


TEN_STEP = Schedule(alphas_bar=tuple(0.9**t for t in range(1, 11)))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, under numpy 2
def test_fractional_levels_are_those_of_diffusers_euler():
    theirs = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    theirs.set_timesteps(7)
    ours = Schedule.scaled_linear().fractional_levels(7)
    torch.testing.assert_close(torch.tensor([level.timestep for level in ours]), theirs.timesteps)
    torch.testing.assert_close(torch.tensor([lev.sigma / lev.alpha for lev in ours]), theirs.sigmas[:-1])


def test_zero_terminal_snr_is_the_paper_s_and_leaves_the_first_step_alone():
    schedule = Schedule.scaled_linear(prediction="v_prediction", spacing="trailing", zero_terminal_snr=True)
    theirs = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=True
    )
    assert torch.equal(torch.tensor(schedule.alphas_bar), theirs.alphas_cumprod)
    assert schedule.levels(4)[0].alpha == 0 and schedule.levels(4)[0].sigma == 1
    betas = torch.linspace(0.001, 0.02, 50)
    assert rescale_betas_zero_snr(betas)[0] == pytest.approx(0.001, rel=1e-3)
    assert rescale_betas_zero_snr(betas)[-1] == 1


def test_between_the_last_two_timesteps_of_zero_terminal_snr_there_is_noise_only():
    level = Schedule.linear(prediction="v_prediction", zero_terminal_snr=True).level(998.5)
    assert (level.alpha, level.sigma) == (0, 1)


def test_a_level_is_a_pair_whose_squares_add_up_to_one():
    for level in Schedule.linear().fractional_levels(9, 0.7):
        assert math.hypot(level.alpha, level.sigma) == pytest.approx(1, abs=1e-12)


def test_the_config_of_stable_diffusion_is_read_and_what_is_not_used_is_named():
    assert Schedule.from_config(SD15) == Schedule.scaled_linear()
    assert set(Schedule.left_aside(SD15)) == {"set_alpha_to_one", "skip_prk_steps", "steps_offset"}


@pytest.mark.parametrize("theirs", [DDIMScheduler, EulerDiscreteScheduler, LCMScheduler, PNDMScheduler])
def test_a_config_that_diffusers_saved_gives_the_same_alpha_bar(theirs):
    made = theirs(beta_start=0.001, beta_end=0.01, beta_schedule="linear", num_train_timesteps=40)
    config = {**made.config, "clip_sample": False} if "clip_sample" in made.config else dict(made.config)
    assert torch.equal(torch.tensor(Schedule.from_config(config).alphas_bar), made.alphas_cumprod)


def test_a_config_with_its_own_betas_and_trailing_spacing():
    config = {"trained_betas": [0.1, 0.2, 0.5], "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    schedule = Schedule.from_config(config)
    assert schedule.alphas_bar == pytest.approx((0.9, 0.72, 0.36))
    assert (schedule.spacing, schedule.prediction, Schedule.left_aside(config)) == ("trailing", "v_prediction", {})


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"prediction_type": "sample"}, "prediction_type 'sample'"),
        ({"prediction_type": "v-prediction"}, "nearest   v_prediction"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule 'squaredcos_cap_v2'"),
        ({"timestep_spacing": "karras"}, "timestep_spacing 'karras'"),
        ({"thresholding": True}, "thresholding True"),
        ({"clip_sample": True}, "clip_sample True"),
        ({"variance_type": "learned_range"}, "variance_type 'learned_range'"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "_class_name 'FlowMatch"),
        ({"rescale_beta_zero_snr": True}, "nearest   rescale_betas_zero_snr"),
        ({"rescale_betas_zero_snr": True}, "cannot start at zero terminal SNR"),
        ({"beta_start": -0.1}, "given     beta_start: -0.1"),
        ({"beta_start": 0.02}, "beta_start ≤ beta_end"),
        ({"beta_end": "large"}, "given     beta_end: 'large'"),
        ({"num_train_timesteps": 0}, "from 1 to 10000"),
        ({"trained_betas": []}, "a list of at most 10000"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(entry, told):
    with pytest.raises(FileProblem) as error:
        Schedule.from_config({**SD15, **entry})
    assert told in str(error.value)


def test_an_unknown_entry_that_is_switched_off_is_left_aside():
    assert Schedule.from_config({**SD15, "new_trick": False}) == Schedule.scaled_linear()
    assert Schedule.left_aside({"new_trick": False}) == {"new_trick": "not known, and switched off"}
