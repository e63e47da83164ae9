"""Seat: where in the real model the weight of an outside name lies: a module, and which rows of it or of the file's.

Data only. Most names mean one whole module. A fused ``qkv`` has one seat in each of ``to_q``, ``to_k`` and ``to_v``; a
single ``to_q`` of a file may have its seat in some rows of the model's fused weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]
Tree = Mapping[str, Mapping[str, Shape]]  # dotted module name → parameter name ("weight", "bias") → shape
Rows = tuple[tuple[int, int], ...]  # half-open ranges of rows (dimension 0), in the order in which they are wanted


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a module is: the ``component`` ("unet", "text_encoder") and its dotted path in that component's tree."""

    component: str
    module: str


@dataclass(frozen=True, kw_only=True)
class Seat:
    """``take``: the rows of the file's weight (of ``total``) that are this module's, in the module's order; None: all.
    ``into``: the rows of the module's weight that the file's weight is; None: all. Tables leave ``component`` empty.
    """

    module: str
    component: str = ""
    take: Rows | None = None
    total: int | None = None
    into: tuple[int, int] | None = None

    @property
    def place(self) -> Place:
        """The module without the rows."""
        return Place(component=self.component, module=self.module)


Aliases = Mapping[str, tuple[Seat, ...]]  # outside dotted name → where its weight lies
