"""Survey: what an adapter file holds and which of its modules fit, from the header alone (and alpha, which is a number
of a few bytes). Factors are not read here and nothing is decided about the file as a whole; ``fit`` does that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.adapter import Leftover
from sakuga.lora.algorithms import Algorithm, Kind, choose
from sakuga.lora.family import FamilyGuess, guess_family
from sakuga.lora.formats import Format, Group, Header, recognise
from sakuga.tensors.names import NameMap, Place

# "fits" also when no model was given to hold it against; all others but "ignored" are refusals.
Verdict = Literal["fits", "ignored", "algorithm", "broken", "name", "shape"]
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
HUGE = 1e300  # whole numbers of a pickle may be beyond any float
NUMBERS = FLOATS | {"I8", "I16", "I32", "I64", "U8"}  # alpha is sometimes a whole number


@dataclass(frozen=True, kw_only=True, eq=False)
class Module:
    """One module of the file. ``record`` has meta factors (shapes, no values); ``reason`` is empty when it fits."""

    group: Group
    verdict: Verdict
    reason: str = ""
    algorithm: str = ""
    kind: Kind | None = None
    place: Place | None = None
    record: Algorithm | None = None
    alpha: float | None = None

    @property
    def refused(self) -> bool:
        """Whether it would have had an effect and has none."""
        return self.verdict not in ("fits", "ignored")


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """A whole file. ``beside`` are the keys of no module; ``names`` and ``shapes`` are a model's, if one was given."""

    path: Path
    layout: str
    layout_reason: str
    family: FamilyGuess
    metadata: Mapping[str, str]
    modules: tuple[Module, ...]
    beside: tuple[Leftover, ...]
    notes: tuple[str, ...]
    config: str
    total_keys: int
    names: NameMap | None
    shapes: Mapping[Place, tuple[int, ...]] | None

    def leftovers(self) -> tuple[Leftover, ...]:
        """Every key that is not used, with its reason."""
        of_modules = (
            Leftover(key=key, reason=module.reason, refused=module.refused)
            for module in self.modules
            if module.verdict != "fits"
            for key in module.group.keys
        )
        return (*of_modules, *self.beside)

    def remarks(self) -> tuple[str, ...]:
        """Notes about the file, and the remarks about its modules, each once with how many modules it is about."""
        of_modules = Counter(text for module in self.modules if module.record for text in module.record.remarks())
        zero = sum(module.verdict == "ignored" for module in self.modules)
        silent = (f"alpha is 0 in {_modules(zero)}: without effect",) if zero else ()
        return (*self.notes, *(f"{text} ({_modules(count)})" for text, count in of_modules.items()), *silent)


def survey(file: Header, names: NameMap | None = None, shapes: Mapping[Place, tuple[int, ...]] | None = None) -> Survey:
    """What the file holds. With ``names``, where it fits; with ``shapes`` of the model's weights, whether it does.

    Raises UnknownFile or AdapterDoesNotFit when the file is no adapter known here, UnreadableFile when it is broken.
    """
    layout, why = recognise(file)
    reading = layout.read(file)
    modules = tuple(_module(file, group) for group in reading.groups)
    if names is not None:
        components = tuple(dict.fromkeys(component for component, _ in names.dotted))
        modules = tuple(_placed(module, layout, names, components, shapes) for module in modules)
        modules = _once_each(modules)
    evidence = ((module.group.stem, _width(file, module.group)) for module in modules)
    return Survey(
        path=file.path,
        layout=layout.name,
        layout_reason=why,
        family=guess_family(evidence, file.metadata),
        metadata=file.metadata,
        modules=modules,
        beside=reading.leftovers,
        notes=reading.notes,
        config=reading.config,
        total_keys=len(file.names) + len(file.extras),
        names=names,
        shapes=shapes,
    )


def _module(file: Header, group: Group) -> Module:
    """One group by itself: is it sound, and which algorithm reads it?"""
    choice = choose(group.leaves)
    broken = Module(group=group, verdict="broken", reason=group.problem, algorithm=choice.name)
    if group.problem:
        return broken
    if choice.kind is None:
        return replace(broken, verdict="algorithm", reason=choice.reason)
    factors = {leaf: key for leaf, key in group.leaves.items() if leaf != "alpha"}
    for key in factors.values():
        if key in file.extras:
            return replace(broken, reason=f"{key} is not a tensor")
        if file.dtype(key) not in FLOATS:
            return replace(broken, reason=f"its factors are {file.dtype(key)} numbers")
    try:
        alpha = _alpha(file, group)
        meta = {leaf: torch.empty(file.shape(key), device="meta") for leaf, key in factors.items()}
        record = choice.kind.read(meta, alpha)
    except AdapterDoesNotFit as problem:
        return replace(broken, reason=problem.title)
    whole = replace(broken, verdict="fits", kind=choice.kind, record=record, alpha=alpha)
    return replace(whole, verdict="ignored", reason="alpha is 0: without effect") if alpha == 0 else whole


def _alpha(file: Header, group: Group) -> float | None:
    """The module's alpha: its own key before that of a config. Raises AdapterDoesNotFit when it is not one number."""
    key = group.leaves.get("alpha")
    if key is None:
        return group.alpha
    if key in file.extras:
        value = file.extras[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AdapterDoesNotFit(f"alpha is {value!r}")
    elif file.shape(key) not in ((), (1,)) or file.dtype(key) not in NUMBERS:
        raise AdapterDoesNotFit(f"alpha is not one number but {list(file.shape(key))} of {file.dtype(key)}")
    else:
        value = file.tensor(key).item()
    if not abs(value) < HUGE:
        raise AdapterDoesNotFit(f"alpha is {value!r}"[:60])
    return float(value)


def _placed(
    module: Module,
    layout: Format,
    names: NameMap,
    components: tuple[str, ...],
    shapes: Mapping[Place, tuple[int, ...]] | None,
) -> Module:
    """The module with its place in the model, or with the reason why it has none there."""
    place = layout.find(module.group, names, components)
    module = replace(module, place=place)
    if module.verdict != "fits" or module.record is None:
        return module
    if place is None:
        return replace(module, verdict="name", reason="no module of this name is in the model")
    if shapes is None:
        return module
    shape = shapes.get(place)
    misfit = module.record.misfit(shape) if shape is not None else "it has no weight of its own"
    return replace(module, verdict="shape", reason=f"{place.module}: {misfit}") if misfit else module


def _once_each(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """Two names for one module of the model in one file: both are refused, for nobody can say which is meant."""
    count = Counter(module.place for module in modules if module.verdict == "fits")
    return tuple(
        replace(module, verdict="broken", reason=f"two of its names mean {module.place.module}")
        if module.place and module.verdict == "fits" and count[module.place] > 1
        else module
        for module in modules
    )


def _width(file: Header, group: Group) -> int | None:
    """How many features the module takes, where a plain down factor tells."""
    shape = file.shape(group.leaves["down"]) if group.leaves.get("down") in file.names else ()
    return shape[1] if len(shape) > 1 else None


def _modules(count: int) -> str:
    return f"{count} module{'' if count == 1 else 's'}"
