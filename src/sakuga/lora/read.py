"""From a file to an Adapter: every key is used, or left over with its reason. Nothing of a model is touched here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.fit import judge
from sakuga.lora.survey import Module, Survey, survey
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap, Place


def check_adapter(
    file: TensorFile,
    names: NameMap,
    *,
    shapes: Mapping[Place, tuple[int, ...]] | None = None,
    expected: str | None = None,
    allow_partial: bool = False,
) -> Survey:
    """Whether the file may be used, from its header: no factor is read. Raises as ``read_adapter`` does."""
    found = survey(file, names, shapes)
    judge(found, expected=expected, allow_partial=allow_partial)
    return found


def read_adapter(
    file: TensorFile,
    names: NameMap,
    name: str,
    *,
    shapes: Mapping[Place, tuple[int, ...]] | None = None,
    expected: str | None = None,
    allow_partial: bool = False,
) -> Adapter:
    """The adapter in ``file``, called ``name`` in reports, for the model that ``names`` was made of.

    ``shapes`` (``targets.shapes_of(parts)``) lets wrong shapes be told here; otherwise ``Stack.applied`` tells them.
    A file of which any part would have no effect is refused; ``allow_partial`` accepts it as long as at least half of
    its modules fit, and names the rest in ``leftovers``.

    Raises AdapterDoesNotFit, UnknownFile when it is no adapter, UnreadableFile when it is broken.
    """
    found = check_adapter(file, names, shapes=shapes, expected=expected, allow_partial=allow_partial)
    tensors = dict(file.tensors(_factor_keys(found)))
    sound = replace(found, modules=tuple(_finite(module, tensors) for module in found.modules))
    judge(sound, expected=expected, allow_partial=allow_partial)
    patches = tuple(_patch(module, tensors) for module in sound.modules if module.verdict == "fits")
    # numbers that come from a config beside the file make it another adapter
    sha256 = hashlib.sha256((file.sha256 + found.config).encode()).hexdigest() if found.config else file.sha256
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
    )


def _factors(module: Module) -> dict[str, str]:
    return {leaf: key for leaf, key in module.group.leaves.items() if leaf != "alpha"}


def _factor_keys(found: Survey) -> list[str]:
    return [key for module in found.modules if module.verdict == "fits" for key in _factors(module).values()]


def _finite(module: Module, tensors: Mapping[str, Tensor]) -> Module:
    """The module, refused when one of its factors holds a number that is none."""
    if module.verdict != "fits":
        return module
    for key in _factors(module).values():
        if not bool(torch.isfinite(tensors[key]).all()):
            return replace(module, verdict="broken", reason=f"{key} holds NaN or infinity")
    return module


def _patch(module: Module, tensors: Mapping[str, Tensor]) -> Patch:
    assert module.kind is not None and module.place is not None, "a module that fits has a kind and a place"
    record = module.kind.read({leaf: tensors[key] for leaf, key in _factors(module).items()}, module.alpha)
    return Patch(component=module.place.component, module=module.place.module, record=record, keys=module.group.keys)
