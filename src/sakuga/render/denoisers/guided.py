"""Classifier-free guidance: away from what the negative prompt gives, towards what the positive one does.

Both halves run in one batch where their texts allow it. Refuses to run a half whose share is nil.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sakuga.models.schedule import Level
from sakuga.render.denoisers import Call, FrameDenoiser, Half, Predictor, Texts


def guided(predictor: Predictor, texts: Texts, guidance: float) -> FrameDenoiser:
    """clean = negative + guidance · (positive - negative) (Ho and Salimans 2022).

    Guidance of clean estimates is the same as that of predicted noise or velocity, because for one x each is a straight
    line in the other. Rows are half-major, the positive half first. At guidance 1 the negative half would cancel and is
    not run; at 0 the positive one.
    """
    halves: tuple[Half, ...] = ("positive", "negative")
    if guidance in (0, 1):
        halves = ("positive",) if guidance == 1 else ("negative",)
    passes: tuple[tuple[Half, ...], ...] = (halves,) if texts.same_length else tuple((half,) for half in halves)

    def denoise(x: Tensor, level: Level, step: int, frames: range) -> Tensor:
        parts: list[Tensor] = []
        for together in passes:
            call = Call(level=level, step=step, frames=frames, halves=together)
            parts.extend(predictor(torch.cat([x] * len(together)), call).split(len(frames)))
        if len(parts) == 1:
            return parts[0]
        positive, negative = parts
        return negative + guidance * (positive - negative)

    return denoise
