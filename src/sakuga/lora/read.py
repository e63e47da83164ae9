"""From a file to an Adapter: every key is used, or left over with its reason. Nothing of a model is touched here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import torch
from torch import Tensor

from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import SCALARS
from sakuga.lora.fit import judge
from sakuga.lora.survey import Module, Survey, record_of, seated, survey
from sakuga.lora.threads import one_thread
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap


def check_adapter(
    file: TensorFile,
    names: NameMap,
    *,
    expected: str | None = None,
    family: str | None = None,
    allow_partial: bool = False,
) -> Survey:
    """Whether the file may be used, from its header: no factor is read. Raises as ``read_adapter`` does.

    ``expected`` and ``family`` are what the caller knows of the base: a phrase for the error, and its family's name.
    """
    found = survey(file, names)
    judge(found, expected=expected, family=family, allow_partial=allow_partial)
    return found


def read_adapter(
    file: TensorFile,
    names: NameMap,
    name: str,
    *,
    expected: str | None = None,
    allow_partial: bool = False,
    ignore_alpha: bool = False,
) -> Adapter:
    """The adapter in ``file``, called ``name`` in reports, for the model that ``names`` was made of.

    ``names`` of trees with shapes (``targets.trees_of(parts)``) let wrong shapes be told here; otherwise
    ``Stack.applied`` tells them.
    A file of which any part would have no effect is refused; ``allow_partial`` accepts it as long as at least half of
    its modules fit, and names the rest in ``leftovers``. ``ignore_alpha``: the file's alpha scales nothing, as
    DiffSynth 1.x read such files; where alpha is more than a scale (DoRA, OFT, BOFT) it counts all the same.

    Raises AdapterDoesNotFit, UnknownFile when it is no adapter, UnreadableFile when it is broken.
    """
    refused = Event()
    with one_thread(), ThreadPoolExecutor(1) as beside:  # the hash takes as long as all the rest
        hashed = beside.submit(file.hashed, refused.is_set)
        try:
            found = check_adapter(file, names, expected=expected, allow_partial=allow_partial)
            tensors = dict(file.tensors(_factor_keys(found)))
            sound = replace(found, modules=tuple(_finite(module, tensors) for module in found.modules))
            judge(sound, expected=expected, allow_partial=allow_partial)
            if ignore_alpha:
                sound = replace(sound, modules=tuple(map(_unscaled, sound.modules)))
        except BaseException:
            refused.set()
            raise
        patches = tuple(
            patch for module in sound.modules if module.verdict == "fits" for patch in _patches(module, tensors)
        )
        whole = hashed.result()
    # numbers that come from a config beside the file make it another adapter
    told = found.config + (" alpha ignored" if ignore_alpha else "")
    sha256 = hashlib.sha256((whole + told).encode()).hexdigest() if told else whole
    return Adapter(
        name=name,
        path=file.path,
        sha256=sha256,
        family=found.family.family,
        layout=found.layout,
        metadata=dict(found.metadata),
        patches=patches,
        leftovers=sound.leftovers(),
        total_keys=found.total_keys,
        notes=found.remarks(),
        embeddings=found.embeddings,
    )


def _factors(module: Module) -> dict[str, str]:
    return {leaf: key for leaf, key in module.group.leaves.items() if leaf not in SCALARS}


def _factor_keys(found: Survey) -> list[str]:
    return [key for module in found.modules if module.verdict == "fits" for key in _factors(module).values()]


def _finite(module: Module, tensors: Mapping[str, Tensor]) -> Module:
    """The module, refused when one of its factors holds a number that is none."""
    if module.verdict != "fits":
        return module
    for key in _factors(module).values():
        if not _is_finite(tensors[key]):
            return replace(module, verdict="numbers", reason=f"{key} holds NaN or infinity")
    return module


def _unscaled(module: Module) -> Module:
    """The module without the scale that its alpha, or a scale in its place, gives."""
    if not all(change.part.kind.silent_at_zero for change in module.changes):
        return module
    options = {name: value for name, value in module.facts.options.items() if name != "scale"}
    return replace(module, facts=replace(module.facts, alpha=None, options=options))


def _is_finite(tensor: Tensor) -> bool:
    """By the least and the greatest number, which is one quick pass; a NaN is both."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = torch.aminmax(tensor.float() if tensor.element_size() == 1 else tensor)  # torch compares no bytes
    return math.isfinite(low) and math.isfinite(high)


def _patches(module: Module, tensors: Mapping[str, Tensor]) -> list[Patch]:
    """One patch for each change and seat of the module."""
    factors = {leaf: tensors[key] for leaf, key in _factors(module).items()}
    records = [(change.part.kind.parameter, record_of(change.part, factors, module.facts)) for change in module.changes]
    return [
        Patch(
            component=seat.component,
            module=seat.module,
            record=seated(record, seat),
            keys=module.group.keys,
            parameter=parameter,
            into=seat.into,
        )
        for parameter, record in records
        for seat in module.seats
    ]
