"""A header without a file, and a row of the catalogue of layouts that gives one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

LEAVES: Mapping[str, tuple[str, str]] = {
    "kohya": ("lora_down.weight", "lora_up.weight"),
    "peft": ("lora_A.weight", "lora_B.weight"),
    "named": ("lora_A.default.weight", "lora_B.default.weight"),
    "dot": ("lora.down.weight", "lora.up.weight"),
    "bare": ("lora.down", "lora.up"),
    "plain": ("down.weight", "up.weight"),
    "hcp": ("___.layer.W_down", "___.layer.W_up"),
    "lokr": ("lokr_w1", "lokr_w2"),
    "oft": ("oft_blocks", "alpha"),
}


class Listed:
    """A header as a table of names and shapes."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str] | None = None) -> None:
        self.path, self.metadata = Path("adapter.safetensors"), dict(metadata or {})
        self.shapes, self.names = dict(shapes), tuple(shapes)
        self.extras: Mapping[str, object] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def dtype(self, name: str) -> str:
        return "F32"

    def tensor(self, name: str) -> Tensor:
        return torch.ones(self.shapes[name])


@dataclass(frozen=True, kw_only=True)
class Row:
    """``modules``: "stem | rows x features | component.module …" with a place for each part of a fused weight."""

    leaves: str
    families: str
    modules: tuple[str, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def listed(self) -> Listed:
        shapes: dict[str, tuple[int, ...]] = {}
        for line in self.modules:
            stem, size, _ = line.split(" | ")
            rows, features = map(int, size.split("x"))
            pair = ((2, features), (rows, 2))
            pair = ((2, 2), (rows // 2, features // 2)) if self.leaves == "lokr" else pair
            pair = ((rows // 4, 4, 4), ()) if self.leaves == "oft" else pair
            shapes |= {f"{stem}.{leaf}": shape for leaf, shape in zip(LEAVES[self.leaves], pair, strict=True)}
        return Listed(shapes, self.metadata)

    def places(self) -> list[list[str]]:
        return [line.split(" | ")[2].split() for line in self.modules]
