"""Patch match: where each pixel of a target frame is found in other frames, and these frames' styles put there.

Coarse to fine over a pyramid. At each level the matches are tried against those of the neighbours, against others
within a few pixels, and, with tracking, against those of the frames before and behind; the patches shrink from round to
round. The same seed gives the same bytes, on any device, with or without compiled kernels, and whichever pairs are
matched together (unless they lend each other matches or share their style). Refuses to choose pairs and to keep
anything from call to call.
Sources: Barnes et al., "PatchMatch" (2009); Duan et al., "FastBlend" (2023).
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sakuga.render.smoothers.patch_compiled import CompiledKernels, has_numba
from sakuga.render.smoothers.patch_kernels import Kernels, Level, TorchKernels

Picture: TypeAlias = NDArray[np.uint8]
Pyramid: TypeAlias = tuple[Tensor, ...]  # uint8 [height, width, 3], from coarse to fine
REACH = 4  # pixels to each side that a random try goes
RANDOM_TRIES = 3
_NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1))


@dataclass(frozen=True, kw_only=True)
class Search:
    """How matches are searched. ``patch``: the smallest side, odd; ``iterations`` at each level, each with a patch two
    smaller than the one before; ``guide_weight``: what a guide's difference counts against the style's; ``start``:
    every pixel where it is, or anywhere; ``tracking``: so many neighbours in the batch lend their matches; ``shared``:
    the styles of a batch are all pulled towards their mean, which is taken once for each round.
    """

    patch: int = 5
    iterations: int = 5
    guide_weight: float = 10.0
    start: Literal["identity", "random"] = "identity"
    tracking: int = 0
    shared: bool = False
    seed: int = 0

    @property
    def largest_patch(self) -> int:
        """The side of the first iteration's patches."""
        return self.patch + 2 * (self.iterations - 1)


class Pair(NamedTuple):
    """What is matched with what: the guides, the source's style, and ``key``, which decides the random tries."""

    target_guide: Pyramid
    source_guide: Pyramid
    source_style: Pyramid
    key: str


def level_sizes(height: int, width: int, largest_patch: int) -> tuple[tuple[int, int], ...]:
    """(height, width) of the levels from coarse to fine: halves, as long as the largest patch fits twice.

    A picture whose short side is below twice the patch has one level.

    >>> level_sizes(512, 512, 13)
    ((32, 32), (64, 64), (128, 128), (256, 256), (512, 512))
    """
    levels = max(1, math.floor(math.log2(max(2.0, min(height, width) / largest_patch))))
    return tuple((height >> down, width >> down) for down in reversed(range(levels)))


def pyramid(picture: Picture, largest_patch: int) -> Pyramid:
    """The picture at all its levels, each the mean of the pixels it stands for. The finest shares its memory."""
    import cv2

    height, width = picture.shape[:2]
    whole = np.ascontiguousarray(picture)
    sizes = level_sizes(height, width, largest_patch)
    smaller = [cv2.resize(whole, (w, h), interpolation=cv2.INTER_AREA) for h, w in sizes[:-1]]
    return tuple(_tensor(level) for level in (*smaller, whole))


def remapped(pairs: Sequence[Pair], search: Search, device: torch.device) -> list[Picture]:
    """The style of each pair's source, moved to where its target's pixels are; uint8 [height, width, 3] each.

    Works on a CUDA ``device``, and on the CPU for any other, since not all of them have 64-bit floats.
    """
    device = device if device.type == "cuda" else torch.device("cpu")
    field = torch.zeros(0)
    for number in range(len(pairs[0].target_guide)):
        level = Level(
            target_guides=torch.stack([pair.target_guide[number] for pair in pairs]).to(device),
            source_guides=torch.stack([pair.source_guide[number] for pair in pairs]).to(device),
            source_styles=torch.stack([pair.source_style[number] for pair in pairs]).to(device),
        )
        kernels = _kernels(level, search)
        keys = [f"{search.seed}:{pair.key}:{number}" for pair in pairs]
        height, width = level.target_guides.shape[1:3]
        field = _refined(field, height, width) if number else _first(search, keys, height, width, device)
        for patch in range(search.largest_patch, search.patch - 1, -2):
            _iterate(kernels, field, patch, search, keys)
    return list(kernels.reconstruct(field, search.patch).cpu().numpy())


def _kernels(level: Level, search: Search) -> Kernels:
    compiled = level.target_guides.device.type == "cpu" and has_numba()
    make: type[CompiledKernels | TorchKernels] = CompiledKernels if compiled else TorchKernels
    return make(level, search.largest_patch // 2, search.guide_weight)


def _iterate(kernels: Kernels, field: Tensor, patch: int, search: Search, keys: Sequence[str]) -> None:
    """Better ``field`` in place: neighbours in random order, random tries, then what the batch lends. The neighbours
    are near in the last round and far in the first, so that a good match gets about in few rounds.
    """
    styles = kernels.reconstruct(field, patch)
    if search.shared:
        styles = styles.float().mean(0, keepdim=True).round_().to(torch.uint8).expand_as(styles).contiguous()
    kernels.aim(styles)
    errors = kernels.rate(field, patch)
    height, width = field.shape[2:]
    dice = random.Random(_digest(f"{search.seed}:{height}:{width}:{patch}"))
    far = patch - search.patch + 1
    for down, right in dice.sample(_NEIGHBOURS, len(_NEIGHBOURS)):
        kernels.attempt(field, errors, _fitted(torch.roll(field, (far * down, far * right), (2, 3))), patch)
    jitter = _jitter(search.seed, height, width).to(field.device)
    shifts = [random.Random(_digest(f"{key}:{patch}")) for key in keys]
    for _ in range(RANDOM_TRIES):
        moved = [torch.roll(jitter, (own.randrange(height), own.randrange(width)), (1, 2)) for own in shifts]
        kernels.attempt(field, errors, _fitted(field + torch.stack(moved)), patch)
    for distance in range(1, min(search.tracking, len(keys) - 1) + 1):
        for way in (distance, -distance):
            lenders = (torch.arange(len(keys)) + way).clamp_(0, len(keys) - 1)
            kernels.attempt(field, errors, field[lenders], patch)


def _first(search: Search, keys: Sequence[str], height: int, width: int, device: torch.device) -> Tensor:
    """The field of the coarsest level."""
    field = torch.zeros(len(keys), 2, height, width, dtype=torch.int16)
    if search.start == "random":
        for own, key in zip(field, keys, strict=True):
            dice = torch.Generator().manual_seed(_digest(key))
            rows = torch.randint(height, (height, width), generator=dice) - torch.arange(height)[:, None]
            columns = torch.randint(width, (height, width), generator=dice) - torch.arange(width)
            own.copy_(torch.stack((rows, columns)))
    return field.to(device)


def _refined(field: Tensor, height: int, width: int) -> Tensor:
    """The field of a level for the next finer one: each match stays the match of all pixels that it becomes."""
    rows = (torch.arange(height, device=field.device) // 2).clamp_(max=field.shape[2] - 1)
    columns = (torch.arange(width, device=field.device) // 2).clamp_(max=field.shape[3] - 1)
    return _fitted((field * 2)[:, :, rows][..., columns])


def _fitted(field: Tensor) -> Tensor:
    """The field with every match inside the picture; changes ``field``."""
    for axis in (0, 1):
        size = field.shape[2 + axis]
        place = torch.arange(size, dtype=torch.int16, device=field.device)
        place = place[:, None] if axis == 0 else place
        own = field[:, axis]
        torch.minimum(torch.maximum(own, -place, out=own), size - 1 - place, out=own)
    return field.contiguous()


def _jitter(seed: int, height: int, width: int) -> Tensor:
    """Steps of a random try for each pixel, int16 [2, height, width]; each pair and try rolls the same table onward."""
    dice = torch.Generator().manual_seed(_digest(f"{seed}:{height}:{width}"))
    return torch.randint(-REACH, REACH + 1, (2, height, width), generator=dice, dtype=torch.int16)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(picture if picture.flags.writeable else picture.copy())
