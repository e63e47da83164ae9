"""StackWeight: how strongly one adapter of a stack acts. Plain numbers; what they follow is decided elsewhere."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real

from sakuga.errors import SakugaError, nearest_name
from sakuga.lora.blocks import BLOCKS

STRONGEST = 20.0  # factor of a block, as in a job


@dataclass(frozen=True, kw_only=True)
class StackWeight:
    """How strongly an adapter acts: 0 leaves the very bytes, 1 is as trained, negative weights are legal.

    ``blocks``: factors of single blocks by name (``blocks.listed``, ``preset``, ``of_levels``); the others keep 1.
    Weights are finite; factors are from -20 to 20. Raises SakugaError for others, and for a block that no model has.
    """

    unet: float = 1.0
    text_encoder: float = 1.0
    blocks: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.blocks, Mapping):
            raise SakugaError(
                "block weights are a table of factors by name",
                given=reprlib.repr(self.blocks),
                expected='such as {"IN04": 0.5, "OUT03": 0}',
                do="make one of a list, a preset or levels with listed, preset or of_levels of sakuga.lora.blocks",
            )
        for what, number in {"unet": self.unet, "text_encoder": self.text_encoder}.items():
            check_number(what, number)
        for name, factor in self.blocks.items():
            check_number(name, factor, most=STRONGEST)
            if name not in BLOCKS:
                raise SakugaError(
                    "no such block",
                    given=str(name),
                    expected="BASE, IN00 … IN11, M00, OUT00 … OUT11; of Flux CLIP, T5, IN, D00 … D18, S00 … S37, OUT",
                    nearest=nearest_name(str(name), BLOCKS),
                )

    @classmethod
    def of(cls, given: StackWeight | float) -> StackWeight:
        """The weight itself, or one of a number that is for both models. Raises SakugaError for anything else."""
        return given if isinstance(given, StackWeight) else cls(unet=given, text_encoder=given)

    def on(self, component: str, blocks: Sequence[str] = ()) -> float:
        """The weight on a layer: every ``text_encoder…`` goes by the second number, all others by the first.

        ``blocks`` are the names of the layer's block, ``blocks_of(component, module)``.
        """
        return (self.text_encoder if component.startswith("text_encoder") else self.unet) * self.factor(blocks)

    def factor(self, blocks: Sequence[str]) -> float:
        """What the block weights make of a layer's weight."""
        return next((self.blocks[name] for name in blocks if name in self.blocks), 1.0)


def check_number(what: object, number: object, *, most: float = math.inf) -> None:
    """Raise SakugaError for what is no number, and for one that is not finite, or beyond ``most`` in either way."""
    if not isinstance(number, Real):
        raise SakugaError(
            "an adapter's weight is no number",
            given=f"{what}: {reprlib.repr(number)}",
            expected="a plain number, such as 0.8, or a StackWeight of them",
            do="give float(…) of it, if it is a number in another form",
        )
    try:
        finite = math.isfinite(number)
    except OverflowError:  # a whole number beyond any float
        finite = False
    if not finite:
        raise SakugaError(
            "an adapter's weight is not a finite number",
            given=f"{what}: {reprlib.repr(number)}",
            expected="a plain number, such as 0.8",
            do="give another weight",
        )
    if abs(float(number)) > most:
        raise SakugaError(
            "a block weight is too strong",
            given=f"{what}: {reprlib.repr(number)}",
            expected=f"from -{most:g} to {most:g}: it multiplies the adapter's weight",
            do="try 1, and go on in small steps",
        )
