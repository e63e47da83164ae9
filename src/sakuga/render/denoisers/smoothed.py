"""Smoothing inside a run: at some steps the clean estimate goes through the smoothers before the sampler uses it.

The sampler takes its direction from what it gets, so the noise is that of the smoothed picture (DiffSynth 1.x calls
this going back to the timestep). Refuses to know what smoothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor

from sakuga.models.schedule import Level
from sakuga.render.denoisers import Denoiser


def smoothed(denoise: Denoiser, steps: Collection[int], smooth: Callable[[Tensor], Tensor]) -> Denoiser:
    """``denoise``, but at ``steps`` what it says goes through ``smooth``."""

    def ask(x: Tensor, level: Level, step: int) -> Tensor:
        clean = denoise(x, level, step)
        return smooth(clean) if step in steps else clean

    return ask
