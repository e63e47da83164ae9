"""Extract: the difference of two checkpoints as a LoRA, module by module, with how much of it the rank holds.

Modules that are alike are left out. Biases and norms have no rank: they are written whole if that is asked for, and
otherwise counted. What no adapter can hold, such as a VAE, is named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.tools.checkpoint import Checkpoint
from sakuga.lora.tools.lowrank import Keep
from sakuga.lora.tools.made import Made
from sakuga.lora.tools.merge import Cutter
from sakuga.lora.tools.output import DTYPES, NewAdapter, Numbers, Place
from sakuga.lora.tools.spelling import Label, Spelling
from sakuga.progress import Progress
from sakuga.tensors.names import Seat

NOTE = "sakuga_extract"
LISTED = ("weight", "bias")


def extract(
    base: Checkpoint,
    tuned: Checkpoint,
    place: Place,
    keep: Keep,
    *,
    full: bool = False,
    numbers: Numbers = "fp16",
    progress: Progress | None = None,
) -> Made:
    """Write what turns ``base`` into ``tuned``. ``full``: biases and norms too.

    Raises AdapterDoesNotFit, OutputError.
    """
    progress = progress or Progress()
    cutter = Cutter(keep=keep, dtype=DTYPES[numbers])
    places = list(_places(base, tuned))
    labels = _labels(base, places)
    lists = alike = 0
    progress.begin("extract", len(places))
    with torch.no_grad(), NewAdapter(place=place) as new:
        for component, module in places:
            label = labels[component, module]
            leaves: dict[str, Tensor] = {}
            for parameter in LISTED:
                change = _difference(base, tuned, component, module, parameter)
                if change is None or not bool(change.any()):
                    continue
                if change.ndim > 1:
                    leaves |= cutter.of_whole(change.flatten(1), tuple(change.shape), label.name)
                elif full:
                    leaves |= cutter.list_leaf(change, "diff" if parameter == "weight" else "diff_b", label.name)
                else:
                    lists += 1
            alike += not leaves
            if leaves:
                new.add(label, leaves)
            progress.advance()
        hashes = [file.sha256 for checkpoint in (base, tuned) for _, file in checkpoint.files]
        new.finish({NOTE: json.dumps({"base": base.path.name, "tuned": tuned.path.name, "sha256": hashes})})
    notes = [f"{alike} modules are left out: they are alike in both"] if alike else []
    if lists:
        notes.append(f"{lists} biases and norms differ too, and are not in it (--full writes them)")
    notes += _missing(base, tuned)
    return Made(
        output=place.path,
        size_bytes=new.size_bytes,
        modules=len(new.labels),
        layout=place.layout,
        numbers=numbers,
        ranks=dict(new.ranks),
        errors=cutter.errors,
        notes=(*notes, *new.notes),
    )


def _places(base: Checkpoint, tuned: Checkpoint) -> Iterator[tuple[str, str]]:
    """The modules that both have. Raises AdapterDoesNotFit when there are none."""
    both = dict.fromkeys((component, module) for component, module, _ in base.weights)
    other = {(component, module) for component, module, _ in tuned.weights}
    found = [one for one in both if one in other]
    if not found:
        raise AdapterDoesNotFit(
            "the two models have no module in common",
            given=f"{base.path.name} and {tuned.path.name}",
            do="give two checkpoints of one family",
        )
    yield from found


def _labels(base: Checkpoint, places: list[tuple[str, str]]) -> dict[tuple[str, str], Label]:
    spelling = Spelling(base.names)
    plain = {place: spelling.label((Seat(component=place[0], module=place[1]),)) for place in places}
    stemmed = spelling.with_stems(set(plain.values()))
    return {place: stemmed[label] for place, label in plain.items()}


def _difference(base: Checkpoint, tuned: Checkpoint, component: str, module: str, parameter: str) -> Tensor | None:
    one, other = (checkpoint.weight(component, module, parameter) for checkpoint in (base, tuned))
    if one is None or other is None:
        return None
    if one.shape != other.shape:
        raise AdapterDoesNotFit(
            "the two models are not of one family",
            given=f"{component}.{module}: {list(one.shape)} and {list(other.shape)}",
            do="give two checkpoints of one family",
        )
    change = other.double() - one.double()
    if not bool(torch.isfinite(change).all()):
        raise AdapterDoesNotFit(
            "a model holds NaN or infinity",
            given=f"{component}.{module}.{parameter}",
            expected="finite numbers in both",
            do="fetch the models again",
        )
    return change


def _missing(base: Checkpoint, tuned: Checkpoint) -> list[str]:
    """What of the two models could not be compared."""
    notes = []
    for one, other in ((base, tuned), (tuned, base)):
        lacks = {component for component, _, _ in one.weights} - {component for component, _, _ in other.weights}
        notes += [f"{component} is in {one.path.name} alone" for component in sorted(lacks)]
    known = {held.key for held in base.held}
    here = {key: file for _, file in base.files for key in file.names if key not in known}
    there = {key: file for _, file in tuned.files for key in file.names if key in here}
    differ = [key for key, file in there.items() if not _same(here[key].tensor(key), file.tensor(key))]
    if differ:
        notes.append(
            f"{len(differ)} other tensors differ, which no adapter holds: {differ[0]}" + " …" * (len(differ) > 1)
        )
    return notes


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.double(), other.double())
