"""Layers: what a change may run beside, a Linear or a convolution, and its output without the bias.

Nothing here calls the layer itself: it may carry a hook that asks for the change.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit

Change = Callable[[Tensor], Tensor]  # of features that lie in the last dimension


def weight_of(layer: nn.Module) -> Tensor:
    """The numbers of the layer's weight, where it is stored as such."""
    weight = layer.weight if isinstance(layer.weight, Tensor) else layer.weight()
    return weight.dequantize() if weight.is_quantized else weight


def output_with(x: Tensor, layer: nn.Module, weight: Tensor) -> Tensor:
    """What ``layer`` would give for ``x`` with ``weight`` and without a bias.

    Raises AdapterDoesNotFit for a layer that is neither a Linear nor a Conv1d, 2d or 3d.
    """
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight.to(x.dtype))
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return layer._conv_forward(x, weight.to(x.dtype), None)
    raise AdapterDoesNotFit(f"this algorithm cannot run beside {type(layer).__name__}")


def of_output(x: Tensor, layer: nn.Module, change: Change) -> Tensor:
    """``change`` of the layer's output without its bias."""
    axis = _features(layer)
    return change(output_with(x, layer, weight_of(layer)).movedim(axis, -1)).movedim(-1, axis)


def of_input(x: Tensor, layer: nn.Module, change: Change) -> Tensor:
    """The layer's output, without its bias, for ``change`` of the input."""
    axis = _features(layer)
    return output_with(change(x.movedim(axis, -1)).movedim(-1, axis), layer, weight_of(layer))


def takes_features_alone(layer: nn.Module) -> bool:
    """Whether a change of the input's features is one of the weight's columns: no kernel above 1 and no groups."""
    kernel, groups = getattr(layer, "kernel_size", ()), getattr(layer, "groups", 1)
    return groups == 1 and all(size == 1 for size in kernel)


def _features(layer: nn.Module) -> int:
    """The dimension of the features in the layer's input and output, counted from the end."""
    return -len(getattr(layer, "kernel_size", ())) - 1
