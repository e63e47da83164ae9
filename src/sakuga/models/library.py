"""Library: from a name to a file. The first of its folders that has the name counts; never downloads.

Names are per role: a LoRA and a ControlNet may both be called lineart. What a file is, its header tells, not the folder
that it lies in; so a folder may be sorted as people like.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sakuga.errors import FileProblem, SakugaError, nearest_name
from sakuga.models.detect import recognise
from sakuga.models.folders import ADAPTER_FILES, is_bundle
from sakuga.models.signatures import spoken

STARTER = Path(__file__).parents[1] / "starter"
VARIABLE = "SAKUGA_MODELS"
SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")  # of two files with one name and role, the earlier kind
DEPTH = 4
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
                raise _not_there(folder, "a folder of models").at(f"models.{number}")
        named = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
        return cls(folders=(*more, *named, Path("models"), STARTER))

    def including(self, folder: Path | None) -> Library:
        """This library with ``folder`` (a base's own) searched first."""
        if folder is None or folder in self.folders:
            return self
        return Library(folders=(folder, *self.folders))

    def find(self, ref: str | Path, role: str) -> Path:
        """The file or folder of ``role`` that ``ref`` stands for: a path as it is, or a name (file stem, folder name).

        Raises FileProblem with the nearest name of that role if there is none.
        """
        path = Path(ref).expanduser()
        if path.exists() and _is_path(ref):
            return _weights(path, role)
        if _is_path(ref):
            raise _not_there(path, "a file or folder that is there, or a name in the library")
        for folder in self.folders:
            found = [item for item in _items(folder) if _name(item) == str(ref) and _has_role(item, role)]
            if found:
                return _weights(min(found, key=_preference), role)
        if path.exists():
            return _weights(path, role)
        raise self._unknown(str(ref), role)

    def find_any(self, ref: str) -> Path:
        """As ``find``, whatever the role. Raises FileProblem also if the name has several."""
        items = (item for folder in self.folders for item in _items(folder) if _name(item) == ref)
        roles = [] if _is_path(ref) else sorted({role for role in map(_role, items) if role})
        if len(roles) > 1:
            raise FileProblem(
                "several files have this name",
                given=ref,
                expected="; ".join(f"{spoken(role)}: {self.find(ref, role)}" for role in roles),
                do="give the path of one of them",
            )
        return self.find(ref, roles[0] if roles else ANY)

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

    def _unknown(self, name: str, role: str) -> FileProblem:
        known = self.names(role)
        own = ", ".join(str(folder) for folder in self.folders if not folder.is_relative_to(STARTER))
        return FileProblem(
            f"nothing of that name serves as {spoken(role)}",
            given=name,
            expected=", ".join(known) if known else f"a path; no folder holds {spoken(role)} yet",
            nearest=nearest_name(name, known),
            do=f"give a path, name its folder with --models, or put the file into a folder that is searched: {own}",
        )


def adapter_name(path: Path) -> str:
    """What an adapter's file is called by: its stem, or its folder's name where the file's own says nothing."""
    return path.resolve().parent.name if path.name in ADAPTER_FILES else path.stem


def _not_there(path: Path, expected: str) -> FileProblem:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest_name(path.name, beside)
    title = f"{path} is no folder" if path.exists() else "no such file or folder"
    return FileProblem(title, given=str(path), expected=expected, nearest=near, do="check the path")


def _weights(item: Path, role: str) -> Path:
    """An adapter in a folder, as PEFT and diffusers save it, is the file in it; every other folder is itself."""
    inside = (item / name for name in ADAPTER_FILES)
    return next((path for path in inside if path.is_file()), item) if role == "adapter" and item.is_dir() else item


def _is_path(ref: str | Path) -> bool:
    text = str(ref)
    return isinstance(ref, Path) or "/" in text or os.sep in text or text.endswith(SUFFIXES)


def _items(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Everything below a folder that may have a name: files of tensors, folders with a config. Sorted."""
    if depth == DEPTH and _is_model(folder):
        yield folder
    if not folder.is_dir():
        return
    for item in sorted(folder.iterdir()):
        if item.is_dir():
            if _is_model(item):
                yield item
            elif depth > 0 and not item.name.startswith("."):
                yield from _items(item, depth - 1)
        elif item.suffix in SUFFIXES:
            yield item


def _is_model(folder: Path) -> bool:
    return is_bundle(folder) or any((folder / name).is_file() for name in ("config.json", *ADAPTER_FILES))


def _name(item: Path) -> str:
    return item.resolve().name if item.is_dir() else item.stem


def _stands_in(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def _has_role(item: Path, role: str) -> bool:
    known = _role(item)
    return known is not None and role in (ANY, known)


def _role(item: Path) -> str | None:
    """The role of a file. What cannot be read has none: it is told of when somebody names its path."""
    try:
        known = recognise(item)
    except SakugaError:
        return None
    return BASE if known.role in ("bundle", "checkpoint") else known.role


def _preference(item: Path) -> tuple[int, str]:
    return (0 if item.is_dir() else 1 + SUFFIXES.index(item.suffix), str(item))
