"""How strong an adapter's changes are: their size beside the weights they change, by block, and whether two are alike.

Works on one module at a time, from the factors of low rank where an algorithm has them, so that no change is ever
formed only to be measured. Without a base's weights, only changes that need none can be measured; the rest is counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import SCALARS, Algorithm, Factors
from sakuga.lora.blocks import blocks_of
from sakuga.lora.survey import Module, Survey, record_of, seated
from sakuga.tensors.file import TensorFile
from sakuga.tensors.seat import Seat

TWIN = 0.999  # the cosine of two changes above which they are one and the same for all purposes

# (component, module, "weight" or "bias") → the base's own tensor, or None where it has none
Weigh = Callable[[str, str, str], Tensor | None]
_BLOCK = re.compile(r".*?[._]\d+(?=[._]|$)")


@dataclass(frozen=True, kw_only=True)
class Spot:
    """What a change is about: a parameter of a module, or ``rows`` of it. Without a base, the names are the file's."""

    component: str
    module: str
    parameter: str
    rows: Hashable = None

    @property
    def block(self) -> str:
        """The block by the name that block weights have for it; where it has none, the name up to the first number.

        >>> Spot(component="unet", module="down_blocks.1.attentions.0.proj_in", parameter="weight").block
        'IN04'
        """
        known = blocks_of(self.component, self.module)
        if known:
            return known[-1]
        match = _BLOCK.match(self.module)
        inner = match[0] if match else self.module
        return f"{self.component}.{inner}" if self.component else inner

    @property
    def name(self) -> str:
        """The module, with the parameter where that is not the weight."""
        whole = f"{self.component}.{self.module}" if self.component else self.module
        return whole if self.parameter == "weight" else f"{whole} ({self.parameter})"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One change: Frobenius norms of ΔW and, where a base was given, of W."""

    change: float
    weight: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All changes of a file. ``unmeasured`` counts those that could not be measured, by reason."""

    measures: Mapping[Spot, Measure]
    unmeasured: Mapping[str, int]

    @property
    def change(self) -> float:
        """The norm of all changes together."""
        return math.sqrt(sum(one.change**2 for one in self.measures.values()))


@dataclass(kw_only=True)
class Changes:
    """The changes of one file, read when they are asked for. ``weigh`` None: there is no base."""

    file: TensorFile
    found: Survey
    weigh: Weigh | None = None
    _spots: dict[Spot, tuple[Module, int, Seat | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module in self.found.modules:
            for index, change in enumerate(module.changes if module.verdict == "fits" else ()):
                parameter = change.part.kind.parameter
                for seat in module.seats or ((None,) if self.found.names is None else ()):
                    spot = _spot(module, parameter, seat)
                    self._spots[spot] = (module, index, seat)

    @property
    def spots(self) -> tuple[Spot, ...]:
        """What the file changes: places of the model where one was given, else the names of its modules."""
        return tuple(self._spots)

    def measured(self) -> Measured:
        """The norms of all changes."""
        measures: dict[Spot, Measure] = {}
        unmeasured: dict[str, int] = {}
        with torch.no_grad():
            for spot in self._spots:
                try:
                    weight = self._weight(spot)
                    change = _norm(self.change(spot, weight))
                except AdapterDoesNotFit as problem:
                    unmeasured[problem.title] = unmeasured.get(problem.title, 0) + 1
                    continue
                size = None if weight is None else float(torch.linalg.vector_norm(weight.double()))
                measures[spot] = Measure(change=change, weight=size)
        return Measured(measures=measures, unmeasured=unmeasured)

    def change(self, spot: Spot, weight: Tensor | None = None) -> Factors | Tensor:
        """The change at strength 1, as a pair where it is one. Raises AdapterDoesNotFit where it cannot be told."""
        record = self._record(spot)
        pair = None if record.needs_base else record.factors()
        if pair is not None:
            return pair
        base = weight if weight is not None else self._weight(spot)
        if base is None:
            raise AdapterDoesNotFit("the change depends on the weights of a base, and none was given")
        return record.delta(base)

    def _record(self, spot: Spot) -> Algorithm:
        module, index, seat = self._spots[spot]
        keys = {leaf: key for leaf, key in module.group.leaves.items() if leaf not in SCALARS}
        part = module.changes[index].part
        tensors = {leaf: self.file.tensor(keys[leaf]) for leaf in part.leaves}
        record = record_of(part, tensors, module.facts)
        return record if seat is None else seated(record, seat)

    def _weight(self, spot: Spot) -> Tensor | None:
        if self.weigh is None:
            return None
        seat = self._spots[spot][2]
        weight = self.weigh(spot.component, spot.module, spot.parameter)
        return weight if weight is None or seat is None or seat.into is None else weight[slice(*seat.into)]


def cosine(one: Changes, other: Changes, first: Measured, second: Measured) -> float:
    """The cosine of the angle between two files' changes, each taken as one long vector.

    Where the norms alone show that they are no twins, what is returned is the most that the cosine can be.
    """
    both = first.measures.keys() & second.measures.keys()
    sizes = first.change * second.change
    if not sizes:
        return 0.0
    most = sum(first.measures[spot].change * second.measures[spot].change for spot in both) / sizes
    if most <= TWIN:
        return most
    with torch.no_grad():
        return sum(_inner(one.change(spot), other.change(spot)) for spot in both) / sizes


def not_finite(file: TensorFile) -> tuple[str, ...]:
    """The tensors that hold a number that is none."""

    def odd() -> Iterator[str]:
        for name, tensor in file.tensors():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
                yield name

    return tuple(odd())


def _spot(module: Module, parameter: str, seat: Seat | None) -> Spot:
    group = module.group
    if seat is None:
        # a module may be written in slices: each has keys of its own
        own = min((key for leaf, key in group.leaves.items() if leaf not in SCALARS), default=None)
        return Spot(component=group.component or "", module=group.path, parameter=parameter, rows=own)
    return Spot(component=seat.component, module=seat.module, parameter=parameter, rows=seat.into)


def _norm(change: Factors | Tensor) -> float:
    return math.sqrt(max(0.0, _inner(change, change)))


def _inner(one: Factors | Tensor, other: Factors | Tensor) -> float:
    """The sum of the products of all numbers of two changes, in double precision."""
    if isinstance(one, Factors) and isinstance(other, Factors):
        up = one.up.double().T @ other.up.double()
        down = one.down.flatten(1).double() @ other.down.flatten(1).double().T
        return float((up * down).sum())
    return float((_dense(one) * _dense(other)).sum())


def _dense(change: Factors | Tensor) -> Tensor:
    if isinstance(change, Factors):
        return (change.up.double() @ change.down.flatten(1).double()).flatten()
    return change.double().flatten()
