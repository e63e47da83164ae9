"""Folders: the files below them that may be adapters, with what tells whether they have changed. Opens no file.

Folders that are linked to are entered, each once, so a circle ends; hidden ones are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sakuga.lora.library.sidecars import SUFFIXES as BESIDE

SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
DEPTH = 12  # levels of folders


@dataclass(frozen=True, kw_only=True)
class Found:
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
    """What lies below some folders, sorted by path. ``notes`` tell of folders that could not be read."""

    folders: tuple[Path, ...] = ()
    found: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scan(folders: Iterable[Path]) -> Scan:
    """Every file of tensors below ``folders``; a folder that is not there holds none."""
    told = Scan(folders=tuple(folders))
    entered: set[tuple[int, int]] = set()
    for folder in told.folders:
        if folder.is_dir():
            _enter(os.path.abspath(folder), told, entered, DEPTH)
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
    for name, entry in entries.items():
        if name.endswith(SUFFIXES):
            one = _found(entry, entries)
            told.found += [one] if one else []
        elif depth > 0 and _is_dir(entry):
            _enter(entry.path, told, entered, depth - 1)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _found(entry: os.DirEntry[str], entries: dict[str, os.DirEntry[str]]) -> Found | None:
    """The file of an entry; None for what is no file, and for what is gone already."""
    try:
        if not entry.is_file():
            return None
        state = entry.stat()
    except OSError:
        return None
    stem = os.path.splitext(entry.name)[0]
    beside = [(suffix, entries[stem + suffix]) for suffix in BESIDE if stem + suffix in entries]
    return Found(
        path=entry.path,
        size_bytes=state.st_size,
        mtime_ns=state.st_mtime_ns,
        inode=(state.st_dev, state.st_ino),
        beside=";".join(_stamp(suffix, one) for suffix, one in beside),
    )


def _stamp(suffix: str, entry: os.DirEntry[str]) -> str:
    try:
        state = entry.stat()
    except OSError:
        return f"{suffix}:gone"
    return f"{suffix}:{state.st_size}:{state.st_mtime_ns}"
