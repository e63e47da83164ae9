"""The header of a safetensors file, read strictly: what two readers could read in two ways is refused.

Only the header is read and checked here; no tensor is touched. Refused are headers that are too large, too deep or not
JSON, duplicate keys, unknown number formats, sizes that do not agree with shapes, and bytes that belong to no tensor or
to two. Tolerated, with a note, are metadata that are not text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sakuga.errors import UnreadableFile
from sakuga.tensors.entry import BITS, Entry, bytes_of, is_text, name_problem, quoted
from sakuga.tensors.header_json import Refused, read_members, twice

HEADER_CAP_BYTES = 32 * 2**20
TENSOR_CAP = 200_000
RANK_CAP = 16
NOTED, NOTED_CHARACTERS = 10, 64  # how many faults of the metadata are told, and how much of their names


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a header says: entries by name, in the file's order; metadata; and what was tolerated."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    notes: tuple[str, ...]


def read_header(path: Path, *, cap_bytes: int = HEADER_CAP_BYTES) -> Header:
    """Read and check the header of ``path``. Raises UnreadableFile with the reason."""
    size_bytes = path.stat().st_size
    try:
        with path.open("rb") as stream:
            length_bytes = _length(stream.read(8), size_bytes, cap_bytes)
            return _parse(stream.read(length_bytes), begin=8 + length_bytes, size_bytes=size_bytes)
    except Refused as refused:
        raise UnreadableFile(
            f"{path.name} is not a sound safetensors file",
            given=f"{quoted(str(refused))} ({size_bytes} bytes)",
            expected="a header whose tensors cover the rest of the file exactly",
            do="fetch or copy the file again; if it stays so, ask its maker for a sound one",
        ) from None


def _length(first: bytes, size_bytes: int, cap_bytes: int) -> int:
    length_bytes = int.from_bytes(first, "little")
    if len(first) < 8:
        raise Refused("shorter than the eight bytes that every file begins with")
    if length_bytes == 0:
        raise Refused("a header of no bytes")
    if length_bytes > size_bytes - 8:
        raise Refused(f"cut off: the header alone should have {length_bytes} bytes")
    if length_bytes > cap_bytes:
        raise Refused(f"a header of {length_bytes} bytes, more than the {cap_bytes} that are allowed")
    return length_bytes


def _parse(raw: bytes, *, begin: int, size_bytes: int) -> Header:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"a header that is not JSON in UTF-8: {error}") from None
    del raw  # as large as the text
    entries: dict[str, Entry] = {}

    def take(name: str, dtype: str, shape: tuple[int, ...], start: int, stop: int) -> None:
        if name in entries:
            raise twice(name)
        if len(entries) == TENSOR_CAP:
            raise Refused(f"more than the {TENSOR_CAP} tensors that are allowed")
        _check(name, dtype, shape, start, stop)
        entries[name] = Entry(name=name, dtype=dtype, shape=shape, start=begin + start, stop=begin + stop)

    given = read_members(text, take)
    _check_cover(entries, begin, size_bytes)
    notes: list[str] = []
    metadata = _metadata(given, notes)
    return Header(entries=entries, metadata=metadata, notes=tuple(notes))


def _metadata(given: Any, notes: list[str]) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        notes.append("metadata left out: not an object")
        return {}
    sound = {key: value for key, value in given.items() if isinstance(value, str) and is_text(key) and is_text(value)}
    odd = sorted(given.keys() - sound.keys())
    notes.extend(f"metadata {key[:NOTED_CHARACTERS]!r} left out: not text" for key in odd[:NOTED])
    notes.extend([f"{len(odd) - NOTED} more values of the metadata left out: not text"] if len(odd) > NOTED else [])
    return sound


def _check(name: str, dtype: str, shape: tuple[int, ...], start: int, stop: int) -> None:
    """Raise Refused where what is said of a tensor does not agree with itself."""
    if problem := name_problem(name):
        raise Refused(problem)
    if dtype not in BITS:
        raise Refused(f"the unknown number format {dtype!r} of {name!r}")
    if len(shape) > RANK_CAP:
        raise Refused(f"the shape {list(shape)} of {name!r}")
    if start > stop:
        raise Refused(f"the offsets {[start, stop]} of {name!r}")
    if bytes_of(dtype, shape) != stop - start:
        raise Refused(f"{stop - start} bytes for {name!r}, a {dtype} of shape {list(shape)}")


def _check_cover(entries: Mapping[str, Entry], begin: int, size_bytes: int) -> None:
    """Every byte after the header belongs to exactly one tensor."""
    reached, before = begin, "the header"
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.stop)):
        if entry.start != reached:
            what = "bytes shared by" if entry.start < reached else "a hole between"
            raise Refused(f"{what} {before} and {entry.name!r}")
        reached, before = entry.stop, repr(entry.name)
    if reached > size_bytes:
        raise Refused(f"cut off: {reached} bytes were promised")
    if reached < size_bytes:
        raise Refused(f"{size_bytes - reached} bytes after the last tensor")
