"""Names: which adapter a name means. The one place that decides it, for jobs and for every command.

A path is a path, from the working directory or else from one of the folders. A name is, in this order, that of a file
(or of the folder that an adapter was saved into), the alias that its training gave it, a title that a file beside it
states, or a hash that is known of it. To find a file by its own name the folders are listed; the index is asked for all
else. Never chooses between two different files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sakuga.errors import FileProblem, OutputError, SakugaError, nearest_names
from sakuga.lora.library.ask import with_known_hash
from sakuga.lora.library.folders import Found, Scan, adapter_name, scan
from sakuga.lora.library.index import open_index
from sakuga.lora.library.row import Row
from sakuga.progress import Progress
from sakuga.tensors.refs import adapter_in, is_path, not_there

SHOWN = 10  # names or files that an error lists


@dataclass(frozen=True, kw_only=True)
class Named:
    """The file that a name means. ``remark``: what is to be said where several files with one content have the name."""

    path: Path
    remark: str = ""


class Names:
    """The adapters below some folders, to be asked for by name. Lists the folders once, when they are first needed."""

    def __init__(
        self,
        folders: Iterable[Path],
        *,
        index: Path | None = None,
        watch: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(Progress()),
    ) -> None:
        """``index``: its file, the usual one by default. ``watch`` is entered where files have to be indexed first."""
        self._folders, self._place, self._watch = tuple(folders), index, watch

    def find(self, ref: str | Path) -> Named:
        """The file of an adapter. Raises FileProblem where a name means none, or two that differ."""
        path = Path(ref).expanduser()
        if is_path(ref):
            if not os.path.exists(path):
                if below := self._below(path):
                    return self._one(str(ref), below)
                raise not_there(path, "a file or folder that is there, or a name in the library")
            return Named(path=adapter_in(path))
        called = [one for one in self.scan.found if adapter_name(one.path) == ref]
        rows = [self._row(one) for one in called]
        if adapters := [row for row in rows if row.kind == "adapter"]:
            return _beside(self._one(str(ref), adapters), path)
        if os.path.exists(path):
            return Named(path=adapter_in(path))
        return self._known_otherwise(str(ref), rows)

    @cached_property
    def scan(self) -> Scan:
        """What lies in the folders."""
        return scan(self._folders)

    @cached_property
    def rows(self) -> list[Row]:
        """Everything in the folders, by the index, which is brought up to date. Raises OutputError, FileProblem."""
        with open_index(self._place) as index:
            return index.up_to_date(self.scan, self._watch)

    def row_of(self, path: Path) -> Row:
        """What the file of an adapter is, wherever it lies."""
        place = os.path.abspath(path)
        found = (*self.scan.found, *scan([path.parent], depth=0).found)
        return self._row(next(one for one in found if one.path == place))

    def _row(self, one: Found) -> Row:
        """What a single file is; its header is read unless the index was asked already."""
        if "rows" in self.__dict__:
            known = next((row for row in self.rows if row.path == os.fsencode(one.path)), None)
            if known:
                return known
        from sakuga.lora.library.listings import Listings
        from sakuga.lora.library.reading import read_row

        return read_row(one, Listings())

    def _below(self, path: Path) -> list[Row]:
        """The adapters that this relative path means somewhere below the folders: ``ink.safetensors``, ``set/ink``."""
        count = len(path.parts)
        spelled = ((one, Path(one.path)) for one in self.scan.found)
        rows = [
            self._row(one)
            for one, file in spelled
            if any(way.parts[-count:] == path.parts for way in (file, file.with_suffix(""), file.parent))
            and (file.parent.parts[-count:] != path.parts or adapter_in(file.parent) == file)
        ]
        return [row for row in rows if row.kind == "adapter"]

    def _known_otherwise(self, name: str, called: Sequence[Row]) -> Named:
        """By alias, title or hash. ``called``: files of that name that are no adapters, to be told of if all fails."""
        try:
            adapters = [row for row in self.rows if row.kind == "adapter"]
        except (OutputError, FileProblem) as problem:
            if called:
                raise _no_adapter(called[0]) from problem
            raise self._unknown(name, [adapter_name(one.path) for one in self.scan.found], problem.given) from problem
        kinds: tuple[Callable[[Row], str], ...] = (lambda row: row.alias, lambda row: row.title)
        for kind in kinds:
            if found := [row for row in adapters if kind(row) == name]:
                return self._one(name, found)
        with open_index(self._place) as index:
            found = with_known_hash(name, adapters, index)
        if found:
            return self._one(name, found)
        if called:
            raise _no_adapter(called[0])
        raise self._unknown(name, [word for row in adapters for word in (row.name, row.alias, row.title) if word])

    def _one(self, name: str, rows: Sequence[Row]) -> Named:
        """The one file among these, however many links and copies there are of it."""
        inodes = {one.path: one.inode for one in self.scan.found}
        different = {inodes.get(str(row.file), row.path): row for row in reversed(rows)}
        files = [row.file for row in reversed(different.values())]
        if len(files) == 1:
            return Named(path=files[0])
        if len({row.size_bytes for row in rows}) > 1 or len(set(map(_sha256, files))) > 1:
            raise FileProblem(
                f"{len(files)} files are called {name}",
                given=_listed(files),
                expected="one file of each name",
                do=f"write the path in the place of the name, such as {files[0]}, or rename the others",
            )
        return Named(path=files[0], remark=f"{len(files)} copies of it are there, {files[0]} is used: {_listed(files)}")

    def _unknown(self, name: str, known: Iterable[str], problem: str | None = None) -> FileProblem:
        names = sorted(set(known))
        folders = ", ".join(map(str, self.scan.folders)) or "no folder"
        near = nearest_names(name, names)
        return FileProblem(
            "nothing of that name serves as a LoRA",
            given=f"{name} (aliases could not be looked up: {problem})" if problem else name,
            expected=f"one of {len(names)} names in {folders}" if len(names) > SHOWN else ", ".join(names) or folders,
            nearest=", ".join(near) or None,
            do="give a path, or name its folder with --models; sakuga lora list shows what there is",
        )


def _beside(named: Named, here: Path) -> Named:
    """With a word where something in the working folder has the name too, and is not what the name means."""
    meant = adapter_in(here)
    if not os.path.exists(meant) or os.path.samefile(meant, named.path):
        return named
    what = "folder" if here.is_dir() else "file"
    told = f"{named.path} is used, not the {what} {here} in the working folder; ./{here} means that one"
    return replace(named, remark=f"{named.remark}; {told}" if named.remark else told)


def _no_adapter(row: Row) -> SakugaError:
    """The error for a file that is no adapter, from its reader."""
    from sakuga.lora.survey import survey
    from sakuga.tensors.file import TensorFile

    try:
        with TensorFile.open(row.file) as file:
            survey(file)
    except SakugaError as problem:
        return problem
    return FileProblem(f"{row.name} changes while it is read", given=str(row.file), do="ask again")


def _sha256(path: Path) -> str:
    from sakuga.tensors.file import TensorFile

    with TensorFile.open(path) as file:
        return file.sha256


def _listed(files: Sequence[Path]) -> str:
    more = [f"and {len(files) - SHOWN} more"] if len(files) > SHOWN else []
    return ", ".join([*map(str, files[:SHOWN]), *more])
