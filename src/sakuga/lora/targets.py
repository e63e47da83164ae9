"""Targets: which tensors of real modules a stack of adapters changes. Everything is checked here, before anything is
changed: a component or a module that is missing, a wrong shape, a number format that cannot be added to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, raise_all
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import Algorithm
from sakuga.tensors.names import Place

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SHOWN = 3  # how many modules an error lists

Region = tuple[torch.device, int, int, int]  # device, address of the storage, first byte in it, bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Use:
    """One patch on one tensor: the ``entry`` of the stack that it belongs to, its component, its record."""

    entry: int
    component: str
    record: Algorithm


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """One tensor to be changed. ``names`` are all modules that hold it (more than one where weights are tied)."""

    names: tuple[str, ...]
    owner: nn.Module
    weight: nn.Parameter
    uses: tuple[Use, ...]


def shapes_of(parts: Mapping[str, nn.Module]) -> dict[Place, tuple[int, ...]]:
    """The shape of every weight that an adapter may change, by its place. Works on meta modules."""
    return {
        Place(component=component, module=name): tuple(weight.shape)
        for component, part in parts.items()
        for name, module in part.named_modules()
        if (weight := _weight(module)) is not None and weight.ndim > 1
    }


def bind(
    adapters: Sequence[Adapter], parts: Mapping[str, nn.Module], silent: Collection[tuple[int, str]] = ()
) -> tuple[Target, ...]:
    """The tensors that these adapters change, each once, in the order of first use.

    ``silent`` are (entry, component) of weight 0, whose component may be missing in ``parts``. Raises AdapterDoesNotFit
    (or Several) naming every module that does not fit; nothing is changed by then.
    """
    modules = {component: dict(part.named_modules(remove_duplicate=False)) for component, part in parts.items()}
    holders = _holders(parts)
    uses: dict[Region, list[Use]] = {}
    owners: dict[Region, tuple[nn.Module, nn.Parameter]] = {}
    findings = []
    for entry, adapter in enumerate(adapters):
        problems: list[str] = []
        taken: dict[Region, str] = {}
        for patch in adapter.patches:
            if patch.component not in parts and (entry, patch.component) in silent:
                continue
            layer = modules.get(patch.component, {}).get(patch.module)
            weight = _weight(layer) if layer is not None else None
            problem = _problem(patch, layer, parts)
            if problem is None and layer is not None and weight is not None:
                region = _region(weight)
                other = taken.setdefault(region, patch.module)
                problem = f"shares one weight with {other}, which it changes too" if other != patch.module else None
                owners.setdefault(region, (layer, weight))
                uses.setdefault(region, []).append(Use(entry=entry, component=patch.component, record=patch.record))
            if problem:
                problems.append(f"{patch.component}.{patch.module}: {problem}")
        findings += [_misfit(adapter, problems)] if problems else []
    raise_all(findings)
    return tuple(
        Target(names=holders[region], owner=owners[region][0], weight=owners[region][1], uses=tuple(found))
        for region, found in uses.items()
    )


def _problem(patch: Patch, layer: nn.Module | None, parts: Mapping[str, nn.Module]) -> str | None:
    if patch.component not in parts:
        return f"there is no {patch.component} among the parts ({', '.join(parts)})"
    if layer is None:
        return "there is no such module"
    weight = _weight(layer)
    if weight is None:
        return f"{type(layer).__name__} has no weight of its own"
    if weight.is_meta:
        return "its weight is on the meta device, so there are no bytes to change"
    if weight.dtype not in DTYPES:
        return f"its weight is {str(weight.dtype).removeprefix('torch.')}, to which nothing can be added exactly"
    return patch.record.misfit(tuple(weight.shape))


def _misfit(adapter: Adapter, problems: Sequence[str]) -> AdapterDoesNotFit:
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return AdapterDoesNotFit(
        f"{adapter.name} does not fit these parts",
        given=f"{adapter.path.name}, {len(adapter.patches)} modules, {len(problems)} of them without a place",
        nearest="; ".join([*problems[:SHOWN], *more]),
        do="choose a base that it was made for, or take it out of the job; nothing was changed",
    )


def _weight(module: nn.Module) -> nn.Parameter | None:
    """The module's own weight; None for containers and for weights that are computed (parametrised layers)."""
    return dict(module.named_parameters(recurse=False)).get("weight")


def _region(weight: Tensor) -> Region:
    """The bytes that a tensor lies on: two Parameters over the same bytes are one weight."""
    size = weight.element_size()
    first = int(weight.storage_offset()) * size
    return weight.device, weight.untyped_storage().data_ptr(), first, weight.numel() * size


def _holders(parts: Mapping[str, nn.Module]) -> dict[Region, tuple[str, ...]]:
    """Which modules hold the bytes of each weight."""
    holders: dict[Region, tuple[str, ...]] = {}
    for component, part in parts.items():
        for name, module in part.named_modules():
            weight = _weight(module)
            if weight is not None and not weight.is_meta:
                region = _region(weight)
                holders[region] = (*holders.get(region, ()), f"{component}.{name}".rstrip("."))
    return holders
