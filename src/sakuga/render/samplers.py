"""Samplers: how a noisy latent becomes a clean one, step by step. Each is a function with its loop in plain sight.

All are written in the pair (alpha, sigma) of a ``Level``, so that zero terminal SNR (alpha 0 at the first step) needs
no special case. They refuse to know of models, guidance, windows or frames: all of that is inside ``denoise``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sakuga.errors import JobError, nearest_name
from sakuga.models.schedule import Level, Schedule
from sakuga.render.denoisers import Denoiser

CLEAN = Level(timestep=0.0, alpha=1.0, sigma=0.0)  # where every run ends: no noise left
LCM_STEPS = 50  # the grid on which latent consistency models were distilled
LCM_SIGMA_DATA, LCM_TIME_SCALE = 0.5, 10.0  # the two constants of their boundary condition


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class StepHooks:
    """What the caller wants to do or to give at each step i = 0, 1, …

    ``before_step(i)`` may raise ``Stopped``. ``after_step(i, x, clean)`` gets the latent after the step and the
    estimate it was taken with; it must not change them. ``noise(i)`` is fresh noise like x, for samplers with
    ``needs_noise``.
    """

    before_step: Callable[[int], object] = _nothing
    after_step: Callable[[int, Tensor, Tensor], object] = _nothing
    noise: Callable[[int], Tensor] | None = None


SILENT = StepHooks()


class SampleFunction(Protocol):
    """(denoise, x [F, C, h, w] at levels[0], levels, hooks) → the clean latent, same shape and format as x."""

    def __call__(
        self, denoise: Denoiser, x: Tensor, levels: tuple[Level, ...], hooks: StepHooks = SILENT
    ) -> Tensor: ...


def sample_ddim(denoise: Denoiser, x: Tensor, levels: tuple[Level, ...], hooks: StepHooks = SILENT) -> Tensor:
    """DDIM with eta 0 (Song et al. 2020, formula 12), on any grid, down to the clean picture.

    x' = alpha'·clean + sigma'·noise, where noise = (x - alpha·clean) / sigma. The same as Diffutoon's.
    """
    for i, (here, there) in enumerate(_pairs(levels)):
        hooks.before_step(i)
        clean = denoise(x, here, i)
        x = _towards(x, clean, here, there)
        hooks.after_step(i, x, clean)
    return x


def sample_euler(denoise: Denoiser, x: Tensor, levels: tuple[Level, ...], hooks: StepHooks = SILENT) -> Tensor:
    """Euler's method in the space of x/alpha over sigma/alpha (Karras et al. 2022, algorithm 1 without churn).

    There a step is x̂' = x̂ + (x̂ - clean)·(q' - q)/q with q = sigma/alpha. Written back in x, the quotients cancel to
    the two factors below, which are finite where q is not. Its own grid (fractional timesteps) is what sets it apart.
    """
    for i, (here, there) in enumerate(_pairs(levels)):
        hooks.before_step(i)
        clean = denoise(x, here, i)
        kept = there.sigma / here.sigma  # alpha'/alpha · q'/q
        x = kept * x + (there.alpha - kept * here.alpha) * clean
        hooks.after_step(i, x, clean)
    return x


def sample_dpmpp_2m(denoise: Denoiser, x: Tensor, levels: tuple[Level, ...], hooks: StepHooks = SILENT) -> Tensor:
    """DPM-Solver++(2M), midpoint form (Lu et al. 2022, algorithm 2).

    The estimate is led on along the last two. First order where there is nothing to lead on from: at the first step, at
    the step after pure noise (alpha 0 is infinitely far away in log SNR), and at the last step, which ends at the clean
    picture (infinitely far too). The last is what diffusers does with ``final_sigmas_type`` "zero", however many steps.
    """
    last: Tensor | None = None
    before: Level | None = None
    for i, (here, there) in enumerate(_pairs(levels)):
        hooks.before_step(i)
        clean = denoise(x, here, i)
        lead = clean
        if last is not None and before is not None and there.sigma > 0 and before.alpha > 0:
            ahead = _log_snr(there) - _log_snr(here)
            behind = _log_snr(here) - _log_snr(before)
            lead = clean + (0.5 * ahead / behind) * (clean - last)
        x = _towards(x, lead, here, there)
        last, before = clean, here
        hooks.after_step(i, x, clean)
    return x


def sample_lcm(denoise: Denoiser, x: Tensor, levels: tuple[Level, ...], hooks: StepHooks = SILENT) -> Tensor:
    """Multistep consistency sampling (Luo et al. 2023, algorithm 3): estimate, add fresh noise, estimate again.

    The boundary condition keeps a trace of x at the very smallest timesteps. ``hooks.noise`` must be given for more
    than one step; no noise is added after the last.
    """
    for i, (here, there) in enumerate(_pairs(levels)):
        hooks.before_step(i)
        clean = denoise(x, here, i)
        time = here.timestep * LCM_TIME_SCALE
        skip = LCM_SIGMA_DATA**2 / (time**2 + LCM_SIGMA_DATA**2)
        out = time / math.sqrt(time**2 + LCM_SIGMA_DATA**2)
        x = out * clean + skip * x
        if there.sigma > 0:
            assert hooks.noise is not None, "LCM needs noise for each step but the last"
            x = there.alpha * x + there.sigma * hooks.noise(i).to(x)
        hooks.after_step(i, x, clean)
    return x


def lcm_levels(schedule: Schedule, steps: int, strength: float = 1.0) -> tuple[Level, ...]:
    """The grid of consistency models: ``steps`` of the 50 timesteps they were distilled on, evenly by index.

    With T = 1000 the 50 are 19, 39, … 999, of which ``strength`` keeps the lowest share. At most so many steps are
    taken as are left. As diffusers' LCMScheduler, which raises an error there instead.
    """
    total = len(schedule.alphas_bar)
    origin = min(LCM_STEPS, total)
    kept = max(int(origin * strength), 1)
    count = min(steps, kept)
    stride = total // origin
    return tuple(schedule.level((kept - math.floor(i * (kept / count))) * stride - 1) for i in range(count))


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A sampler by its name: its loop, its grid (schedule, steps, strength → levels), and if it asks for noise."""

    name: str
    sample: SampleFunction
    levels: Callable[[Schedule, int, float], tuple[Level, ...]]
    needs_noise: bool = False


SAMPLERS: tuple[Sampler, ...] = (
    Sampler(name="ddim", sample=sample_ddim, levels=Schedule.levels),
    Sampler(name="euler", sample=sample_euler, levels=Schedule.fractional_levels),
    Sampler(name="dpmpp_2m", sample=sample_dpmpp_2m, levels=Schedule.levels),
    Sampler(name="lcm", sample=sample_lcm, levels=lcm_levels, needs_noise=True),
)


def find_sampler(name: str) -> Sampler:
    """The sampler of that name. Raises ``JobError`` with the nearest name."""
    for sampler in SAMPLERS:
        if sampler.name == name:
            return sampler
    names = [sampler.name for sampler in SAMPLERS]
    raise JobError(
        "there is no such sampler",
        given=name,
        expected="one of " + ", ".join(names),
        nearest=nearest_name(name, names),
        do="choose one of these",
    )


def _pairs(levels: tuple[Level, ...]) -> zip[tuple[Level, Level]]:
    """Each level with the one that follows; the last is followed by the clean picture."""
    return zip(levels, (*levels[1:], CLEAN), strict=True)


def _towards(x: Tensor, clean: Tensor, here: Level, there: Level) -> Tensor:
    """Keep the direction that ``clean`` gives, and go from one noise level to a lower one."""
    kept = there.sigma / here.sigma
    return kept * x + (there.alpha - kept * here.alpha) * clean


def _log_snr(level: Level) -> float:
    return math.log(level.alpha) - math.log(level.sigma)
