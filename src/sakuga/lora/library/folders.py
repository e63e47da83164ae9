"""Folders: the files below them that may be adapters, with what tells whether they have changed. Opens no file.

Folders that are linked to are entered, each once, so a circle ends; hidden ones are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sakuga.lora.library.sidecars import SUFFIXES as BESIDE
from sakuga.tensors.refs import ADAPTER_FILES, SUFFIXES

DEPTH = 12  # levels of folders
# Files whose own name says nothing: the folder's is the adapter's.
PLAIN_STEMS = frozenset(os.path.splitext(name)[0] for name in ADAPTER_FILES)


class Found(NamedTuple):
    """A file of tensors by its suffix. ``beside`` changes when a sidecar comes, goes or changes; ``inode`` names the
    content, whatever paths lead to it.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    inode: tuple[int, int]
    beside: str

    @property
    def sidecar_suffixes(self) -> tuple[str, ...]:
        """The sidecars that are there."""
        return tuple(part.split(":")[0] for part in self.beside.split(";") if part)


@dataclass(kw_only=True)
class Scan:
    """What lies below some folders, sorted by path. ``inside``: the folders that were read; ``notes``: what was not."""

    folders: tuple[Path, ...] = ()
    inside: list[Path] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def adapter_name(path: str | Path) -> str:
    """What an adapter's file is called by: its stem, or its folder's name where the file's own says nothing."""
    folder, name = os.path.split(os.path.abspath(path))
    stem = os.path.splitext(name)[0]
    return os.path.basename(folder) if stem in PLAIN_STEMS else stem


def scan(folders: Iterable[Path], *, depth: int = DEPTH) -> Scan:
    """Every file of tensors in ``folders`` and as many levels below; a folder that is not there holds none."""
    told = Scan(folders=tuple(folders))
    entered: set[tuple[int, int]] = set()
    for folder in told.folders:
        if folder.is_dir():
            _enter(os.path.abspath(folder), told, entered, depth)
    told.found.sort(key=lambda one: one.path)
    return told


def _enter(folder: str, told: Scan, entered: set[tuple[int, int]], depth: int) -> None:
    try:
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in entered:
            return
        entered.add((here.st_dev, here.st_ino))
        with os.scandir(folder) as listing:
            entries = {entry.name: entry for entry in listing if not entry.name.startswith(".")}
    except OSError as problem:
        told.notes.append(f"{folder} is not read: {problem.strerror}")
        return
    told.inside.append(Path(folder))
    files = {name: entry for name, entry in entries.items() if name.endswith(SUFFIXES)}
    beside = _beside(entries)
    for name, entry in files.items():
        one = _found(entry, beside.get(os.path.splitext(name)[0], {}))
        told.found += [one] if one else []
    for name, entry in entries.items():
        if name not in files and depth > 0 and _is_dir(entry):
            _enter(entry.path, told, entered, depth - 1)


def _beside(entries: dict[str, os.DirEntry[str]]) -> dict[str, dict[str, os.DirEntry[str]]]:
    """The sidecars of a folder: stem → suffix → entry. "a.preview.png" may stand beside "a" and beside "a.preview"."""
    stems: dict[str, dict[str, os.DirEntry[str]]] = {}
    for name, entry in entries.items():
        for suffix in BESIDE if name.endswith(BESIDE) else ():
            if name.endswith(suffix):
                stems.setdefault(name.removesuffix(suffix), {})[suffix] = entry
    return stems


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _found(entry: os.DirEntry[str], beside: dict[str, os.DirEntry[str]]) -> Found | None:
    """The file of an entry; None for what is no file, and for what is gone already."""
    try:
        if not entry.is_file():
            return None
        state = entry.stat()
    except OSError:
        return None
    stamps = ";".join([_stamp(suffix, beside[suffix]) for suffix in BESIDE if suffix in beside]) if beside else ""
    return Found(entry.path, state.st_size, state.st_mtime_ns, (state.st_dev, state.st_ino), stamps)


def _stamp(suffix: str, entry: os.DirEntry[str]) -> str:
    try:
        state = entry.stat()
    except OSError:
        return f"{suffix}:gone"
    return f"{suffix}:{state.st_size}:{state.st_mtime_ns}"
