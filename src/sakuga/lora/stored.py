"""Stored: how a layer stores its weight and its bias: as ordinary numbers, quantised, or not at all yet.

Only looks. What is known here is what decides between fused and live, and where a bias may be grown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from sakuga.tensors.seat import Shape

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
FLOAT8 = frozenset(
    getattr(torch, name)
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if hasattr(torch, name)
)
_BY_OUTPUT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def stored_shape(layer: nn.Module, kind: str) -> Shape | None:
    """The shape of a layer's own weight or bias; of a bias that it has not but could have; None when it has none.

    Weights that are computed (parametrised layers) are not a layer's own.
    """
    own = layer._parameters.get(kind)
    if own is not None:
        return tuple(own.shape)
    if kind == "bias" and growable(layer):
        weight = layer._parameters["weight"]
        assert weight is not None
        return tuple(weight.shape[:1])
    quantised = _called(layer, kind)
    return None if quantised is None else tuple(quantised.shape)


def growable(layer: nn.Module) -> bool:
    """Whether the layer has no bias but would use one."""
    usual = isinstance(layer, (*_BY_OUTPUT, nn.LayerNorm)) and layer._parameters.get("weight") is not None
    return usual and "bias" in layer._parameters and layer._parameters["bias"] is None


def width_of(layer: nn.Module) -> str | None:
    """The attribute that says how many inputs a layer takes, where its weight alone decides it; None: it has none."""
    if isinstance(layer, nn.Linear):
        return "in_features"
    return "in_channels" if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and layer.groups == 1 else None


def cannot_widen(layer: nn.Module) -> str | None:
    """Why a layer cannot take more inputs for a time; None when it can."""
    if width_of(layer) is None:
        return f"{type(layer).__name__} cannot be given more inputs; take a model that has them"
    why = unwritable(layer, "weight")
    return f"{why}, so it cannot be given more inputs; take a model that has them" if why else None


def unreadable(layer: nn.Module, kind: str) -> str | None:
    """Why nothing at all can be added to a weight that is there; None when it can."""
    own = layer._parameters.get(kind)
    if own is None:
        return None
    if own.is_meta:
        return f"its {kind} is on the meta device, so there are no bytes to change"
    if own.dtype not in DTYPES and own.dtype not in FLOAT8 and _ordinary(own):
        return f"its {kind} is {_word(own)}, to which nothing can be added exactly"
    return None


def unwritable(layer: nn.Module, kind: str) -> str:
    """Why a changed weight cannot be stored as the layer stores it, so that it must be live; empty when it can."""
    own = layer._parameters.get(kind)
    if own is None:
        return "" if growable(layer) else f"its {kind} is quantised"
    if not _ordinary(own):
        return f"its {kind} is {type(own.data).__name__}"
    return f"its {kind} is {_word(own)}, too coarse for a change" if own.dtype in FLOAT8 else ""


def numbers_of(layer: nn.Module, kind: str) -> Tensor | None:
    """The numbers of a weight or a bias, in fp32 where they are stored otherwise than as such; None: it has none."""
    own = layer._parameters.get(kind)
    stored = own.detach() if own is not None else _called(layer, kind)
    if stored is None:
        return None
    if stored.is_quantized or not _ordinary(stored):
        return stored.dequantize()
    return stored.float() if stored.dtype in FLOAT8 else stored


def region_of(layer: nn.Module, kind: str) -> object:
    """The memory of a weight: two Parameters over the same bytes are one weight. A bias to come is the layer's own."""
    own = layer._parameters.get(kind)
    if own is None or own.is_meta or not _ordinary(own):
        return (id(layer), kind)
    first = int(own.storage_offset()) * own.element_size()
    return own.device, own.untyped_storage().data_ptr(), first, own.numel(), own.dtype, own.shape, own.stride()


def memory_of(own: nn.Parameter) -> tuple[object, ...] | None:
    """The memory that a weight lies in, with all else that lies there; None when it has none of the ordinary kind."""
    if own.is_meta or not own.numel() or not _ordinary(own):
        return None
    return own.device, own.untyped_storage().data_ptr()


def state_of(own: nn.Parameter) -> tuple[object, ...]:
    """What changes when somebody writes into a weight or points it elsewhere."""
    return own.data_ptr(), version_of(own), own.dtype, own.device, own.shape, own.stride()


def version_of(own: nn.Parameter) -> int | None:
    """How often a weight was written into; None where torch does not count: in inference tensors, and in a Parameter
    that was one when it was made, even if it was cast to an ordinary one since.
    """
    try:
        return own._version
    except RuntimeError:
        return None


def dense(own: nn.Parameter) -> bool:
    """Whether every number has bytes of its own, without gaps, so that it can be written where it is."""
    return _extent(own) == own.nbytes


def overlaps(parameters: Iterable[nn.Parameter]) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """Pairs of Parameters that share some of their memory, but are not the same numbers in the same layout."""
    spans = sorted(
        ((str(own.device), own.data_ptr(), own.data_ptr() + _extent(own)), index, own)
        for index, own in enumerate(parameters)
        if own.numel() and not own.is_meta and _ordinary(own)
    )
    for ((device, start, end), _, own), ((other, second, stop), _, beside) in pairwise(spans):
        same = (start, end, own.dtype, own.shape, own.stride()) == (
            *(second, stop, beside.dtype, beside.shape, beside.stride()),
        )
        if device == other and second < end and not same:
            yield own, beside


def _extent(tensor: Tensor) -> int:
    """The bytes from a tensor's first number to the end of its last."""
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (1 + steps) * tensor.element_size()


def _called(layer: nn.Module, kind: str) -> Tensor | None:
    """The tensor that a quantised layer of torch gives when its ``weight`` or ``bias`` is called."""
    given = getattr(layer, kind, None)
    if not callable(given) or not hasattr(layer, "_packed_params"):
        return None
    found = given()
    return found.detach() if isinstance(found, Tensor) else None


def _ordinary(tensor: Tensor) -> bool:
    """Whether it is a plain tensor and no subclass with a storage of its own kind."""
    return type(tensor) in (Tensor, nn.Parameter) and not tensor.is_quantized


def _word(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
