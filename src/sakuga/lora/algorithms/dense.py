"""Dense: a whole change of a parameter beside its layer: the live way of additive algorithms without a cheaper one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.layers import output_with

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


def beside_dense(change: Tensor, x: Tensor, layer: nn.Module) -> Tensor:
    """What ``layer(x)`` gains when its weight gains ``change``. Strides, padding and groups are the layer's.

    Raises AdapterDoesNotFit for a layer that is no Linear, convolution, embedding or norm.
    """
    if isinstance(layer, nn.Embedding):
        return F.embedding(x, change.to(layer.weight.dtype), layer.padding_idx)
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(x, layer.num_groups, change.to(x.dtype), None, layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(x, layer.normalized_shape, change.to(x.dtype), None, layer.eps)
    if isinstance(layer, nn.RMSNorm):
        return F.rms_norm(x, list(layer.normalized_shape), change.to(x.dtype), layer.eps)
    return output_with(x, layer, change)


def per_channel(values: Tensor, x: Tensor, layer: nn.Module) -> Tensor:
    """One number for each output channel, in as many dimensions as the layer's output has.

    Raises AdapterDoesNotFit for a layer that is no Linear, convolution or norm.
    """
    if isinstance(layer, Conv):
        after = len(layer.kernel_size)
    elif isinstance(layer, nn.GroupNorm):
        after = x.ndim - 2
    elif isinstance(layer, nn.Linear | nn.LayerNorm):
        after = 0
    else:
        raise AdapterDoesNotFit(f"a change of its bias cannot run beside {type(layer).__name__}")
    before = x.ndim - after - values.ndim
    return values.to(x.dtype).reshape(*[1] * before, *values.shape, *[1] * after)
