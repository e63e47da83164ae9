"""AdaLoRA: a LoRA with a number for each rank, ΔW = alpha / (ranknum + 1e-5) · up · (down ∘ E).

``ranknum`` is the rank that the training began with, before ranks were taken away: the config's ``init_r`` or a leaf of
the file. It has no record of its own: E goes into down.
Source of the formula: Zhang et al., "AdaLoRA" (2023), as PEFT applies it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.algorithms.record import Facts, Kind

EPSILON = 1e-5


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> Lora:
    up, down, each = tensors["up"], tensors["down"], tensors["lora_E"]
    rank = down.shape[0] if down.ndim == 2 else 0
    if tuple(each.shape) != (rank, 1):
        raise AdapterDoesNotFit(f"its numbers for each rank are {list(each.shape)}, down is {list(down.shape)}")
    if facts.options.get("fan_in_fan_out"):
        raise AdapterDoesNotFit("its config says fan_in_fan_out, which is read for plain LoRA only")
    began = float(facts.options.get("ranknum", facts.options.get("init_r", rank)))
    if began <= 0:
        raise AdapterDoesNotFit(f"its training began with a rank of {began:g}")
    alpha = facts.alpha if facts.alpha is not None and facts.alpha > 0 else began  # PEFT takes r for an alpha of 0
    return Lora(up=up, down=down.float() * each.float(), alpha=alpha * rank / (began + EPSILON))


KIND = Kind(
    name="AdaLoRA",
    needed=(frozenset({"up", "down", "lora_E"}),),
    read=_read,
    scalars=frozenset({"alpha", "ranknum"}),
    additive=True,
    silent_at_zero=False,
)
