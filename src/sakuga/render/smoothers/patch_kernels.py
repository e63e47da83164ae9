"""What patch match asks of a pair of pictures, by torch alone, on a CPU or a CUDA device: reconstruct, rate, try.

A field says for each pixel of the target how far away its match in the source lies. All sums are exact, so that
``patch_compiled.py`` gives the same bytes. Refuses to search: which candidates are tried is ``patch_match.py``'s.

The error of a match is guide_weight · Σ‖target guide − source guide‖² + Σ‖reconstruction − source style‖² over a
square patch and three channels, levels 0 … 255. A patch is cut where the target ends; outside the source its edge is
repeated.
Source: Jamriška et al., "Stylizing Video by Example" (2019), for the two sums; Duan et al., "FastBlend" (2023).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

AT_ONCE = 1 << 12  # pixels on a CPU, so that a row of their patches stays in its cache
AT_ONCE_ON_CUDA = 1 << 20  # so that a row of patches stays below 200 MB


class Level(NamedTuple):
    """The pictures of a batch of pairs at one size, each uint8 [pairs, height, width, 3]."""

    target_guides: Tensor
    source_guides: Tensor
    source_styles: Tensor


class Kernels(Protocol):
    """What one level of the pyramid can be asked. A field is int16 [pairs, 2, height, width]: rows and columns to go
    from a pixel to its match, which lies in the picture; ``patch`` is the odd side of a patch.
    """

    def reconstruct(self, field: Tensor, patch: int) -> Tensor:
        """uint8 [pairs, height, width, 3]: each pixel is the mean of what the patches over it put there, rounded."""

    def aim(self, styles: Tensor) -> None:
        """Set the pictures, uint8 [pairs, height, width, 3], that the source's style is compared with."""

    def rate(self, field: Tensor, patch: int) -> Tensor:
        """The error of each match, float32 [pairs, height, width]."""

    def attempt(self, field: Tensor, errors: Tensor, candidates: Tensor, patch: int) -> None:
        """Change ``field`` and ``errors`` in place where a candidate's error is lower."""


def edges_repeated(pictures: Tensor, reach: int) -> Tensor:
    """[pairs, height + 2·reach, width + 2·reach, 3]: the pictures with their edges repeated outside."""
    height, width = pictures.shape[1:3]
    rows = torch.arange(-reach, height + reach, device=pictures.device).clamp_(0, height - 1)
    columns = torch.arange(-reach, width + reach, device=pictures.device).clamp_(0, width - 1)
    return pictures[:, rows][:, :, columns]


class TorchKernels:
    """The kernels by torch: a gather for each row of a patch, over the pixels whose candidate may still be better.

    All pictures lie flat with ``reach`` pixels around them, so one number tells a place in any of them. Outside the
    target there is NaN. Sums are exact: squares in 32-bit floats, sums of them in 64-bit ones.
    """

    def __init__(self, level: Level, reach: int, guide_weight: float) -> None:
        self.reach, self.guide_weight, self.device = reach, guide_weight, level.target_guides.device
        self.pairs, self.height, self.width, _ = level.target_guides.shape
        self.pitch = self.width + 2 * reach
        self.sources = [edges_repeated(part, reach).float().flatten() for part in level[1:]]
        self.targets = [self._around(level.target_guides, torch.nan).flatten()] * 2
        counted = torch.cat((level.source_styles, torch.ones_like(level.source_styles[..., :1])), dim=-1)
        self.votes = self._around(counted, 0.0).view(-1, 4)  # black and not counted outside
        places = torch.arange(len(self.votes), device=self.device).view(self.pairs, -1, self.pitch)
        inner = slice(reach, reach + self.height), slice(reach, reach + self.width)
        self.places = places[:, *inner].flatten()  # of each target pixel
        self.at_once = AT_ONCE if self.device.type == "cpu" else AT_ONCE_ON_CUDA

    def aim(self, styles: Tensor) -> None:
        self.targets[1] = self._around(styles, torch.nan).flatten()

    def rate(self, field: Tensor, patch: int) -> Tensor:
        errors = torch.full_like(field[:, 0], torch.inf, dtype=torch.float32)
        self._take(field, errors, field, torch.arange(errors.numel(), device=self.device), patch)
        return errors

    def attempt(self, field: Tensor, errors: Tensor, candidates: Tensor, patch: int) -> None:
        self._take(field, errors, candidates, (candidates != field).any(1).flatten().nonzero()[:, 0], patch)

    def reconstruct(self, field: Tensor, patch: int) -> Tensor:
        half = patch // 2
        sums = self.votes.new_zeros(self.pairs, self.height + 2 * half, self.width + 2 * half, 4)
        matches = self.places + self._steps(field)
        for down in range(-half, half + 1):
            for right in range(-half, half + 1):
                votes = self.votes.index_select(0, matches - (down * self.pitch + right))
                here = sums[:, half - down :, half - right :][:, : self.height, : self.width]
                here += votes.view(here.shape)
        sums = sums[:, half : half + self.height, half : half + self.width].to(torch.int32)
        counts = sums[..., 3:]
        return ((2 * sums[..., :3] + counts) // (2 * counts)).to(torch.uint8)

    def _take(self, field: Tensor, errors: Tensor, candidates: Tensor, pixels: Tensor, patch: int) -> None:
        """Let the candidates of those pixels (numbers in the flat target) that are better into ``field``."""
        matches, flat = self.places + self._steps(candidates), errors.view(-1)
        better = torch.zeros_like(flat, dtype=torch.bool)
        for some in pixels.split(self.at_once):
            left, found = self._below(some, matches[some], flat[some], patch)
            flat[left], better[left] = found, True
        field.copy_(torch.where(better.view_as(errors)[:, None], candidates, field))

    def _below(self, pixels: Tensor, matches: Tensor, bounds: Tensor, patch: int) -> tuple[Tensor, Tensor]:
        """(those pixels whose matches have errors below their bounds, these errors). The others are given up early."""
        here, half, errors = self.places[pixels], patch // 2, bounds
        sums = torch.zeros(2, len(pixels), dtype=torch.float64, device=self.device)
        for row in sorted(range(-half, half + 1), key=abs):  # the middle tells most
            first = row * self.pitch - half
            for total, target, source in zip(sums, self.targets, self.sources, strict=True):
                apart = _run(source, matches + first, patch).sub_(_run(target, here + first, patch)).nan_to_num_(0.0)
                total += apart.square_().sum(1, dtype=torch.float64)
            errors = (self.guide_weight * sums[0] + sums[1]).float()
            good = errors < bounds
            left = good.nonzero()[:, 0]
            if len(left) < len(good):
                pixels, here, matches, bounds = pixels[left], here[left], matches[left], bounds[left]
                sums, errors = sums[:, left], errors[left]
        return pixels, errors

    def _steps(self, field: Tensor) -> Tensor:
        """How far each match is from its pixel in the flat source, int64."""
        return (field[:, 0].long() * self.pitch + field[:, 1]).flatten()

    def _around(self, pictures: Tensor, value: float) -> Tensor:
        """float32 [pairs, height + 2·reach, width + 2·reach, channels] with ``value`` around each picture."""
        return nn.functional.pad(pictures.float(), (0, 0, *(self.reach,) * 4), value=value)


def _run(flat: Tensor, places: Tensor, length: int) -> Tensor:
    """[places, 3 · length]: so many pixels from each place on."""
    return flat.unfold(0, 3 * length, 3).index_select(0, places)
