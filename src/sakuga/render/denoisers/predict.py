"""The innermost Denoiser: one call of the UNet, and its answer turned into the clean picture.

The only place where the UNet is called. Refuses to know of guidance, ControlNets and windows; rows come as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from sakuga.models.schedule import Level, Schedule
from sakuga.render.denoisers import Call, Residuals, Texts


class Predict(Protocol):
    """A ``Predictor`` that also takes what ControlNets have to add."""

    def __call__(self, x: Tensor, call: Call, residuals: Residuals | None = None) -> Tensor: ...


def predict(
    unet: nn.Module, schedule: Schedule, texts: Texts, before_call: Callable[[Call], object] | None = None
) -> Predict:
    """Ask ``unet`` (a diffusers UNet2DConditionModel) for each call; give the clean estimate in float32, where x is.

    ``before_call`` hears of each call just before the UNet does: it sets what depends on the rows, such as
    ``join.frames = len(call.frames)`` or the weights of a Stack. The UNet computes in its own number format.
    """
    weight = next(unet.parameters())

    @torch.no_grad()
    def ask(x: Tensor, call: Call, residuals: Residuals | None = None) -> Tensor:
        if before_call is not None:
            before_call(call)
        rows = x.to(device=weight.device, dtype=weight.dtype)
        down, middle = residuals if residuals is not None else (None, None)
        answer = unet(
            rows,
            timestep(call.level, rows),
            encoder_hidden_states=text_rows(texts, call, rows),
            down_block_additional_residuals=None if down is None else [part.to(rows) for part in down],
            mid_block_additional_residual=None if middle is None else middle.to(rows),
            return_dict=False,
        )[0]
        return to_clean(answer.to(device=x.device, dtype=torch.float32), x, call.level, schedule.prediction)

    return ask


def to_clean(answer: Tensor, x: Tensor, level: Level, prediction: str) -> Tensor:
    """The picture that a predicted noise ("epsilon") or velocity ("v_prediction", Salimans and Ho 2022) stands for.

    epsilon: (x - sigma·answer) / alpha. v_prediction: alpha·x - sigma·answer.
    """
    if prediction == "v_prediction":
        return level.alpha * x - level.sigma * answer
    return (x - level.sigma * answer) / level.alpha


def timestep(level: Level, like: Tensor) -> Tensor:
    """The timestep as networks take it: one float32 number, fractions kept."""
    return torch.tensor([level.timestep], dtype=torch.float32, device=like.device)


def text_rows(texts: Texts, call: Call, like: Tensor) -> Tensor:
    """The encoded prompt of every row of a call, [rows, tokens, C]."""
    return texts.of(call.halves, like).repeat_interleave(len(call.frames), dim=0)
