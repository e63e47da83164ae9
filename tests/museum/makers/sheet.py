"""Sheet: a file of a layout whose producer is no package here, written down as a list of its keys and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

ALIKE = ("chroma", "flux", "hunyuan-video")  # what diffusers calls their attention is the same
SIZED = ("chroma", "flux", "flux2", "hunyuan-video", "qwen-image")  # an attention of 3072 features tells no more
KOHYA, PEFT = ("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight")
DOT = ("lora.down.weight", "lora.up.weight")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One file as a list: pairs as (stem, rows, features) with the leaves of its producer, and single tensors."""

    layout: str
    table: str
    guess: Any
    leaves: tuple[str, str] = KOHYA
    pairs: tuple[tuple[str, int, int], ...] = ()
    alphas: bool = True
    more: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    algorithms: tuple[str, ...] = ("LoRA",)
    refused: int = 0
    ignored: int = 0
    pickled: bool = False

    def tensors(self) -> dict[str, Tensor]:
        """What is in the file."""
        found: dict[str, Tensor] = {}
        for stem, rows, features in self.pairs:
            found[f"{stem}.{self.leaves[0]}"] = torch.zeros(4, features, dtype=torch.bfloat16)
            found[f"{stem}.{self.leaves[1]}"] = torch.zeros(rows, 4, dtype=torch.bfloat16)
            if self.alphas:
                found[f"{stem}.alpha"] = torch.tensor(2.0, dtype=torch.bfloat16)
        found |= {key: torch.zeros(shape) for key, shape in self.more.items()}
        return found | {key: torch.tensor(number) for key, number in self.numbers.items()}
