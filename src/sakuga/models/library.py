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

STARTER = Path(__file__).parents[1] / "starter"
VARIABLE = "SAKUGA_MODELS"
SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")  # of two files with one name and role, the earlier kind
DEPTH = 4
BASE = "base"  # the role of what a job renders on: a bundle or a checkpoint


@dataclass(frozen=True, kw_only=True)
class Library:
    """The folders to search, in order."""

    folders: tuple[Path, ...]

    @classmethod
    def usual(cls, more: Iterable[Path] = ()) -> Library:
        """A job's own folders, those of ``$SAKUGA_MODELS``, ``models`` where we are, and the starter bundle."""
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
            raise _no_file(path)
        for folder in self.folders:
            found = [item for item in _items(folder) if _name(item) == str(ref) and _has_role(item, role)]
            if found:
                return _weights(min(found, key=_preference), role)
        if path.exists():
            return _weights(path, role)
        raise self._unknown(str(ref), role)

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
        return FileProblem(
            f"nothing of that name serves as {_spoken(role)}",
            given=name,
            expected=", ".join(known) if known else f"a path; no folder holds {_spoken(role)} yet",
            nearest=nearest_name(name, known),
            do=f"give a path, or put the file into one of: {', '.join(str(folder) for folder in self.folders)}",
        )


def adapter_name(path: Path) -> str:
    """What an adapter's file is called by: its stem, or its folder's name where the file's own says nothing."""
    return path.resolve().parent.name if path.name in ADAPTER_FILES else path.stem


def _no_file(path: Path) -> FileProblem:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest_name(path.name, beside)
    expected = "a file or folder that is there, or a name in the library"
    return FileProblem("no such file", given=str(path), expected=expected, nearest=near, do="check the path")


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
    """Whether a file is of a role. What cannot be read has none: it is told of when somebody names its path."""
    try:
        known = recognise(item)
    except SakugaError:
        return False
    return known.role in ("bundle", "checkpoint") if role == BASE else known.role == role


def _preference(item: Path) -> tuple[int, str]:
    return (0 if item.is_dir() else 1 + SUFFIXES.index(item.suffix), str(item))


def _spoken(role: str) -> str:
    word = {"adapter": "LoRA", "control": "ControlNet", "motion": "motion module", "vae": "VAE"}.get(role, role)
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word.replace('_', ' ')}"
