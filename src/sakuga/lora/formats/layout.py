"""What a format is: it knows its keys, and renames and groups them. It chooses no algorithm and reads no factor.

A Group is one module of a file: the canonical leaves ("up", "down", "alpha" …) and the keys that hold them. Every key
of a file ends in a group, among the embeddings, or left over with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from torch import Tensor

from sakuga.lora.adapter import Leftover
from sakuga.lora.algorithms import NO_FACTS, SCALARS, Facts
from sakuga.lora.formats.leaves import LEAVES, embedded, ignorable
from sakuga.tensors.names import NameMap, Seat

MANY = 5  # adapters that a refusal names
_OF_MODULES = SCALARS | set(LEAVES.values())  # leaves that a value of a pickle may be, if only by mistake


class Header(Protocol):
    """What is asked of a file here; a TensorFile has it. ``extras`` are the values of a pickle that are no tensors."""

    @property
    def path(self) -> Path: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def extras(self) -> Mapping[str, object]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def dtype(self, name: str) -> str: ...
    def tensor(self, name: str) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key taken apart. ``component`` None: the name does not tell; ``adapter``: PEFT's name for it in the key."""

    key: str
    stem: str
    path: str
    leaf: str
    component: str | None = None
    adapter: str | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """One module of a file. ``stem`` is the module as the file writes it, ``path`` what a NameMap is asked for.

    ``facts`` is what stands outside the tensors (a PEFT config, a layout's own reading); an alpha among the leaves goes
    before its alpha. ``problem`` is why the whole module is refused whatever its leaves are; empty when there is none.
    """

    stem: str
    component: str | None
    path: str
    leaves: Mapping[str, str]
    keys: tuple[str, ...]
    facts: Facts = NO_FACTS
    problem: str = ""

    @property
    def name(self) -> str:
        """The path behind its component, for evidence and for words."""
        return f"{self.component}.{self.path}" if self.component else self.path


@dataclass(frozen=True, kw_only=True)
class Reading:
    """All keys of a file: in groups, embeddings (name → its own key → the file's key), or left over with a reason.

    ``notes`` are remarks for the Report; ``config`` the text of a config beside the file, where the numbers depend on
    one; ``stated`` what such a config says of the base.
    """

    groups: tuple[Group, ...]
    leftovers: tuple[Leftover, ...] = ()
    notes: tuple[str, ...] = ()
    config: str = ""
    stated: str = ""
    embeddings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Where a group's module is in a model. Without seats, ``reason`` says why; ``needless``: nothing is lost by it."""

    seats: tuple[Seat, ...] = ()
    reason: str = ""
    needless: bool = False

    @classmethod
    def among(cls, found: Mapping[str, tuple[Seat, ...]]) -> Spot:
        """The one component that has the module; where several have it, nobody can say which is meant."""
        if len(found) > 1:
            return cls(reason=f"{' and '.join(found)} both have it, and the file does not say which is meant")
        return cls(seats=next(iter(found.values()), ()))


Finder = Callable[[Group], Spot]


class Format(Protocol):
    """One entry of FORMATS."""

    name: str

    def recognise(self, file: Header) -> str | None:
        """Why the file is in this layout, or None when it is not. Looks at the header only."""

    def read(self, file: Header) -> Reading:
        """Every key of the file, grouped or left over. May raise UnreadableFile for a broken config beside it."""

    def finder(self, names: NameMap, reading: Reading, file: Header) -> Finder:
        """A function that says where each group of ``reading`` is in the model that ``names`` was made of."""


def first_key(file: Header, claims: Callable[[str], object]) -> str | None:
    """The words of a recognition: the first key that the layout claims, or None."""
    key = next((key for key in file.names if claims(key)), None)
    return None if key is None else f"keys such as {key}"


def gather(file: Header, split: Callable[[str], Key | None], layout: str) -> tuple[list[Key], Reading]:
    """Every key taken apart by ``split``; what it does not know is left over and refused as foreign to ``layout``.

    The Reading that comes back holds no groups yet, only the embeddings and the leftovers.
    """
    keys: list[Key] = []
    leftovers: list[Leftover] = []
    embeddings: dict[str, dict[str, str]] = {}

    def left(name: str, reason: str, *, refused: bool) -> None:
        leftovers.append(Leftover(key=name, reason=reason, refused=refused))

    for name in file.names:
        word = embedded(name)
        if word:
            embeddings.setdefault(word[0], {})[word[1]] = name
        elif reason := ignorable(name):
            left(name, reason, refused=False)
        elif key := split(name):
            keys.append(key)
        else:
            left(name, f"not a key of {layout} layout", refused=True)
    for name in file.extras:
        key = None if embedded(name) or ignorable(name) else split(name)
        if key is not None and key.leaf.partition(".")[0] in _OF_MODULES:  # a list comes as alpha.0, alpha.1
            keys.append(key)
        else:
            left(name, "not a tensor", refused=False)
    return keys, Reading(groups=(), leftovers=tuple(leftovers), embeddings=embeddings)


def collect(keys: Iterable[Key]) -> tuple[Group, ...]:
    """Keys of one module together, in the order of the file. Two keys for one leaf are a problem of the module."""
    modules: dict[tuple[str | None, str], list[Key]] = {}
    for key in keys:
        modules.setdefault((key.component, key.path), []).append(key)
    return tuple(_group(members) for members in modules.values())


def _group(members: list[Key]) -> Group:
    leaves: dict[str, str] = {}
    problem = ""
    for key in members:
        first = leaves.setdefault(key.leaf, key.key)
        if first != key.key and not problem:
            problem = f"it is written twice: {first} and {key.key}"
    head = members[0]
    return Group(
        stem=head.stem,
        component=head.component,
        path=head.path,
        leaves=leaves,
        keys=tuple(key.key for key in members),
        problem=problem,
    )


def one_adapter(keys: Iterable[Key], groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """The groups, each refused where the keys name several adapters: those differ, and nobody said which."""
    adapters = sorted({key.adapter for key in keys if key.adapter})
    if len(adapters) < 2:
        return groups
    listed = ", ".join([*adapters[:MANY], *([f"{len(adapters) - MANY} more"] if len(adapters) > MANY else [])])
    several = f"the file holds several adapters ({listed}), and one is applied at a time"
    return tuple(replace(group, problem=several) for group in groups)
