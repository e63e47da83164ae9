"""LoRA of an embedding table, as PEFT stores it: ΔE = (alpha / r) · (B A)ᵀ with A [r, vocabulary] and B [dimension, r].

It is a LoRA of the table with Aᵀ as up and Bᵀ as down, and has no record of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.algorithms.record import Facts, Kind
from sakuga.lora.algorithms.scale import SCALE_LEAVES, alpha_of


def _read(tensors: Mapping[str, Tensor], facts: Facts) -> Lora:
    a, b = tensors["lora_embedding_A"], tensors["lora_embedding_B"]
    if a.ndim != 2 or b.ndim != 2:
        raise AdapterDoesNotFit(f"A {list(a.shape)} and B {list(b.shape)} are not the two factors of a LoRA of a table")
    return Lora(up=a.T, down=b.T, alpha=alpha_of(facts, a.shape[0]))


KIND = Kind(
    name="LoRA of an embedding table",
    needed=(frozenset({"lora_embedding_A", "lora_embedding_B"}),),
    read=_read,
    scalars=SCALE_LEAVES,
    additive=True,
)
