"""Library: from a name to a file, for all but adapters. The first folder that has the name counts; never downloads.

Names are per role: a VAE and a ControlNet may both be called lineart. What a file is, its header tells, not the folder
that it lies in; so a folder may be sorted as people like.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sakuga.errors import FileProblem, SakugaError, nearest_name
from sakuga.models.folders import is_bundle
from sakuga.models.signatures import spoken
from sakuga.tensors.refs import ADAPTER_FILES, SUFFIXES, adapter_in, is_path, not_there

STARTER = Path(__file__).parents[1] / "starter"
VARIABLE = "SAKUGA_MODELS"
DEPTH = 4
ADAPTER = "adapter"
BASE = "base"  # the role of what a job renders on: a bundle or a checkpoint
ANY = "model"  # in the place of a role: any of them


@dataclass(frozen=True, kw_only=True)
class Library:
    """The folders to search, in order."""

    folders: tuple[Path, ...]

    @classmethod
    def usual(cls, more: Iterable[Path] = ()) -> Library:
        """``more`` (a job's own folders), those of ``$SAKUGA_MODELS``, ``models`` where we are, and the starter bundle.

        Raises FileProblem if one of ``more`` is not there.
        """
        more = tuple(more)
        for number, folder in enumerate(more):
            if not folder.is_dir():
                raise not_there(folder, "a folder of models").at(f"models.{number}")
        named = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
        return cls(folders=(*more, *named, Path("models"), STARTER))

    def including(self, folder: Path | None) -> Library:
        """This library with ``folder`` (a base's own) searched first."""
        if folder is None or folder in self.folders:
            return self
        return Library(folders=(folder, *self.folders))

    def find(self, ref: str | Path, role: str) -> Path:
        """The file or folder of ``role`` that ``ref`` stands for: a path as it is, or a name (file stem, folder name).

        Raises FileProblem with the nearest name of that role if there is none. Adapters have a finder of their own.
        """
        assert role != ADAPTER, "names of adapters are found by lora/library/names.py"
        path = Path(ref).expanduser()
        if is_path(ref) and os.path.exists(path):
            return path
        if is_path(ref):
            raise not_there(path, "a file or folder that is there, or a name in the library")
        for folder in self.folders:
            found = [item for item in _items(folder) if _name(item) == str(ref) and _has_role(item, role)]
            if found:
                return min(found, key=_preference)
        if os.path.exists(path):
            return path
        raise self._unknown(str(ref), role)

    def find_any(self, ref: str) -> Path:
        """As ``find``, whatever the role. Raises FileProblem also if the name has several, or two adapters have it."""
        if is_path(ref):
            return self.find(ref, ANY)
        named = [(item, _role(item)) for folder in self.folders for item in _items(folder) if _name(item) == ref]
        first = {role: self.find(ref, role) for _, role in named if role not in (None, ADAPTER)}
        adapters = {adapter_in(item).resolve(): adapter_in(item) for item, role in named if role == ADAPTER}
        found = [*((ADAPTER, path) for path in adapters.values()), *first.items()]
        if len(found) > 1:
            raise FileProblem(
                "several files have this name",
                given=ref,
                expected="; ".join(f"{spoken(role)}: {path}" for role, path in sorted(found)),
                do="give the path of one of them",
            )
        return found[0][1] if found else self.find(ref, ANY)

    def names(self, role: str) -> tuple[str, ...]:
        """All names of a role, sorted. Opens the header of every file."""
        found = {_name(item) for folder in self.folders for item in _items(folder) if _has_role(item, role)}
        return tuple(sorted(found))

    def mentioned(self, text: str, role: str) -> tuple[str, ...]:
        """The names of a role that stand in ``text`` as words of their own, whatever their capitals, sorted.

        Only files whose names do are opened, so a large library costs nothing.
        """
        items = (item for folder in self.folders for item in _items(folder))
        found = {_name(item) for item in items if _stands_in(_name(item), text) and _has_role(item, role)}
        return tuple(sorted(found))

    def files_for(self, stem: str, inside: str) -> Iterator[Path]:
        """Files called ``stem``, then all others that lie right in a folder called ``inside``, folder by folder."""
        for folder in self.folders:
            items = [item for item in _items(folder) if item.is_file()]
            yield from (item for item in items if item.stem == stem)
            yield from (item for item in items if item.stem != stem and item.parent.name.lower() == inside.lower())

    def _unknown(self, name: str, role: str) -> FileProblem:
        known = self.names(role)
        own = ", ".join(str(folder) for folder in self.folders if not folder.is_relative_to(STARTER))
        unread = ", ".join(str(path) for folder in self.folders for path in _unread(folder))
        shut = f"; there is no right to read {unread}" if unread else ""
        return FileProblem(
            f"nothing of that name serves as {spoken(role)}",
            given=name,
            expected=(", ".join(known) if known else f"a path; no folder holds {spoken(role)} yet") + shut,
            nearest=nearest_name(name, known),
            do=f"give a path, name its folder with --models, or put the file into a folder that is searched: {own}",
        )


def _items(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Everything below a folder that may have a name: files of tensors, folders with a config. Sorted."""
    if depth == DEPTH and _is_model(folder):
        yield folder
    for item in _listed(folder):
        if os.path.isdir(item):
            if _is_model(item):
                yield item
            elif depth > 0 and not item.name.startswith("."):
                yield from _items(item, depth - 1)
        elif item.suffix in SUFFIXES:
            yield item


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it is not there or may not be read, which ``_unread`` tells."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _unread(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The folders below that may not be read."""
    if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
        yield folder
    for item in _listed(folder) if depth >= 0 else ():
        if not item.name.startswith(".") and os.path.isdir(item):
            yield from _unread(item, depth - 1)


def _is_model(folder: Path) -> bool:
    return is_bundle(folder) or any(os.path.isfile(folder / name) for name in ("config.json", *ADAPTER_FILES))


def _name(item: Path) -> str:
    return item.resolve().name if os.path.isdir(item) else item.stem


def _stands_in(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def _has_role(item: Path, role: str) -> bool:
    known = _role(item)
    return known is not None and role in (ANY, known)


def _role(item: Path) -> str | None:
    """The role of a file. What cannot be read has none: it is told of when somebody names its path."""
    from sakuga.models.detect import recognise

    try:
        known = recognise(item)
    except SakugaError:
        return None
    return BASE if known.role in ("bundle", "checkpoint") else known.role


def _preference(item: Path) -> tuple[int, str]:
    return (0 if item.is_dir() else 1 + SUFFIXES.index(item.suffix), str(item))
