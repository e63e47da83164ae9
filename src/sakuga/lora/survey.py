"""Survey: what an adapter file holds and which of its modules fit, from the header alone (and the leaves that are one
number, such as alpha). Factors are not read here and nothing is decided about the file as a whole; ``fit`` does that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sakuga.lora.adapter import Leftover
from sakuga.lora.expert import expert_remark
from sakuga.lora.family import STATED_BY_LAYOUT, FamilyGuess, guess_family
from sakuga.lora.formats import Format, Group, Header, Reading, recognise
from sakuga.lora.formats.titles import title_of
from sakuga.lora.module import SILENT, Change, Module, Sounding, Verdict, record_of
from sakuga.lora.placing import placed, seated
from sakuga.lora.split_qkv import split_qkv_remark
from sakuga.tensors.names import NameMap

__all__ = ["Change", "Module", "Survey", "Verdict", "hold", "record_of", "seated", "survey"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """A whole file. ``layout`` is what people call its naming, ``layout_id`` the short name of that in tables.

    ``beside`` are the keys of no module, ``embeddings`` the textual inversions that it carries: name → its own key →
    the file's key. ``names`` are a model's, if one was given.
    """

    path: Path
    layout: str
    layout_id: str
    layout_reason: str
    family: FamilyGuess
    metadata: Mapping[str, str]
    modules: tuple[Module, ...]
    beside: tuple[Leftover, ...]
    notes: tuple[str, ...]
    config: str
    total_keys: int
    names: NameMap | None
    embeddings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    format: Format
    reading: Reading

    @property
    def used_keys(self) -> int:
        """How many keys have an effect: with those left over, all keys of the file."""
        embedded = sum(len(keys) for keys in self.embeddings.values())
        return embedded + sum(len(module.group.keys) for module in self.modules if module.verdict == "fits")

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
        of_modules = Counter(
            text for module in self.modules for change in module.changes for text in change.record.remarks()
        )
        needless = Counter(module.reason for module in self.modules if module.verdict == "ignored")
        zero = needless.pop(SILENT, 0)
        words = ", ".join(list(self.embeddings)[:5])
        carried = (f"it brings the words {words} for the prompt",) if words else ()
        return (
            *self.notes,
            *split_qkv_remark(self.metadata, self.modules),
            *expert_remark(self.family.possible, self.path, self.metadata),
            *self._of_family(),
            *carried,
            *(f"{text} ({_modules(count)})" for text, count in of_modules.items()),
            *(f"{text} ({_modules(count)})" for text, count in needless.items()),
            *((f"alpha is 0 in {_modules(zero)}: without effect",) if zero else ()),
        )

    @property
    def base(self) -> FamilyGuess:
        """The family of the model, by the same evidence as the adapter's."""
        trees = self.names.trees if self.names else {}
        widths = (
            (f"{component}.{module}", (shapes["weight"][0], shapes["weight"][1]))
            for component, tree in trees.items()
            for module, shapes in tree.items()
            if len(shapes.get("weight", ())) > 1 and "motion_modules" not in module
        )
        return guess_family(widths, {})

    @property
    def foreign(self) -> bool | None:
        """Whether it was made for another family than the model's; None where that cannot be told."""
        return self.foreign_to(self.base.possible if self.names else ())

    def foreign_to(self, families: Iterable[str]) -> bool | None:
        """``foreign``, for a model that is of one of these families."""
        base, own = set(families), set(self.family.possible)
        if not base or not own:
            return None
        if base & own:
            return False if len(base) == 1 else None
        return not (self.family.family == "animatediff" and self._moves())

    def _moves(self) -> bool:
        """Whether the model has motion modules, which belong to no family by themselves."""
        trees = self.names.trees.values() if self.names else ()
        return any(".motion_modules." in module for tree in trees for module in tree)

    def _of_family(self) -> tuple[str, ...]:
        """Words where the family is not certain, or is certainly another than the model's."""
        if self.foreign:
            return (f"it seems to be {self.family.phrase}, which the model is not: {self.family.reason}",)
        if self.family.alternatives and (self.names is None or self.base.family):
            return (f"it may be {self.family.phrase}: nothing in it tells which",)
        return ()


def survey(
    file: Header, names: NameMap | None = None, module: Callable[[Header, Group], Module] | None = None
) -> Survey:
    """What the file holds. With ``names``, where it fits; where they know shapes, whether the shapes do.

    ``module`` is for those who look at many files: the method of a Sounding that they keep, or a memory of their own.

    Raises UnknownFile or AdapterDoesNotFit when the file is no adapter known here, UnreadableFile when it is broken.
    """
    layout, why = recognise(file)
    reading = layout.read(file)
    sound = module or Sounding().module
    modules = tuple(sound(file, group) for group in reading.groups)
    stated = {STATED_BY_LAYOUT: reading.stated} if reading.stated else {}
    family = guess_family(((module.group.name, module.extent) for module in modules), {**file.metadata, **stated})
    layout_id, title = title_of(layout.name, file, family.family)
    found = Survey(
        path=file.path,
        layout=title,
        layout_id=layout_id,
        layout_reason=why,
        family=family,
        metadata=file.metadata,
        modules=modules,
        beside=reading.leftovers,
        notes=reading.notes,
        config=reading.config,
        total_keys=len(file.names) + len(file.extras),
        names=None,
        embeddings=reading.embeddings,
        format=layout,
        reading=reading,
    )
    return found if names is None else hold(found, file, names)


def hold(found: Survey, file: Header, names: NameMap) -> Survey:
    """A survey without a model, held against one: where its modules fit."""
    find = found.format.finder(names, found.reading, file)
    return replace(found, modules=placed(found.modules, find, names), names=names)


def _modules(count: int) -> str:
    return f"{count} module{'' if count == 1 else 's'}"
