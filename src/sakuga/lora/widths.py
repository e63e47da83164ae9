"""Widths: whether an adapter is of the base's family but for a model of another width. Shapes alone decide it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sakuga.lora.module import Module
from sakuga.tensors.names import NameMap

ENOUGH = 3  # layers of another shape; a whole model's width shows in many, a mistake in one
SHOWN = 4  # widths that are told


@dataclass(frozen=True, kw_only=True)
class Widths:
    """``pairs`` are (features that the adapter's layer takes, features that the base's layer takes), sorted."""

    narrower: bool
    pairs: tuple[tuple[int, int], ...]

    @property
    def word(self) -> str:
        """What the base is, beside what the adapter was made for."""
        return "narrower" if self.narrower else "wider"

    @property
    def told(self) -> str:
        """The widths of both, in words."""
        pairs = ", ".join(f"{own} where the adapter has {given}" for given, own in self.pairs[:SHOWN])
        return f"{pairs} and so on" if len(self.pairs) > SHOWN else pairs


def widths_of(modules: Iterable[Module], names: NameMap) -> Widths | None:
    """The widths, where every layer of another shape is narrower in the base, or every one wider; else None.

    Only layers whose rows and features are known count: those of plain factors that mean a whole layer.
    """
    sizes = []
    for module in modules:
        rows, features = module.extent
        if module.verdict != "shape" or rows is None or features is None or len(module.seats) != 1:
            continue
        shape = names.shape(module.seats[0].place, "weight")
        if shape is not None and len(shape) > 1 and module.seats[0].into is None:
            sizes.append(((rows, features), (shape[0], shape[1])))
    if len(sizes) < ENOUGH:
        return None
    narrower = all(own[0] <= given[0] and own[1] <= given[1] for given, own in sizes)
    wider = all(own[0] >= given[0] and own[1] >= given[1] for given, own in sizes)
    pairs = sorted({(given[1], own[1]) for given, own in sizes if given[1] != own[1]})
    return Widths(narrower=narrower, pairs=tuple(pairs)) if narrower != wider and pairs else None
