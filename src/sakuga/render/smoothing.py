"""Smoothing: the smoothers of a Stage, one after the other, on finished frames or on the clean estimate of a step.

Smoothers know pictures alone; what is latent is decoded for them and encoded again. Refuses to know what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sakuga.render import latents
from sakuga.render.latents import PixelCodec
from sakuga.spec.plain import Plain
from sakuga.video.colour import to_float, to_uint8
from sakuga.video.shots import cuts

Picture = NDArray[np.uint8]


class AnySmoother(Protocol):
    """What is needed of ``sakuga.render.smoothers.Smoother``."""

    @property
    def name(self) -> str: ...
    @property
    def smooth(self) -> Callable[..., Iterator[Picture]]:
        """(frames, guides, options, seed, device) → the frames of one shot, smoothed, in order."""


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """A smoother with the options that the Job gives it, as its own record."""

    smoother: AnySmoother
    options: Plain


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """The smoothers of a Stage at work on a Span. ``check`` is called between frames, and may raise ``Stopped``."""

    smoothings: Sequence[Smoothing]
    seed: int
    device: torch.device
    check: Callable[[], None]

    def pictures(self, frames: Sequence[Picture], guides: Sequence[Picture]) -> Sequence[Picture]:
        """``frames``, smoothed along ``guides``: the source's own frames, as many and as large. Never across a cut."""
        edges = (0, *cuts(guides), len(guides))
        for one in self.smoothings:
            done: list[Picture] = []
            for first, end in pairwise(edges):
                shot = frames[first:end], guides[first:end]
                for frame in one.smoother.smooth(*shot, one.options, self.seed, self.device):
                    self.check()
                    done.append(frame)
            assert len(done) == len(frames), f"{len(done)} of {len(frames)} frames came from {one.smoother.name}"
            frames = done
        return frames

    def clean(self, codec: PixelCodec, clean: Tensor, guides: Sequence[Picture]) -> Tensor:
        """The clean latents [F, C, h, w] of a step, by way of the pictures that they stand for."""
        frames = []
        for frame in latents.decode(codec, clean):
            self.check()
            frames.append(to_uint8(frame[None])[0])
        smoothed = self.pictures(frames, guides)
        encoded = [latents.encode(codec, to_float(frame[None])) for frame in smoothed]
        return torch.cat(encoded).to(clean)
