"""StackWeight: how strongly one adapter of a stack acts. Plain numbers; what they follow is decided elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sakuga.errors import SakugaError, nearest_name
from sakuga.lora.blocks import BLOCKS


@dataclass(frozen=True, kw_only=True)
class StackWeight:
    """How strongly an adapter acts: 0 leaves the very bytes, 1 is as trained, negative weights are legal.

    ``blocks``: factors of single blocks by name (``blocks.listed``, ``preset``, ``of_levels``); the others keep 1.
    Raises SakugaError when a number is not finite, or for a block that no model has.
    """

    unet: float = 1.0
    text_encoder: float = 1.0
    blocks: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.unet, self.text_encoder, *self.blocks.values()))):
            raise SakugaError("an adapter's weight is not a finite number", given=f"{self}")
        for name in self.blocks:
            if name not in BLOCKS:
                raise SakugaError("no such block", given=name, nearest=nearest_name(name, BLOCKS))

    def on(self, component: str, blocks: Sequence[str] = ()) -> float:
        """The weight on a layer: every ``text_encoder…`` goes by the second number, all others by the first.

        ``blocks`` are the names of the layer's block, ``blocks_of(component, module)``.
        """
        return (self.text_encoder if component.startswith("text_encoder") else self.unet) * self.factor(blocks)

    def factor(self, blocks: Sequence[str]) -> float:
        """What the block weights make of a layer's weight."""
        return next((self.blocks[name] for name in blocks if name in self.blocks), 1.0)
