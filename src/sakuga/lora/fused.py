"""Fused: the change is added into the weight itself. Computes the new weight from the pristine one, copies bytes in
place, and gives the pristine bytes back. Decides nothing; a weight is never brought back by arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import Algorithm

# Integers of the same size, so that copying moves bits and never numbers (a NaN keeps its payload).
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def fused(pristine: Tensor, parts: Sequence[tuple[float, Algorithm]]) -> Tensor | None:
    """round(W + Σ s ΔW) in the format of ``pristine``, or None when the sum is zero everywhere.

    The sum is taken in fp32 in the order given and rounded once. The caller gives an order that does not depend on how
    the user listed the adapters. Raises AdapterDoesNotFit when the result is beyond the format's range.
    """
    total: Tensor | None = None
    # autocast would take the products in half precision
    with torch.no_grad(), torch.autocast(pristine.device.type, enabled=False):
        for weight, record in parts:
            change = record.delta(pristine)
            total = change * weight if total is None else total.add_(change, alpha=weight)
        if total is None:
            return None
        low, high = _bounds(total)
        if low == high == 0:
            return None  # and a negative zero stays one, which adding 0 would turn
        wide = torch.promote_types(pristine.dtype, torch.float32)
        changed = (pristine.to(wide) + total.to(wide)).to(pristine.dtype)
        sound = math.isfinite(low) and math.isfinite(high) and (_finite(changed) or not _finite(pristine))
    if not sound:
        raise AdapterDoesNotFit("the sum of the adapters is beyond the range of the weight's number format")
    return changed


def _bounds(tensor: Tensor) -> tuple[float, float]:
    """The least and the greatest number in one pass; both NaN when there is a NaN."""
    low, high = torch.aminmax(tensor)
    return float(low), float(high)


def _finite(tensor: Tensor) -> bool:
    return all(map(math.isfinite, _bounds(tensor)))


def copy_bits(into: Tensor, source: Tensor) -> None:
    """The bits of ``source`` into the memory of ``into``, which stays where it is."""
    bits = _BITS[into.element_size()]
    # weights that were made in inference mode may only be written there
    mode = torch.inference_mode() if into.is_inference() else torch.no_grad()
    with mode:
        into.detach().view(bits).copy_(source.view(bits))


def kept_copy(weight: nn.Parameter) -> Tensor:
    """The pristine bytes of a weight, beside it on its device."""
    with torch.no_grad():
        kept = torch.empty_like(weight, requires_grad=False)
        copy_bits(kept, weight.detach())
    return kept
