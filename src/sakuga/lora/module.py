"""Module: one module of an adapter file by itself: which algorithms read it, and whether it is sound. From the header
and the leaves that are one number; no factor is read and no model is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import NO_FACTS, SCALARS, Algorithm, Choice, Facts, Part, Shape, choose
from sakuga.lora.family import Extent
from sakuga.lora.formats import Group, Header
from sakuga.tensors.names import Seat

# "fits" also when no model was given to hold it against; all others but "ignored" are refusals: "numbers" are not
# finite, "name" is not in the model, "bare" is a layer without such a parameter, "shape" one of another shape.
Verdict = Literal["fits", "ignored", "algorithm", "broken", "numbers", "name", "bare", "shape"]
HUGE = 1e300  # whole numbers of a pickle may be beyond any float
SILENT = "alpha is 0: without effect"
FLOATS = frozenset({"F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"})
Form = tuple[tuple[str, Shape, str], ...]  # leaf, shape and number format of each key; no format: not a tensor
WHOLE = frozenset({"I8", "I16", "I32", "I64", "U8", "BOOL"})  # indices, and scalars such as alpha and on_input


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """One part of a module and its record, made of meta factors: shapes, no values."""

    part: Part
    record: Algorithm


@dataclass(frozen=True, kw_only=True, eq=False)
class Module:
    """One module of the file. ``reason`` is empty when it fits; ``seats`` are empty when no model was given."""

    group: Group
    verdict: Verdict
    reason: str = ""
    algorithm: str = ""
    changes: tuple[Change, ...] = ()
    seats: tuple[Seat, ...] = ()
    facts: Facts = NO_FACTS
    extent: Extent = (None, None)

    @property
    def refused(self) -> bool:
        """Whether it would have had an effect and has none."""
        return self.verdict not in ("fits", "ignored")

    @property
    def rank(self) -> int | None:
        """The rank of its first change that has one."""
        return next((change.record.rank for change in self.changes if change.record.rank is not None), None)


class Sounding:
    """Asks the groups of files, one after another, whether they are sound. What depends on shapes and scales alone is
    thought about once for all modules that have the same.
    """

    def __init__(self) -> None:
        self._forms: dict[Form, tuple[Choice, Extent]] = {}
        self._changes: dict[tuple[object, ...], tuple[Change, ...] | str] = {}

    def module(self, file: Header, group: Group) -> Module:
        """One group by itself: is it sound, and which algorithms read it?"""
        form = tuple(
            (leaf, (), "") if key in file.extras else (leaf, file.shape(key), file.dtype(key))
            for leaf, key in group.leaves.items()
        )
        choice, extent = self._forms.get(form) or self._forms.setdefault(form, _looked_at(form))
        broken = Module(group=group, verdict="broken", reason=group.problem, algorithm=choice.name, extent=extent)
        if group.problem:
            return broken
        if not choice.parts:
            return replace(broken, verdict="algorithm", reason=choice.reason)
        defect = next((f"{group.leaves[leaf]} {text}" for leaf, text in _defects(form, choice)), "")
        if defect:
            return replace(broken, reason=defect)
        try:
            facts = _facts(file, group)
        except _NotFinite as problem:
            return replace(broken, verdict="numbers", reason=problem.title)
        except AdapterDoesNotFit as problem:
            return replace(broken, reason=problem.title)
        changes = self._changed(form, choice, facts)
        if isinstance(changes, str):
            return replace(broken, reason=changes)
        silent = facts.alpha == 0 and all(change.part.kind.silent_at_zero for change in changes)
        reason = SILENT if silent else ""
        return replace(broken, verdict="ignored" if silent else "fits", reason=reason, changes=changes, facts=facts)

    def _changed(self, form: Form, choice: Choice, facts: Facts) -> tuple[Change, ...] | str:
        """The changes of a module of this form, or why there are none."""
        known = (form, facts.alpha, facts.dialect, tuple(facts.options.items()))
        if known not in self._changes:
            meta = {leaf: torch.empty(shape, device="meta") for leaf, shape, _ in form if leaf not in SCALARS}
            try:
                changes = tuple(Change(part=part, record=record_of(part, meta, facts)) for part in choice.parts)
                self._changes[known] = changes
            except AdapterDoesNotFit as problem:
                self._changes[known] = problem.title
        return self._changes[known]


def module_of(file: Header, group: Group) -> Module:
    """``Sounding.module`` for a single group."""
    return Sounding().module(file, group)


def _looked_at(form: Form) -> tuple[Choice, Extent]:
    shapes = {leaf: shape for leaf, shape, _ in form}
    return choose(shapes), _extent(shapes)


def _defects(form: Form, choice: Choice) -> Iterator[tuple[str, str]]:
    """(leaf, what is wrong with its numbers) for the factors that no algorithm can read."""
    whole_numbers = frozenset().union(*(part.kind.whole_numbers for part in choice.parts))
    for leaf, _, dtype in form:
        if leaf in SCALARS or dtype in (WHOLE if leaf in whole_numbers else FLOATS):
            continue
        yield leaf, f"has {dtype} numbers" if dtype else "is not a tensor"


def record_of(part: Part, tensors: Mapping[str, torch.Tensor], facts: Facts) -> Algorithm:
    """The record of a part from its tensors by leaf, real or meta. Raises AdapterDoesNotFit."""
    return part.kind.read({leaf: tensors[leaf] for leaf in part.leaves}, facts)


def _facts(file: Header, group: Group) -> Facts:
    """The module's scalar leaves, before what a config says. Raises AdapterDoesNotFit when one is not one number."""
    options = dict(group.facts.options)
    alpha = group.facts.alpha
    for leaf in SCALARS & group.leaves.keys():
        value = _scalar(file, leaf, group.leaves[leaf])
        if leaf == "alpha":
            alpha = value
        else:
            options[leaf] = value
    return replace(group.facts, alpha=alpha, options=options)


class _NotFinite(AdapterDoesNotFit):
    """A scalar is NaN or infinite."""


def _scalar(file: Header, leaf: str, key: str) -> float:
    if key in file.extras:
        value = file.extras[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AdapterDoesNotFit(f"{leaf} is {value!r}"[:60])
    elif file.shape(key) not in ((), (1,)) or file.dtype(key) not in FLOATS | WHOLE:
        raise AdapterDoesNotFit(f"{leaf} is not one number but {list(file.shape(key))} of {file.dtype(key)}")
    else:
        value = file.tensor(key).item()
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotFinite(f"{leaf} is {value!r}")
    if not abs(value) < HUGE:
        raise AdapterDoesNotFit(f"{leaf} is {value!r}"[:60])
    return float(value)


def _extent(shapes: Mapping[str, Shape]) -> Extent:
    """The rows and the features of the weight that is changed, where plain factors tell."""
    for out, into in (("up", "down"), ("hada_w1_a", "hada_w1_b")):
        rows, features = shapes.get(out, ()), shapes.get(into, ())
        if len(features) > 1 and "hada_t1" not in shapes:
            return (rows[0] if rows else None, features[1])
    if len(shapes.get("diff", ())) > 1:
        return shapes["diff"][0], shapes["diff"][1]
    halves = [_whole(shapes, f"lokr_w{number}") for number in (1, 2)]
    if all(halves) and "lokr_t2" not in shapes:
        return math.prod(half[0] for half in halves), math.prod(half[1] for half in halves)
    return None, None


def _whole(shapes: Mapping[str, Shape], name: str) -> Shape:
    """The shape of one half of a LoKr, stored whole or as a product; empty when it is not there."""
    whole = shapes.get(name, ())
    left, right = shapes.get(f"{name}_a", ()), shapes.get(f"{name}_b", ())
    return whole[:2] if len(whole) > 1 else (left[0], right[1]) if min(len(left), len(right)) > 1 else ()
