"""The noise schedule of a model: how much picture and how much noise there is at each timestep.

Knows betas, the rescaling to zero terminal SNR, the two predictions a UNet may make and the two grids we walk. It
refuses to say how a step is taken (that is a sampler's work) and refuses predictions and settings that it cannot
honour, by name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sakuga.errors import FileProblem, nearest_name
from sakuga.models.bounds import check_bounds

PREDICTIONS = ("epsilon", "v_prediction")
SPACINGS = ("diffutoon", "trailing")
BETA_SCHEDULES = ("linear", "scaled_linear")
STEPS, BETA_START, BETA_END = 1000, 0.00085, 0.012  # Stable Diffusion 1.x


@dataclass(frozen=True, kw_only=True)
class Level:
    """How noisy a latent is: x = alpha · picture + sigma · noise, with alpha² + sigma² = 1.

    ``timestep`` is what the UNet is told; it may lie between two whole ones. The two shares are kept as a pair and
    never as a quotient, so that zero terminal SNR (alpha = 0) is an ordinary number.
    """

    timestep: float
    alpha: float
    sigma: float


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The shares ᾱ of all training timesteps, what the UNet predicts, and which timesteps a run visits.

    ``alphas_bar``: ᾱ = ∏(1 - β) for t = 0 … T-1, falling, each in [0, 1). ``prediction``: one of ``PREDICTIONS``.
    ``spacing``: one of ``SPACINGS``; see ``timesteps``. Raises ``FileProblem`` for what it cannot honour.
    """

    alphas_bar: tuple[float, ...]
    prediction: str = "epsilon"
    spacing: str = "diffutoon"

    def __post_init__(self) -> None:
        _one_of("prediction_type", self.prediction, PREDICTIONS)
        _one_of("timestep_spacing", self.spacing, SPACINGS)
        bars = self.alphas_bar
        falling = all(a > b for a, b in itertools.pairwise(bars))
        if not bars or not falling or not 0 <= bars[-1] <= bars[0] < 1:
            raise FileProblem(
                "these betas are no noise schedule",
                given=f"{len(bars)} values of alpha-bar, the first {bars[:1]}, the last {bars[-1:]}",
                expected="at least one value, falling, below 1 and not below 0",
                do="check beta_start, beta_end and trained_betas in scheduler_config.json",
            )
        if self.prediction == "epsilon" and bars[-1] == 0:
            raise FileProblem(
                "a model that predicts the noise cannot start at zero terminal SNR",
                given="prediction_type epsilon together with rescale_betas_zero_snr",
                expected="v_prediction, or betas that are not rescaled: pure noise says nothing about the picture",
                do="correct scheduler_config.json",
            )

    @classmethod
    def linear(
        cls, *, prediction: str = "epsilon", spacing: str = "diffutoon", zero_terminal_snr: bool = False
    ) -> Schedule:
        """Evenly spaced β from 0.00085 to 0.012, 1000 of them: the schedule of AnimateDiff."""
        bars = _alphas_bar(_betas("linear", BETA_START, BETA_END, STEPS), zero_terminal_snr)
        return cls(alphas_bar=bars, prediction=prediction, spacing=spacing)

    @classmethod
    def scaled_linear(
        cls, *, prediction: str = "epsilon", spacing: str = "diffutoon", zero_terminal_snr: bool = False
    ) -> Schedule:
        """Evenly spaced √β, squared, between the same ends: the schedule of Stable Diffusion 1.x."""
        bars = _alphas_bar(_betas("scaled_linear", BETA_START, BETA_END, STEPS), zero_terminal_snr)
        return cls(alphas_bar=bars, prediction=prediction, spacing=spacing)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Read the contents of a diffusers ``scheduler_config.json``, whatever discrete scheduler wrote it.

        The file says two things: how the model was trained, which is honoured or refused by name (``FileProblem``), and
        how to sample, which the Job decides; ``left_aside`` names those entries. The exception is
        ``timestep_spacing: trailing``, which zero-terminal-SNR models need; any other spacing becomes "diffutoon".
        Entries about the training that are missing have the values of Stable Diffusion 1.x.
        """
        _check(config)
        return cls(
            alphas_bar=_alphas_bar(_betas_of(config), bool(config.get("rescale_betas_zero_snr", False))),
            prediction=str(config.get("prediction_type", "epsilon")),
            spacing="trailing" if config.get("timestep_spacing") == "trailing" else "diffutoon",
        )

    @staticmethod
    def left_aside(config: Mapping[str, Any]) -> dict[str, str]:
        """The entries of a ``scheduler_config.json`` that ``from_config`` does not follow, each with the reason."""
        reasons = {name: "how to sample is the Job's to say" for name in config if _SAMPLING.get(name, ()) is None}
        if "timestep_spacing" in config and config["timestep_spacing"] != "trailing":
            reasons["timestep_spacing"] = "our own grid is used, which starts at the noisiest step and ends at 0"
        known = _TRAINING | _SAMPLING.keys()
        reasons |= {n: "not known, and switched off" for n in config if n not in known and not n.startswith("_")}
        return reasons

    def timesteps(self, steps: int, strength: float = 1.0) -> tuple[int, ...]:
        """The whole timesteps of a run, the noisiest first; fewer than ``steps`` where the range holds no more.

        ``strength`` s in (0, 1] compresses the range and keeps the number of steps: with T training steps the run
        starts at M = max(round(T·s) - 1, 0). With the spacing "diffutoon" (that of Diffutoon) it goes evenly from M
        to 0, both included; a single step is M. With "trailing" (Lin et al. 2023, table 2, as in diffusers) it visits
        round((M+1)·(1 - i/n)) - 1, so that each step stands for an equal share of the range.
        """
        assert steps >= 1 and 0 <= strength <= 1, (steps, strength)
        top = self._top(strength)
        count = min(steps, top + 1)
        if self.spacing == "trailing":
            share = (top + 1) / count
            return tuple(round(top + 1 - i * share) - 1 for i in range(count))
        return tuple(round(t) for t in self._even(top, count))

    def levels(self, steps: int, strength: float = 1.0) -> tuple[Level, ...]:
        """The levels of ``timesteps``. The clean picture at which every run ends (alpha 1) is not among them."""
        return tuple(self.level(t) for t in self.timesteps(steps, strength))

    def fractional_levels(self, steps: int, strength: float = 1.0) -> tuple[Level, ...]:
        """As ``levels``, but "diffutoon" timesteps are not rounded (what diffusers' Euler sampler calls linspace)."""
        if self.spacing == "trailing":
            return self.levels(steps, strength)
        top = self._top(strength)
        return tuple(self.level(t) for t in self._even(top, min(steps, top + 1)))

    def level(self, timestep: float) -> Level:
        """The level of a timestep in [0, T-1]; between whole ones sigma/alpha runs linearly, as in k-diffusion."""
        below = math.floor(timestep)
        bar = self.alphas_bar[below]
        share = timestep - below
        if share == 0:
            return Level(timestep=float(timestep), alpha=math.sqrt(bar), sigma=math.sqrt(1 - bar))
        ratio = (1 - share) * _noise_ratio(bar) + share * _noise_ratio(self.alphas_bar[below + 1])
        alpha = 1 / math.sqrt(1 + ratio * ratio)
        return Level(timestep=float(timestep), alpha=alpha, sigma=math.sqrt(1 - alpha * alpha))

    def _top(self, strength: float) -> int:
        return max(round(len(self.alphas_bar) * strength) - 1, 0)

    @staticmethod
    def _even(top: int, count: int) -> list[float]:
        return [float(top)] if count == 1 else [top - i * top / (count - 1) for i in range(count)]


def _noise_ratio(alpha_bar: float) -> float:
    return math.sqrt((1 - alpha_bar) / alpha_bar) if alpha_bar else math.inf


def _betas(name: str, start: float, end: float, steps: int) -> torch.Tensor:
    if name == "linear":
        return torch.linspace(start, end, steps, dtype=torch.float32)
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2


def _betas_of(config: Mapping[str, Any]) -> torch.Tensor:
    if config.get("trained_betas") is not None:
        return torch.atleast_1d(torch.tensor(config["trained_betas"], dtype=torch.float32))
    start, end = config.get("beta_start", BETA_START), config.get("beta_end", BETA_END)
    if start > end:
        _refuse("beta_start, beta_end", (start, end), "beta_start ≤ beta_end")
    return _betas(config.get("beta_schedule", "scaled_linear"), start, end, config.get("num_train_timesteps", STEPS))


def _alphas_bar(betas: torch.Tensor, zero_terminal_snr: bool) -> tuple[float, ...]:
    """The cumulative product in float32, as the models were trained with it, kept as Python floats."""
    if zero_terminal_snr:
        betas = rescale_betas_zero_snr(betas)
    return tuple(torch.cumprod(1 - betas, dim=0).tolist())


def rescale_betas_zero_snr(betas: torch.Tensor) -> torch.Tensor:
    """Shift and stretch √ᾱ so that the last one is exactly 0 and the first stays (Lin et al. 2023, algorithm 1)."""
    root = torch.cumprod(1 - betas, dim=0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    bars = ((root - last) * (first / (first - last))) ** 2
    return 1 - torch.cat([bars[:1], bars[1:] / bars[:-1]])


# What a scheduler_config.json may say about the training, all of it used.
_TRAINING = {
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
    "timestep_spacing",
}

# Known entries about sampling: the values that change nothing for us; None where any value may stand.
_SAMPLING: dict[str, tuple[object, ...] | None] = {
    "clip_sample": (False, None),
    "thresholding": (False, None),
    "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
    "timestep_type": ("discrete",),
    "use_flow_sigmas": (False, None),
    "predict_epsilon": (True, None),
    "interpolation_type": None,
    "use_karras_sigmas": None,
    "use_exponential_sigmas": None,
    "use_beta_sigmas": None,
    "use_lu_lambdas": None,
    "use_dynamic_shifting": None,
    "time_shift_type": None,
    "flow_shift": None,
    "sigma_min": None,
    "sigma_max": None,
    "final_sigmas_type": None,
    "lambda_min_clipped": None,
    "algorithm_type": None,
    "solver_order": None,
    "solver_type": None,
    "solver_p": None,
    "predict_x0": None,
    "disable_corrector": None,
    "lower_order_final": None,
    "euler_at_final": None,
    "skip_prk_steps": None,
    "set_alpha_to_one": None,
    "steps_offset": None,
    "clip_sample_range": None,
    "sample_max_value": None,
    "dynamic_thresholding_ratio": None,
    "original_inference_steps": None,
    "timestep_scaling": None,
}


def _check(config: Mapping[str, Any]) -> None:
    """Refuse, by name, every entry that we would have to ignore although it changes what comes out, and odd numbers."""
    check_bounds(config, "scheduler_config.json")
    kind = str(config.get("_class_name", ""))
    if "Flow" in kind or "EDM" in kind or "VQ" in kind:
        _refuse("_class_name", kind, "a scheduler over discrete betas, such as DDIMScheduler")
    _one_of("beta_schedule", config.get("beta_schedule", "scaled_linear"), BETA_SCHEDULES)
    _one_of("prediction_type", config.get("prediction_type", "epsilon"), PREDICTIONS)
    _one_of("timestep_spacing", config.get("timestep_spacing", "leading"), ("leading", "linspace", "trailing"))
    for name, value in config.items():
        if name in _TRAINING or name.startswith("_"):
            continue
        if name not in _SAMPLING:
            if value not in (None, False):
                near = nearest_name(name, _TRAINING | _SAMPLING.keys())
                _refuse(name, value, "an entry that this version knows", near)
            continue
        harmless = _SAMPLING[name]
        if harmless is not None and value not in harmless:
            _refuse(name, value, f"{harmless[0]}, because our samplers do without it")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        _refuse(name, value, "one of " + ", ".join(known), nearest_name(str(value), known))


def _refuse(name: str, value: object, expected: str, nearest: str | None = None) -> None:
    raise FileProblem(
        f"{name} {value!r} of the noise schedule is not supported",
        given=f"{name}: {value!r}",
        expected=expected,
        nearest=nearest,
        do="correct scheduler_config.json, or choose another base",
    )
