"""Plan: for each tensor, whether it is changed itself (fused) or its layer adds the change to its output (live), with
the reason; and what memory a stack will need. Pure: looks at targets and numbers, changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from sakuga.errors import AdapterDoesNotFit, SakugaError
from sakuga.lora.algorithms import Algorithm
from sakuga.lora.algorithms.columns import NOT_BESIDE, wide_shape
from sakuga.lora.algorithms.ia3 import Ia3
from sakuga.lora.algorithms.tlora import TLora
from sakuga.lora.targets import Target

FUSED = "its weights are single numbers"
VARIES = "a weight differs inside a batch"
ASKED = "live was asked for"
_LIVE_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.Embedding)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How one tensor is changed, and why."""

    live: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes that a stack takes beside the model, by device: ``fresh`` for fused weights (the pristine ones stay where
    they are), ``factors`` for live layers, in fp32.
    """

    fresh: Mapping[str, int] = field(default_factory=dict)
    factors: Mapping[str, int] = field(default_factory=dict)

    def total(self, device: str) -> int:
        """All bytes on a device."""
        return self.fresh.get(device, 0) + self.factors.get(device, 0)


def decide(target: Target, varying: Collection[int], live: bool) -> Way:
    """Fused or live. ``varying`` are the entries of the stack whose weight differs inside a batch; ``live``: wanted
    wherever it is possible. Raises AdapterDoesNotFit where it must be live and cannot.
    """
    varies = any(use.entry in varying and not use.component.startswith("text_encoder") for use in target.uses)
    reason = target.unwritable or (VARIES if varies else ASKED if live else "")
    obstacle = _obstacle(target) if reason else None
    if obstacle and reason != ASKED:
        raise AdapterDoesNotFit(
            "a layer cannot add its adapters to its output",
            given=f"{target.names[0]}: {reason}, so they cannot be put into its {target.kind}; {obstacle}",
            do="give the adapter one weight, or keep this layer in fp16, bf16 or fp32",
        )
    if not reason or obstacle:
        return Way(live=False, reason=obstacle or FUSED)
    return Way(live=True, reason=reason)


def _obstacle(target: Target) -> str | None:
    """Why the layers that hold a tensor cannot run live; None when they can."""
    if wide_shape(target.shape, [use.record for use in target.uses]) != target.shape:
        return NOT_BESIDE
    for holder in target.holders:
        layer, around = holder.module, type(holder.parent).__name__
        if isinstance(holder.parent, nn.MultiheadAttention | nn.TransformerEncoderLayer):
            return f"{around} reads the weights of its layers and does not call them"
        if isinstance(layer, torch.jit.ScriptModule):
            return "it is a scripted module"
        if not isinstance(layer, _LIVE_LAYERS) and not (target.unwritable and hasattr(layer, "out_features")):
            return f"{type(layer).__name__} has no live form"
    return None


def needs(targets: Sequence[Target], ways: Mapping[Target, Way], reread: Collection[Target] = ()) -> Needs:
    """What these targets will take, changed in these ways. Of those that are ``reread`` one is in memory at a time."""
    fresh: Counter[str] = Counter()
    factors: Counter[str] = Counter()
    largest: Counter[str] = Counter()
    for target in targets:
        device = str(_device(target))
        if not ways[target].live:
            size = target.parameters[0].element_size() if target.parameters else 4
            shape = wide_shape(target.shape, [use.record for use in target.uses])
            nbytes = math.prod(shape) * size
            if target in reread:
                largest[device] = max(largest[device], nbytes)
            else:
                fresh[device] += nbytes
            continue
        around = target.shape[0] + math.prod(target.shape[1:])
        for use in target.uses:
            rank = None if is_dense(use.record) else use.record.rank
            factors[device] += 4 * around * rank if rank else 4 * math.prod(target.shape)
    return Needs(fresh=dict(fresh + largest), factors=dict(factors))


def is_dense(record: Algorithm) -> bool:
    """Whether a live layer keeps the whole change: computed from the base once, not in every call. T-LoRA is a pair
    once its base is known; IA3 multiplies channels, which takes no memory at all.
    """
    return record.needs_base and not isinstance(record, TLora | Ia3)


def lacking(wanted: Needs) -> dict[str, tuple[int, int]]:
    """Device → (bytes wanted, bytes free), for devices that have not the memory. Where the system does not say what is
    free, nothing lacks.
    """
    found = {}
    for device in {*wanted.fresh, *wanted.factors}:
        free = free_bytes(torch.device(device))
        if free is not None and wanted.total(device) > free:
            found[device] = wanted.total(device), free
    return found


def check_room(wanted: Needs) -> None:
    """Raise SakugaError when a device has not the memory that is wanted."""
    for device, (_, free) in lacking(wanted).items():
        raise SakugaError(
            "there is not enough memory for these adapters",
            given=f"{mib(wanted.fresh.get(device, 0))} of changed weights and "
            f"{mib(wanted.factors.get(device, 0))} of factors on {device}",
            expected=f"at most {mib(free)}, which is what is free there",
            do="take fewer adapters, or a number format of half the size",
        )


def free_bytes(device: torch.device) -> int | None:
    """The memory that is free on a device; None where that is not known."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    listing = Path("/proc/meminfo")
    if device.type != "cpu" or not listing.exists():
        return None
    for line in listing.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _device(target: Target) -> torch.device:
    if target.parameters:
        return target.parameters[0].device
    tensors = [*target.holders[0].module.parameters(), *target.holders[0].module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


def mib(size_bytes: int) -> str:
    """Bytes as people read them."""
    return f"{size_bytes / 2**20:.0f} MiB"
