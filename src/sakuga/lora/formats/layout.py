"""What a format is: it knows its keys, and renames and groups them. It chooses no algorithm and reads no factor.

A Group is one module of a file: the canonical leaves ("up", "down", "alpha" …) and the keys that hold them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from torch import Tensor

from sakuga.lora.adapter import Leftover
from sakuga.tensors.names import NameMap, Place


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
    component: str | None
    path: str
    leaf: str
    adapter: str | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """One module of a file. ``stem`` is the module as the file writes it, ``path`` what a NameMap is asked for.

    ``alpha`` is one that stands outside the tensors (a PEFT config). ``problem`` is why the whole module is refused
    whatever its leaves are; empty when there is none.
    """

    stem: str
    component: str | None
    path: str
    leaves: Mapping[str, str]
    keys: tuple[str, ...]
    alpha: float | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """All keys of a file: in groups, or left over with a reason. ``notes`` are remarks for the Report."""

    groups: tuple[Group, ...]
    leftovers: tuple[Leftover, ...] = ()
    notes: tuple[str, ...] = ()
    config: str = ""  # the text of a config beside the file, where the numbers depend on one


class Format(Protocol):
    """One entry of FORMATS."""

    name: str

    def recognise(self, file: Header) -> str | None:
        """Why the file is in this layout, or None when it is not. Looks at the header only."""

    def read(self, file: Header) -> Reading:
        """Every key of the file, grouped or left over. May raise UnreadableFile for a broken config beside it."""

    def find(self, group: Group, names: NameMap, components: tuple[str, ...]) -> Place | None:
        """Where the group's module is in the model whose ``components`` the map was made of."""


def collect(keys: Iterable[Key]) -> tuple[Group, ...]:
    """Keys of one module together, in the order of the file. Two keys for one leaf are a problem of the module."""
    groups: dict[tuple[str | None, str], list[Key]] = {}
    for key in keys:
        groups.setdefault((key.component, key.path), []).append(key)
    return tuple(_group(members) for members in groups.values())


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


def refuse_all(groups: Iterable[Group], reason: str) -> tuple[Group, ...]:
    """The groups, each refused for ``reason``."""
    return tuple(replace(group, problem=reason) for group in groups)
