"""StackWeight: how strongly one adapter of a stack acts. Plain numbers; what they follow is decided elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sakuga.errors import SakugaError


@dataclass(frozen=True, kw_only=True)
class StackWeight:
    """How strongly an adapter acts: 0 leaves the very bytes, 1 is as trained, negative weights are legal.

    Raises SakugaError when one is not a finite number.
    """

    unet: float = 1.0
    text_encoder: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.unet) and math.isfinite(self.text_encoder)):
            raise SakugaError("an adapter's weight is not a finite number", given=f"{self}")

    def on(self, component: str) -> float:
        """The weight on a component: every ``text_encoder…`` goes by the second, all others by the first."""
        return self.text_encoder if component.startswith("text_encoder") else self.unet
