"""TensorFile: a file's header (names, shapes, formats, metadata) at once, its tensors on demand.

The container is told by the first bytes, never by the file's name. Only the header is read on opening; a tensor is read
when it is asked for, each as an own copy. Nothing is executed and nothing is fetched from anywhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from sakuga.errors import FileProblem, UnreadableFile, nearest_name
from sakuga.tensors.entry import Entry
from sakuga.tensors.mistaken import is_mistaken, mistaken
from sakuga.tensors.pickle import read_pickle
from sakuga.tensors.refs import ADAPTER_FILES, SUFFIXES, not_there
from sakuga.tensors.safetensors_header import HEADER_CAP_BYTES, read_header

if TYPE_CHECKING:
    from io import FileIO

    import torch

Kind = Literal["safetensors", "pickle"]
HASHED_BYTES = 2**22  # at a time
INSIDE = 3  # files of a folder that an error lists


class TensorFile:
    """One file of tensors, opened by ``TensorFile.open``. As a context manager it keeps the file open between reads."""

    def __init__(
        self,
        path: Path,
        kind: Kind,
        entries: Mapping[str, Entry],
        *,
        metadata: Mapping[str, str] | None = None,
        extras: Mapping[str, object] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.path, self.kind, self.entries, self.notes = path, kind, dict(entries), notes
        self.metadata: dict[str, str] = dict(metadata or {})
        self.extras: dict[str, object] = dict(extras or {})
        self._stream: FileIO | None = None

    @classmethod
    def open(cls, path: Path, *, header_cap_bytes: int = HEADER_CAP_BYTES) -> TensorFile:
        """Read the header of ``path``. Raises FileProblem if there is none, UnreadableFile if it is not sound."""
        kind, zipped = _container(path)
        if kind == "safetensors":
            header = read_header(path, cap_bytes=header_cap_bytes)
            return cls(path, kind, header.entries, metadata=header.metadata, notes=header.notes)
        pickled = read_pickle(path, zipped=zipped)
        return cls(path, kind, pickled.entries, extras=pickled.extras)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tensors, in the file's order."""
        return tuple(self.entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """The sizes of a tensor."""
        return self._entry(name).shape

    def dtype(self, name: str) -> str:
        """The number format of a tensor, as headers call it: "F16", "BF16", "F32" …"""
        return self._entry(name).dtype

    def tensor(self, name: str) -> torch.Tensor:
        """An own copy of a tensor on the CPU, in the file's number format."""
        with self._reading() as stream:
            return self._entry(name).read(stream)

    def tensors(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        """(name, tensor) one after another, of all names or of those given; only one is in memory at a time."""
        with self._reading() as stream:
            for name in self.names if names is None else names:
                yield name, self._entry(name).read(stream)

    @cached_property
    def sha256(self) -> str:
        """The hash of the whole file's bytes, 64 hexadecimal digits. Reads the file once."""
        return self.hashed(lambda: False)

    def hashed(self, stop: Callable[[], bool]) -> str:
        """``sha256`` for those who compute it beside other work; when ``stop`` says so it is given up, and empty."""
        found, piece = hashlib.sha256(), bytearray(HASHED_BYTES)
        with self.path.open("rb", buffering=0) as stream:
            while not stop():
                got = stream.readinto(piece)
                if not got:
                    return found.hexdigest()
                found.update(memoryview(piece)[:got])
        return ""

    def _entry(self, name: str) -> Entry:
        if name not in self.entries:
            raise FileProblem(
                f"{self.path.name} has no such tensor", given=name, nearest=nearest_name(name, self.entries)
            )
        return self.entries[name]

    @contextmanager
    def _reading(self) -> Iterator[FileIO]:
        try:
            if self._stream is not None:
                yield self._stream
                return
            with self.path.open("rb", buffering=0) as stream:
                yield stream
        except UnreadableFile as error:
            error.given = f"{self.path}: {error.given}"
            raise

    def __enter__(self) -> Self:
        self._stream = self.path.open("rb", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None


def _container(path: Path) -> tuple[Kind, bool]:
    """The kind of container by its first bytes, and whether a pickle is in a zip."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise FileProblem(
            f"{path.name} is not an ordinary file", given=str(path), expected="a file of tensors", do="name a file"
        )
    try:
        with path.open("rb") as stream:
            first = stream.read(64)
    except FileNotFoundError:
        raise not_there(path, "a file of tensors") from None
    except IsADirectoryError:
        inside = sorted(other.name for other in path.iterdir() if other.name.endswith(SUFFIXES))
        inside += sorted(f"{one.parent.name}/{one.name}" for one in path.glob("*/*") if one.name in ADAPTER_FILES)
        raise FileProblem(
            "a folder was given where a file of tensors is needed",
            given=str(path),
            expected="a .safetensors, .ckpt, .pth, .pt or .bin file",
            nearest=", ".join(inside[:INSIDE]) or None,
            do="name a file inside it" if inside else "name a file; there is none of that kind in the folder",
        ) from None
    except OSError as error:
        raise FileProblem(
            "the file cannot be opened",
            given=f"{path}: {error.strerror}",
            expected="a file that may be read",
            do="see its rights",
        ) from None
    if not first:
        raise UnreadableFile(
            f"{path.name} is empty", given="0 bytes", expected="a file of tensors", do="fetch or copy the file again"
        )
    if first.startswith(b"PK\x03\x04"):
        return "pickle", True
    if first[:1] == b"\x80" and first[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and not _is_header(first):
        return "pickle", False
    if _is_header(first) or (path.suffix == ".safetensors" and _maybe_cut(first) and not is_mistaken(first)):
        return "safetensors", False
    raise mistaken(path)


def _is_header(first: bytes) -> bool:
    return first[8:].lstrip(b" ")[:1] == b"{"


def _maybe_cut(first: bytes) -> bool:
    """A safetensors file whose very header is cut off or damaged: let the strict reader say what is wrong with it."""
    return len(first) < 9 or b"\x00" in first[:8]
