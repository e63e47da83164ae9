"""Gather: what several adapters change, brought together module by module, whatever each file calls it.

A fused module (q, k and v as one) stays whole where all files have it so; otherwise each falls into its parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import Algorithm, Factors
from sakuga.lora.algorithms.columns import fitted
from sakuga.lora.algorithms.record import Parameter, Shape
from sakuga.lora.blocks import blocks_of
from sakuga.lora.changes import Weigh
from sakuga.lora.module import Change, Module
from sakuga.lora.placing import seated
from sakuga.lora.tools.source import Source, nameless, unlike_shapes
from sakuga.tensors.names import NameMap, Seat


@dataclass(frozen=True, kw_only=True)
class Target:
    """One parameter of what is one module to all files: all that lies on these seats."""

    seats: tuple[Seat, ...]
    parameter: Parameter


@dataclass(frozen=True, kw_only=True, eq=False)
class Use:
    """One change of one file. ``seat``: the part of it that is meant; None: all."""

    source: Source
    module: Module
    change: Change
    seat: Seat | None

    def strength(self) -> float:
        """How strong the source is to be there."""
        seat = self.seat or self.module.seats[0]
        return self.source.strength.on(seat.component, blocks_of(seat.component, seat.module))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sum:
    """All changes of one target at their strengths: those of low rank, and the sum of the others (None: none)."""

    pairs: tuple[Factors, ...]
    whole: Tensor | None
    shape: Shape


def gathered(sources: Sequence[Source], *, split: bool) -> dict[Target, list[Use]]:
    """Everything that the sources change, in their order. ``split``: fused modules always fall into their parts."""
    touching: dict[tuple[str, str], set[tuple[Seat, ...]]] = {}
    for source in sources:
        for module in source.modules:
            for seat in module.seats:
                touching.setdefault((seat.component, seat.module), set()).add(module.seats)

    def whole(seats: tuple[Seat, ...]) -> bool:
        plain = len(seats) == 1 and seats[0].take is None and seats[0].into is None
        return plain or not (split or any(len(touching[seat.component, seat.module]) > 1 for seat in seats))

    found: dict[Target, list[Use]] = {}
    for source in sources:
        for module in source.modules:
            for change in module.changes:
                parameter = change.part.kind.parameter
                if whole(module.seats):
                    use = Use(source=source, module=module, change=change, seat=None)
                    found.setdefault(Target(seats=module.seats, parameter=parameter), []).append(use)
                    continue
                for seat in module.seats:
                    part = Use(source=source, module=module, change=change, seat=seat)
                    own = (Seat(component=seat.component, module=seat.module),)
                    found.setdefault(Target(seats=own, parameter=parameter), []).append(part)
    return found


@dataclass(frozen=True, kw_only=True)
class Summer:
    """Sums the changes of targets. ``weigh`` gives the weights that some algorithms look at; None: there is no base."""

    names: NameMap
    weigh: Weigh | None = None

    def sum(self, target: Target, uses: Sequence[Use]) -> Sum | None:
        """The changes of a target, or None where all strengths are 0. Raises AdapterDoesNotFit."""
        pairs: list[Factors] = []
        whole: Tensor | None = None
        shapes: list[tuple[Source, Shape]] = []
        own = self.names.shape(target.seats[0].place, target.parameter)
        for use, plain, strength in self._records(uses):
            record = plain if own is None else fitted(plain, own)
            pair = None if record.needs_base else record.factors()
            if pair is not None:
                up = _widened(pair.up, use.seat, own)
                pairs.append(Factors(up=up, down=pair.down if strength == 1 else pair.down * strength))
                shapes.append((use.source, (up.shape[0], *pair.down.shape[1:])))
                continue
            change = _widened(record.delta(self._base(target, use, record)) * strength, use.seat, own)
            shapes.append((use.source, tuple(change.shape)))
            _check_shapes(use.module.group.stem, shapes)
            whole = change if whole is None else whole + change.reshape(whole.shape)
        if whole is None and not pairs:
            return None
        _check_shapes(uses[0].module.group.stem, shapes)
        given = [tuple(pair.down.shape[1:]) for pair in pairs] + ([tuple(whole.shape[1:])] if whole is not None else [])
        rest = max(given, key=lambda shape: (len(shape), shape)) if own is None else own[1:]
        rows = whole.shape[0] if whole is not None else pairs[0].up.shape[0]
        return Sum(pairs=tuple(pairs), whole=whole, shape=(rows, *rest))

    def _records(self, uses: Sequence[Use]) -> Iterator[tuple[Use, Algorithm, float]]:
        for use in uses:
            strength = use.strength()
            if strength:
                record = next(record for change, record in use.source.records(use.module) if change is use.change)
                yield use, record if use.seat is None else seated(record, use.seat), strength

    def _base(self, target: Target, use: Use, record: Algorithm) -> Tensor:
        """The weight that a change is computed for; without values where the algorithm asks for none."""
        seats = use.module.seats if use.seat is None else (use.seat,)
        if not record.needs_base:
            return torch.empty(self._base_shape(target, use, seats), device="meta")
        if self.weigh is None:
            raise AdapterDoesNotFit(
                f"{use.module.algorithm} looks at the weights of the base",
                given=f"{use.source.name}, {use.module.group.stem}",
                do="name the base that the result is for with --base",
            )
        rows = [self._weight(seat, target.parameter) for seat in seats]
        return rows[0] if use.seat is not None else _as_in_file(seats, rows)

    def _base_shape(self, target: Target, use: Use, seats: Sequence[Seat]) -> Shape:
        factors = [key for leaf, key in use.module.group.leaves.items() if leaf in use.change.part.leaves]
        if len(factors) == 1 and use.seat is None:
            return use.source.file.shape(factors[0])
        shapes = [(seat, shape) for seat in seats if (shape := self.names.shape(seat.place, target.parameter))]
        if len(shapes) < len(seats):
            raise nameless([use.source])
        spans = (shape[0] if seat.into is None else seat.into[1] - seat.into[0] for seat, shape in shapes)
        return (sum(spans), *shapes[0][1][1:])

    def _weight(self, seat: Seat, parameter: str) -> Tensor:
        weight = self.weigh(seat.component, seat.module, parameter) if self.weigh else None
        if weight is None:
            raise AdapterDoesNotFit(
                "the base lacks a weight",
                given=f"{seat.component}.{seat.module}.{parameter}",
                do="name a whole model that the adapters were made for with --base",
            )
        return weight if seat.into is None else weight[slice(*seat.into)]


def _check_shapes(module: str, shapes: Sequence[tuple[Source, Shape]]) -> None:
    """Raise AdapterDoesNotFit for changes that cannot be of one weight. Kernels of size 1 may be left out."""
    for source, shape in shapes[1:]:
        first = shapes[0][1]
        if shape[0] != first[0] or prod(shape) != prod(first):
            raise unlike_shapes(module, [shapes[0], (source, shape)])


def _as_in_file(seats: Sequence[Seat], rows: Sequence[Tensor]) -> Tensor:
    """The weights of the seats as the one weight that the file means."""
    total = seats[0].total
    if total is None or seats[0].take is None:
        return rows[0]
    whole = rows[0].new_empty((total, *rows[0].shape[1:]))
    for seat, own in zip(seats, rows, strict=True):
        reached = 0
        for first, end in seat.take or ():
            whole[first:end] = own[reached : reached + end - first]
            reached += end - first
    return whole


def _widened(change: Tensor, seat: Seat | None, own: Shape | None) -> Tensor:
    """What changes some rows of a weight, as a change of all of them."""
    if seat is None or seat.into is None or own is None:
        return change
    wide = torch.zeros((own[0], *change.shape[1:]))
    wide[slice(*seat.into)] = change
    return wide
