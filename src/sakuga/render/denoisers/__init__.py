"""What a Denoiser is, and the plain records that its layers hand to each other.

From the outside in: ``windowed`` cuts a Span into windows, ``guided`` adds the halves of classifier-free guidance,
``controlled`` adds what the ControlNets say, ``predict`` asks the UNet. Each adds one thing and returns the estimate of
the clean picture, so any of them can be tried with a fake of one line. No layer is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sakuga.models.schedule import Level

Half = Literal["positive", "negative"]

Denoiser = Callable[[Tensor, Level, int], Tensor]
"""What a sampler calls: (x [F, C, h, w], level, step) → the clean estimate, same shape. F: the frames of a Span."""

FrameDenoiser = Callable[[Tensor, Level, int, range], Tensor]
"""The same for some frames of the Span only; the range holds their positions in it, one for each row of x."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one pass through the networks is about.

    Its rows are half-major: all ``frames`` for ``halves[0]``, then all for ``halves[1]``. ``frames`` are positions in
    the Span, so row r belongs to frame ``frames[r % len(frames)]`` and to half ``halves[r // len(frames)]``. Whoever
    gives the rows different weights (a Stack, a motion module) reads this and nothing else.
    """

    level: Level
    step: int
    frames: range
    halves: tuple[Half, ...]

    @property
    def rows(self) -> tuple[tuple[Half, int], ...]:
        """Half and frame of every row, in order."""
        return tuple((half, frame) for half in self.halves for frame in self.frames)


Predictor = Callable[[Tensor, Call], Tensor]
"""(x [rows of the call, C, h, w], call) → the clean estimate, float32, same shape."""

Residuals = tuple[Sequence[Tensor], Tensor]
"""What ControlNets add to a UNet: one tensor for each skip connection, and one for the middle; rows as in the call."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The encoded prompts, each [1, tokens, C]. They may differ in length; then the halves cannot share a batch."""

    positive: Tensor
    negative: Tensor

    @property
    def same_length(self) -> bool:
        return self.positive.shape == self.negative.shape

    def of(self, halves: Sequence[Half], like: Tensor) -> Tensor:
        """One row [tokens, C] for each entry of ``halves``, on the device and in the format of ``like``."""
        both = {"positive": self.positive[0], "negative": self.negative[0]}
        return torch.stack([both[half] for half in halves]).to(device=like.device, dtype=like.dtype)
