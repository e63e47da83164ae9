"""Targets: which tensors of real modules a stack of adapters changes. Everything is checked here, before anything is
changed: a component or a module that is missing, a wrong shape, a number format that cannot be added to.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from sakuga.errors import AdapterDoesNotFit, SakugaError, counted, raise_all
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import Algorithm
from sakuga.lora.algorithms.columns import fitted, together, wide_shape
from sakuga.lora.algorithms.record import Parameter
from sakuga.lora.blocks import blocks_of
from sakuga.lora.reasons import by_reason
from sakuga.lora.stored import cannot_widen, growable, overlaps, region_of, stored_shape, unreadable, unwritable
from sakuga.tensors.names import NameMap, Shape, Tree

Parts = Mapping[str, object] | nn.Module
# How a lone module is told from its children: the first row of which all are there.
SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("unet", ("conv_in", "down_blocks", "up_blocks", "time_embedding")),
    ("motion", ("down_blocks", "up_blocks")),
    ("transformer", ("transformer_blocks",)),
    ("transformer", ("blocks", "patch_embedding")),
    ("transformer", ("layers", "all_x_embedder")),
    ("text_encoder", ("text_model",)),
    ("text_encoder", ("embeddings", "encoder", "final_layer_norm")),
    ("text_encoder", ("shared", "encoder")),
)
COMPILED = "_orig_mod."  # the level that torch.compile puts between a module and its name


@dataclass(frozen=True, kw_only=True, eq=False)
class Use:
    """One patch on one tensor: the ``entry`` of the stack that it belongs to, which of that adapter's patches on this
    tensor it is, the names of its layer's block, its record, and the rows that it changes.
    """

    entry: int
    ordinal: int
    component: str
    blocks: tuple[str, ...]
    record: Algorithm
    into: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Holder:
    """A module that holds a tensor, and the module that holds it (None for a whole part)."""

    component: str
    path: str
    module: nn.Module
    parent: nn.Module | None = None

    @property
    def name(self) -> str:
        """The component and the path."""
        return f"{self.component}.{self.path}".rstrip(".")


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """One tensor to be changed, ``kind`` "weight" or "bias". ``holders`` are all modules that hold it, more than one
    where weights are tied; ``parameters`` all Parameter objects on its memory, none for a bias that is yet to be grown
    or a tensor that cannot be written. ``unwritable`` is why it cannot; empty when it can.
    """

    kind: Parameter
    holders: tuple[Holder, ...]
    parameters: tuple[nn.Parameter, ...]
    shape: Shape
    uses: tuple[Use, ...]
    unwritable: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all modules that hold it."""
        return tuple(holder.name for holder in self.holders)


def parts_of(given: Parts) -> dict[str, nn.Module]:
    """Component → module, without what is no module (``pipeline.components`` may be given as it is).

    A lone module is a unet, motion, transformer or text_encoder by the names of its children (``SIGNS``); one that has
    the signs of none is called unet, the component that adapter files mean when they name none.
    Raises SakugaError when there is no module at all.
    """
    if isinstance(given, nn.Module):
        module = _plain(given)
        names = {name for name, _ in module.named_children()}
        return {next((component for component, signs in SIGNS if names.issuperset(signs)), "unet"): module}
    named = _by_component(given)
    parts = {str(component): _plain(part) for component, part in named.items() if isinstance(part, nn.Module)}
    if not parts:
        raise SakugaError(
            "there is no module to apply adapters to",
            given=", ".join(map(str, named)) or "nothing",
            expected='torch modules, such as {"unet": unet, "text_encoder": text_encoder}',
            do="give the modules themselves",
        )
    return parts


def _by_component(given: object) -> Mapping[object, object]:
    """What is given in the place of parts, if it is a mapping at all. Raises SakugaError."""
    if isinstance(given, Mapping):
        return given
    pipeline = isinstance(getattr(given, "components", None), Mapping)
    raise SakugaError(
        "these are no modules to apply adapters to",
        given=reprlib.repr(given),
        expected='a mapping such as {"unet": unet, "text_encoder": text_encoder}, or one module',
        do="give its components: pipeline.components" if pipeline else "name each module by its component",
    )


def trees_of(parts: Mapping[str, nn.Module]) -> dict[str, Tree]:
    """The modules of each part with the shapes of their parameters, for a NameMap. Meta modules serve. Counted are
    quantised weights, and the bias that a layer has not but could have.
    """
    return {component: {name: _shapes(module) for name, module in _modules(part)} for component, part in parts.items()}


def names_of(parts: Mapping[str, nn.Module]) -> NameMap:
    """The NameMap of real modules, with their shapes."""
    return NameMap.of(trees_of(parts))


def bind(
    adapters: Sequence[Adapter], parts: Mapping[str, nn.Module], silent: Collection[tuple[int, str]] = ()
) -> tuple[Target, ...]:
    """The tensors that these adapters change, each once, in the order of first use.

    ``silent`` are (entry, component) of weight 0, whose component may be missing in ``parts``. Raises AdapterDoesNotFit
    (or Several) naming every module that does not fit; nothing is changed by then.
    """
    return _Binding(parts).targets(adapters, silent)


class _Binding:
    """The work of ``bind``: modules by name, and the uses of each region of memory as they are found."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._modules = {component: dict(_modules(part)) for component, part in parts.items()}
        self._uses: dict[object, list[Use]] = {}
        self._kinds: dict[object, tuple[Parameter, nn.Module]] = {}

    def targets(self, adapters: Sequence[Adapter], silent: Collection[tuple[int, str]]) -> tuple[Target, ...]:
        findings = []
        for entry, adapter in enumerate(adapters):
            problems: list[tuple[str, str]] = []
            taken: dict[object, tuple[str, int]] = {}
            for patch in adapter.patches:
                if patch.component not in self._modules and (entry, patch.component) in silent:
                    continue
                problem = self._take(entry, patch, taken)
                if problem:
                    problems.append((f"{patch.component}.{patch.module}", problem))
            findings += [_misfit(adapter, problems)] if problems else []
        raise_all(findings)
        holders = self._holders()
        self._check_memory({id(parameter) for _, found, _ in holders.values() for parameter in found})
        return tuple(self._target(region, *holders[region]) for region in self._uses)

    def _take(self, entry: int, patch: Patch, taken: dict[object, tuple[str, int]]) -> str | None:
        """Note the use of a patch; or the reason why it cannot be used."""
        if patch.component not in self._modules:
            return f"there is no {patch.component} among the parts ({', '.join(self._modules)})"
        layer = self._modules[patch.component].get(patch.module)
        if layer is None:
            return "there is no such module"
        shape = stored_shape(layer, patch.parameter)
        problem = unreadable(layer, patch.parameter) if shape else None
        if shape is None or problem:
            return problem or f"{type(layer).__name__} has no {patch.parameter} of its own"
        rows = shape if patch.into is None else (patch.into[1] - patch.into[0], *shape[1:])
        if patch.into is not None and not 0 <= patch.into[0] < patch.into[1] <= shape[0]:
            return f"rows {patch.into} are not inside its {patch.parameter} of {list(shape)}"
        record = fitted(patch.record, rows)
        misfit = record.misfit(rows) or (cannot_widen(layer) if wide_shape(rows, [record]) != rows else None)
        if misfit:
            return misfit
        region = region_of(layer, patch.parameter)
        other, count = taken.get(region, (patch.module, 0))
        if other != patch.module:
            return f"shares one {patch.parameter} with {other}, which it changes too"
        taken[region] = (patch.module, count + 1)
        use = Use(
            entry=entry,
            ordinal=count,
            component=patch.component,
            blocks=blocks_of(patch.component, patch.module),
            record=record,
            into=patch.into,
        )
        self._uses.setdefault(region, []).append(use)
        self._kinds.setdefault(region, (patch.parameter, layer))
        return None

    def _holders(self) -> dict[object, tuple[list[Holder], list[nn.Parameter], Parameter]]:
        """Which modules, and which Parameter objects, hold each region that is used."""
        found: dict[object, tuple[list[Holder], list[nn.Parameter], Parameter]] = {}
        for component, modules in self._modules.items():
            seen: set[int] = set()
            for path, module in modules.items():
                if id(module) in seen:
                    continue
                seen.add(id(module))
                for kind in ("weight", "bias"):
                    region = region_of(module, kind)
                    if region not in self._uses:
                        continue
                    holders, parameters, _ = found.setdefault(region, ([], [], kind))
                    parent = modules.get(path.rpartition(".")[0]) if path else None
                    holders.append(Holder(component=component, path=path, module=module, parent=parent))
                    own = module._parameters.get(kind)
                    if own is not None and all(own is not other for other in parameters):
                        parameters.append(own)
        return found

    def _check_memory(self, changed: set[int]) -> None:
        """Raise AdapterDoesNotFit when a changed weight lies in part on the memory of another."""
        names = {
            id(own): (f"{component}.{path}.{kind}", own)
            for component, modules in self._modules.items()
            for path, module in modules.items()
            for kind, own in module._parameters.items()
            if own is not None
        }
        for one, other in overlaps(own for _, own in names.values()):
            if {id(one), id(other)} & changed:
                raise AdapterDoesNotFit(
                    "two weights lie on the same memory in different ways, so one cannot be changed alone",
                    given=" and ".join(sorted(names[id(own)][0] for own in (one, other))),
                    do="give each its own memory, or take the adapter out of the job; nothing was changed",
                )

    def _target(self, region: object, holders: list[Holder], parameters: list[nn.Parameter], kind: Parameter) -> Target:
        layer = self._kinds[region][1]
        shape = stored_shape(layer, kind)
        assert shape is not None
        reason = unwritable(layer, kind)
        _check_together(holders[0], shape, self._uses[region])
        return Target(
            kind=kind,
            holders=tuple(holders),
            parameters=() if reason else tuple(parameters),
            shape=shape,
            uses=tuple(self._uses[region]),
            unwritable=reason,
        )


def _check_together(holder: Holder, shape: Shape, uses: Sequence[Use]) -> None:
    """Raise AdapterDoesNotFit where the changes of one weight cannot be applied together."""
    try:
        together(shape, [use.record for use in uses])
    except AdapterDoesNotFit as problem:
        raise AdapterDoesNotFit(
            "two changes of one layer cannot be applied together",
            given=f"{holder.name}: {problem.title}, and another adapter has it take more inputs",
            do="take one of them out of the job; nothing was changed",
        ) from None


def _plain(module: nn.Module) -> nn.Module:
    """The module itself, where torch.compile has wrapped it."""
    inner = getattr(module, COMPILED.rstrip("."), None)
    return inner if isinstance(inner, nn.Module) else module


def _modules(part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in part.named_modules(remove_duplicate=False):
        yield f"{name}.".replace(COMPILED, "").rstrip("."), _plain(module)


def _shapes(module: nn.Module) -> dict[str, Shape]:
    shapes = {own: tuple(value.shape) for own, value in module.named_parameters(recurse=False)}
    if growable(module) or "weight" not in shapes:
        for kind in ("weight", "bias"):
            shape = stored_shape(module, kind)
            if shape:
                shapes[kind] = shape
    return shapes


def _misfit(adapter: Adapter, problems: Sequence[tuple[str, str]]) -> AdapterDoesNotFit:
    count = counted(len(adapter.patches), "module")
    return AdapterDoesNotFit(
        f"{adapter.name} does not fit these parts",
        given=f"{adapter.path.name}, {count}, {len(problems)} of them without a place",
        nearest="; ".join(by_reason(problems)),
        do="choose a base that it was made for, or take it out of the job; nothing was changed",
    )
