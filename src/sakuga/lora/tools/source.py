"""Source: an adapter file that a tool reads from, and the names by which several of them mean the same modules.

A file may call a module by any name that is known; what two names have in common is the seat in a model. Without a
model at hand the tree of a published family serves, for its names alone if its shapes do not fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import SCALARS, Algorithm
from sakuga.lora.algorithms.columns import Widening
from sakuga.lora.fit import judge
from sakuga.lora.module import Change, Module, record_of
from sakuga.lora.survey import Survey, hold, survey
from sakuga.lora.weight import StackWeight
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap
from sakuga.tensors.tables.families import FAMILIES, FamilyTable

MISPLACED = ("name", "bare", "shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """One adapter file with the strength that it is to have. Made by ``opened``."""

    file: TensorFile
    found: Survey
    name: str
    strength: StackWeight = field(default_factory=StackWeight)

    @property
    def sha256(self) -> str:
        """What names its numbers: the hash of the file, and of a config beside it that scales come from."""
        own, config = self.file.sha256, self.found.config
        return hashlib.sha256((own + config).encode()).hexdigest() if config else own

    @property
    def modules(self) -> tuple[Module, ...]:
        """The modules that have an effect."""
        return tuple(module for module in self.found.modules if module.verdict == "fits")

    def factors(self, module: Module) -> dict[str, Tensor]:
        """The tensors of a module by leaf, without those that are one number. Raises AdapterDoesNotFit for NaN."""
        keys = {leaf: key for leaf, key in module.group.leaves.items() if leaf not in SCALARS}
        found = {leaf: self.file.tensor(key) for leaf, key in keys.items()}
        for leaf, tensor in found.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
                raise AdapterDoesNotFit(f"{self.name} holds NaN or infinity", given=keys[leaf], do="fetch it again")
        return found

    def records(self, module: Module) -> Iterator[tuple[Change, Algorithm]]:
        """Every change of a module with its record, the factors read."""
        factors = self.factors(module)
        for change in module.changes:
            yield change, record_of(change.part, factors, module.facts)

    def told(self) -> dict[str, object]:
        """What a report says of it."""
        weights: dict[str, object] = {"weight": self.strength.unet}
        if self.strength.text_encoder != self.strength.unet:
            weights["text_encoder_weight"] = self.strength.text_encoder
        if self.strength.blocks:
            weights["blocks"] = dict(sorted(self.strength.blocks.items()))
        return {"name": self.name, "file": str(self.file.path), "sha256": self.sha256, **weights}


def opened(
    paths: Sequence[tuple[str, Path]],
    names: NameMap | None = None,
    *,
    strengths: Sequence[StackWeight] = (),
) -> tuple[Source, ...]:
    """The adapters (name, path), each held against ``names``, or against names that all of them know.

    A Source that no names were found for is not held against any. Raises as ``read_adapter`` does, and
    AdapterDoesNotFit for adapters of different models.
    """
    files = [TensorFile.open(path) for _, path in paths]
    surveys = [survey(file) for file in files]
    for found in surveys:
        judge(found)
        _check_widths(found)
    if names is None:
        _check_alike(list(zip(files, surveys, strict=True)))
        names = names_for(list(zip(files, surveys, strict=True)))
    if names is not None:
        surveys = [hold(found, file, names) for found, file in zip(surveys, files, strict=True)]
        for found in surveys:
            judge(found)
    return tuple(
        Source(file=file, found=found, name=name, strength=strength)
        for file, found, (name, _), strength in zip(
            files, surveys, paths, strengths or [StackWeight()] * len(files), strict=True
        )
    )


def _check_widths(found: Survey) -> None:
    """Raise AdapterDoesNotFit for an adapter that has a layer take more inputs: its result would lose that."""
    module = next(
        (one for one in found.modules if any(isinstance(change.record, Widening) for change in one.changes)), None
    )
    if module is not None:
        raise AdapterDoesNotFit(
            f"{found.path.name} has a layer take more inputs, which the tools for files cannot write",
            given=module.group.stem,
            do="apply it when rendering, where the layer is widened for a time",
        )


def _check_alike(given: Sequence[tuple[TensorFile, Survey]]) -> None:
    """Raise AdapterDoesNotFit where no model is left that all of the adapters may be for: their families have nothing
    in common, or some are as wide as a family's models and others are not.
    """
    (first, one), *others = given
    for file, other in others:
        if one.family.possible and other.family.possible and not {*one.family.possible} & {*other.family.possible}:
            raise _unlike((first, _why(one)), (file, _why(other)))
    for table in FAMILIES:
        if not all(table.name in found.family.possible for _, found in given):
            continue
        wrong = [
            any(one.verdict == "shape" for one in hold(found, file, _names(table)).modules) for file, found in given
        ]
        if not all(wrong):
            if any(wrong):
                fits, misfits = given[wrong.index(False)][0], given[wrong.index(True)][0]
                raise _unlike((fits, f"as wide as {table.title}"), (misfits, "not as wide"))
            return


def _why(found: Survey) -> str:
    return f"{found.family.phrase}, by {found.family.reason}"


def _unlike(*told: tuple[TensorFile, str]) -> AdapterDoesNotFit:
    return AdapterDoesNotFit(
        "these adapters are for different models",
        given="; ".join(f"{file.path.name}: {why}" for file, why in told),
        expected="adapters of one family and one size of models",
        do="leave out the one that does not belong here; sakuga lora show tells what each is for",
    )


def names_for(given: Sequence[tuple[TensorFile, Survey]]) -> NameMap | None:
    """The names of the first family in which every module of every file has a place; None where there is none.

    First those that the files may be for, with their shapes; then the names of any, as long as they mean whole modules.
    """
    likely = [table for table in FAMILIES if all(table.name in found.family.possible for _, found in given)]
    for table in likely:
        if all(_all_placed(hold(found, file, _names(table)).modules) for file, found in given):
            return _names(table)
    for table in (*likely, *FAMILIES):
        names = _names_alone(table)
        if all(_all_whole(hold(found, file, names).modules) for file, found in given):
            return names
    return None


def nameless(sources: Iterable[Source]) -> AdapterDoesNotFit:
    """The error where names had to be known and are not."""
    listed = ", ".join(source.file.path.name for source in sources)
    return AdapterDoesNotFit(
        "nothing tells which modules of a model these names mean",
        given=listed,
        expected="names of one family of models that is known",
        do="name the base that they are for with --base",
    )


def unlike_shapes(module: str, given: Sequence[tuple[Source, Sequence[int]]]) -> AdapterDoesNotFit:
    """The error of adapters that change one module in different shapes."""
    return AdapterDoesNotFit(
        "these adapters are for models of different widths",
        given=f"{module}: " + ", ".join(f"{list(shape)} in {source.file.path.name}" for source, shape in given),
        expected="one shape of each module",
        do="take adapters that were made for one model",
    )


def widest(sources: Sequence[Source]) -> torch.dtype:
    """The number format of factors that loses nothing of those given, or fp32."""
    formats = {
        source.file.dtype(key)
        for source in sources
        for module in source.modules
        for leaf, key in module.group.leaves.items()
        if leaf not in SCALARS and key not in source.file.extras
    }
    narrow: Mapping[frozenset[str], torch.dtype] = {
        frozenset({"F16"}): torch.float16,
        frozenset({"BF16"}): torch.bfloat16,
    }
    return narrow.get(frozenset(formats), torch.float32)


def _all_placed(modules: Iterable[Module]) -> bool:
    return all(module.verdict not in MISPLACED for module in modules)


def _all_whole(modules: Iterable[Module]) -> bool:
    return all(
        module.seats and all(seat.take is None and seat.into is None for seat in module.seats) for module in modules
    )


@cache
def _names(table: FamilyTable) -> NameMap:
    return NameMap.of(table.trees())


@cache
def _names_alone(table: FamilyTable) -> NameMap:
    return NameMap.of({component: list(tree) for component, tree in table.trees().items()})
