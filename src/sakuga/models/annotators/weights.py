"""Weights: the tensors of one network under the very names of its file, and the layers that are computed from them.

A network of an annotator is a function of these and of a picture, so its file needs no translation: run once on tensors
without memory, it says which names it reads and whether their sizes fit together. Refuses names that are not there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from sakuga.errors import FileProblem, nearest_name


class Weights:
    """``tensors`` by name. ``used`` collects the names that were asked for."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that name. Raises FileProblem if there is none."""
        if name not in self._tensors:
            raise FileProblem(
                "the network lacks a weight",
                given=f"{len(self._tensors)} tensors",
                expected=name,
                nearest=nearest_name(name, self._tensors),
                do="use the whole file; fetch it again if it should be whole",
            )
        self.used.add(name)
        return self._tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def conv(self, name: str, x: Tensor, *, stride: int = 1, padding: int | None = None, groups: int = 1) -> Tensor:
        """A convolution with odd kernels, padded to keep the size unless ``padding`` is given."""
        weight = self[f"{name}.weight"]
        around = weight.shape[-1] // 2 if padding is None else padding
        bias = self._bias(name, weight.shape[0])
        return F.conv2d(x, weight, bias, stride=stride, padding=around, groups=groups)

    def conv_up(self, name: str, x: Tensor, *, output_padding: int = 0) -> Tensor:
        """A transposed convolution that doubles the size."""
        weight = self[f"{name}.weight"]
        if weight.ndim != 4 or weight.shape[0] != x.shape[1]:
            raise ValueError(f"{name}.weight is {list(weight.shape)} for {x.shape[1]} channels")
        bias = self._bias(name, weight.shape[1])
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=output_padding)

    def pointwise(self, name: str, x: Tensor) -> Tensor:
        """A convolution of one point that the file holds in one dimension, over [B, C, H, W]."""
        weight = self[f"{name}.weight"].unsqueeze(-1)
        return F.conv2d(x, weight, self._bias(name, weight.shape[0]))

    def linear(self, name: str, x: Tensor) -> Tensor:
        """A linear layer."""
        weight = self[f"{name}.weight"]
        return F.linear(x, weight, self._bias(name, weight.shape[0]))

    def batch_norm(self, name: str, x: Tensor, *, eps: float) -> Tensor:
        """Batch normalisation with the mean and variance of the training."""
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (self._vector(f"{name}.{part}", x.shape[1]) for part in parts)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps)

    def group_norm(self, name: str, x: Tensor, *, groups: int) -> Tensor:
        """Group normalisation, eps 1e-5."""
        weight, bias = (self._vector(f"{name}.{part}", x.shape[1]) for part in ("weight", "bias"))
        return F.group_norm(x, groups, weight, bias, eps=1e-5)

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """Layer normalisation over the last dimension, eps 1e-6 as vision transformers have it."""
        weight, bias = (self._vector(f"{name}.{part}", x.shape[-1]) for part in ("weight", "bias"))
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-6)

    def _bias(self, name: str, size: int) -> Tensor | None:
        return self._vector(f"{name}.bias", size) if f"{name}.bias" in self else None

    def _vector(self, name: str, size: int) -> Tensor:
        """A tensor of one dimension, whose size torch does not look at when there is no memory."""
        found = self[name]
        if tuple(found.shape) != (size,):
            raise ValueError(f"{name} is {list(found.shape)} where [{size}] fits")
        return found

    @classmethod
    def without_memory(cls, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
        """Weights of these sizes on the meta device, to try a network on."""
        return cls({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's "same": zeros so that the size is divided by ``stride`` and rounded up; the odd one goes behind."""
    height, width = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
    if not (height or width):
        return x
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
