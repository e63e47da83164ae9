"""Noise that depends on the seed and on the frame of the clip, and on nothing else.

A frame gets the same noise in whatever Span, on whatever device and in whatever order it is rendered. Drawn on the CPU
in float32 for that reason; refuses the global random state. "diffsynth1" is the exception: it is drawn for a whole clip
at once, as DiffSynth 1.x did, so that its seeds give its pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

Policy = Literal["frame", "shared", "zero", "diffsynth1"]
WHOLE_CLIP: Policy = "diffsynth1"
START = "start"  # the noise a run starts from; ``step_purpose`` names what a sampler adds on its way


def step_purpose(step: int) -> str:
    """The purpose of the noise that is added after a step, counted from 0."""
    return f"step {step}"


def draw(seed: int, frame: int | None, shape: tuple[int, ...], purpose: str = START) -> Tensor:
    """Unit normal noise, float32 on the CPU, for one frame of the clip; ``frame`` None is one draw for all of them.

    The generator is seeded by a hash, because neighbouring seeds (seed + frame) would give frame 1 of seed 0 the noise
    of frame 0 of seed 1.
    """
    text = f"{seed}/{'all' if frame is None else frame}/{purpose}"
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1  # torch takes 63 bits without a sign
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(key), dtype=torch.float32)


def draw_whole(seed: int, count: int, shape: tuple[int, ...], *, moving: bool) -> Tensor:
    """Noise [F, C, h, w] for all frames of a clip as DiffSynth 1.x has it (its pipelines/sd_video.py), in float32.

    One draw in float16 from a generator seeded by ``seed``: ``count`` independent frames where a motion module moves
    them, otherwise a single one for all. A frame's noise depends on its place among them and on the size.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.randn((count if moving else 1, *shape), generator=generator, dtype=torch.float16).float()
    return noise if moving else noise.expand(count, *shape).clone()


def span_noise(
    policy: Policy,
    seed: int,
    frames: Iterable[int],
    shape: tuple[int, int, int],
    purpose: str = START,
    *,
    moving: bool = False,
) -> Tensor:
    """Noise [F, C, h, w] for ``frames``, which are numbers in the clip (not positions in a Span).

    "frame": a draw for each (with motion modules). "shared": one draw for all (calmer without them). "zero": none, for
    models that were trained to start from an empty latent. "diffsynth1": ``draw_whole`` with ``moving`` to start from;
    ``frames`` are then the whole clip, and what a sampler adds on its way is as in "frame".
    """
    numbers = list(frames)
    if policy == "zero":
        return torch.zeros(len(numbers), *shape)
    if policy == WHOLE_CLIP and purpose == START:
        return draw_whole(seed, len(numbers), shape, moving=moving)
    if policy == "shared":
        return draw(seed, None, shape, purpose).expand(len(numbers), *shape).clone()
    return torch.stack([draw(seed, number, shape, purpose) for number in numbers])
