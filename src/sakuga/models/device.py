"""Placement: on which device and in which number format a model computes. Chosen once, from what this machine has.

Refuses devices that are not there, naming those that are. Half precision on a CPU is honoured in its meaning (a smaller
model file) and computed in float32, because arithmetic in it is hundreds of times slower there; ``note`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sakuga.errors import DeviceError, nearest_name

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The device, the number format of UNet, controls and motion, and what the user should be told about the choice."""

    device: torch.device
    dtype: torch.dtype
    note: str | None = None

    @property
    def full(self) -> torch.dtype:
        """The number format of the parts that are small or delicate, text encoder and codec: always float32."""
        return torch.float32


def resolve(device: str = "auto", dtype: str = "auto") -> Placement:
    """The placement for two words of a Job: "auto", "cpu", "cuda", "cuda:1", "mps" and "auto", "fp32", "bf16", "fp16".

    "auto" takes the fastest device there is; there float16 on CUDA and float32 elsewhere. Raises DeviceError.
    """
    chosen = _device(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise DeviceError(
            "no such number format",
            given=dtype,
            expected=f"auto, {', '.join(DTYPES)}",
            nearest=nearest_name(dtype, DTYPES),
        )
    if dtype == "auto":
        return Placement(device=chosen, dtype=torch.float16 if chosen.type == "cuda" else torch.float32)
    if chosen.type == "cpu" and dtype == "fp16":
        note = "fp16 was asked for and fp32 is computed: fp16 arithmetic on a CPU is hundreds of times slower"
        return Placement(device=chosen, dtype=torch.float32, note=note)
    return Placement(device=chosen, dtype=DTYPES[dtype])


def available() -> tuple[str, ...]:
    """The devices of this machine, the fastest first."""
    cuda = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) if torch.cuda.is_available() else ()
    mps = ("mps",) if torch.backends.mps.is_available() else ()
    return (*cuda, *mps, "cpu")


def _device(word: str) -> torch.device:
    present = available()
    if word == "auto":
        return torch.device(present[0])
    full = "cuda:0" if word == "cuda" else word
    if full in present:
        return torch.device(full)
    raise DeviceError(
        f"this machine has no device {word!r}",
        given=word,
        expected=f"auto or one of {', '.join(present)}",
        nearest=nearest_name(word, present),
        do="choose another device, or auto",
    )
