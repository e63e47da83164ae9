"""Placing: the modules of a file on the modules of a model: by name, then by shape, each place once."""

from __future__ import annotations

import math
from dataclasses import replace

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import Algorithm
from sakuga.lora.algorithms.columns import fitted
from sakuga.lora.formats.layout import Finder
from sakuga.lora.module import Change, Module
from sakuga.tensors.names import NameMap, Seat, Shape

NAMELESS = "no module of this name is in the model"
Region = tuple[float, float, int]  # first row, end, which module of the file


def placed(modules: tuple[Module, ...], find: Finder, names: NameMap) -> tuple[Module, ...]:
    """The modules with their seats in the model, or with the reason why they have none there."""
    return _once_each(tuple(_placed(module, find, names) for module in modules))


def seated(record: Algorithm, seat: Seat) -> Algorithm:
    """The record of what falls on a seat. Raises AdapterDoesNotFit where that cannot be told."""
    return record if seat.take is None or seat.total is None else record.rows(seat.take, seat.total)


def _placed(module: Module, find: Finder, names: NameMap) -> Module:
    spot = find(module.group)
    module = replace(module, seats=spot.seats)
    if module.verdict != "fits":
        return module
    if not spot.seats:
        reason = spot.reason or NAMELESS
        return replace(module, verdict="ignored" if spot.needless else "name", reason=reason)
    if not names.has_shapes:
        return module
    changes = tuple(_as_wide(change, module, names) for change in module.changes)
    for change in changes:
        for seat in module.seats:
            shape = names.shape(seat.place, change.part.kind.parameter)
            if shape is None:
                return replace(module, verdict="bare", reason=f"it has no {change.part.kind.parameter} of its own")
            misfit = _misfit(change, seat, shape)
            if misfit:
                return replace(module, verdict="shape", reason=misfit)
    return replace(module, changes=changes)


def _as_wide(change: Change, module: Module, names: NameMap) -> Change:
    """The change as it acts on the one module that it is of; see ``columns.fitted``."""
    seats = module.seats
    shape = names.shape(seats[0].place, change.part.kind.parameter) if len(seats) == 1 else None
    return change if shape is None else replace(change, record=fitted(change.record, shape))


def _misfit(change: Change, seat: Seat, shape: Shape) -> str | None:
    """Why a change cannot act on its seat, a parameter of this shape or some rows of it."""
    try:
        return seated(change.record, seat).misfit(_rows_shape(shape, seat))
    except AdapterDoesNotFit as problem:
        return problem.title


def _rows_shape(shape: Shape, seat: Seat) -> Shape:
    """The shape of the rows of a weight that a seat means."""
    return shape if seat.into is None else (seat.into[1] - seat.into[0], *shape[1:])


def _once_each(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """Two names for one weight of the model in one file: both are refused, for nobody can say which is meant."""
    regions: dict[tuple[str, str, str], list[Region]] = {}
    for index, module in enumerate(modules):
        if module.verdict == "fits":
            for seat in module.seats:
                first, end = seat.into or (0, math.inf)
                for parameter in {change.part.kind.parameter for change in module.changes}:
                    regions.setdefault((seat.component, seat.module, parameter), []).append((first, end, index))
    twice = {index for members in regions.values() if len(members) > 1 for index in _overlapping(members)}
    return tuple(
        replace(module, verdict="broken", reason=f"two of its names mean {module.seats[0].module}")
        if index in twice
        else module
        for index, module in enumerate(modules)
    )


def _overlapping(regions: list[Region]) -> set[int]:
    """The modules of which some rows are another's too."""
    found: set[int] = set()
    reached, last = -1.0, -1
    for first, end, index in sorted(regions):
        if first < reached and index != last:
            found |= {index, last}
        if end > reached:
            reached, last = end, index
    return found
