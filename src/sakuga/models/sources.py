"""The account of the files that a part was made of: one Source each, with everything that was left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sakuga.models.bundle import Leftover, Source
from sakuga.models.folders import read_config
from sakuga.models.leftovers import leftovers
from sakuga.models.parts import PartFiles
from sakuga.models.schedule import Schedule
from sakuga.models.signatures import Role
from sakuga.tensors.file import TensorFile


def source_of(file: TensorFile, role: Role, used: Iterable[str], beside: Iterable[Path] = ()) -> Source:
    """The account of one file, and of the files ``beside`` it that say how it is used."""
    taken = frozenset(used) & frozenset(file.names)
    left = leftovers(file.names, taken)
    return Source(path=file.path, role=role, used=len(taken), leftovers=left, beside=tuple(beside))


def sources_of(part: PartFiles, role: Role, used: Iterable[str], beside: Iterable[Path] = ()) -> tuple[Source, ...]:
    """The account of each file of a part; its config, if it has one, and ``beside`` count for all of them."""
    taken, config = frozenset(used), [] if part.config is None else [part.files[0].path.parent / "config.json"]
    more = (*config, *beside)
    return tuple(source_of(file, role, taken, more) for file in part.files)


def source_of_scheduler(path: Path) -> Source:
    """The account of a ``scheduler_config.json``: its entries about the training are used."""
    config = read_config(path)
    left = tuple(Leftover(key=key, reason=reason) for key, reason in Schedule.left_aside(config).items())
    return Source(path=path, role="scheduler", used=len(config) - len(left), leftovers=left)
