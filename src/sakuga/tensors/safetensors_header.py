"""The header of a safetensors file, read strictly: what two readers could read in two ways is refused.

Only the header is read and checked here; no tensor is touched. Refused are headers that are too large, too deep or not
JSON, duplicate keys, unknown number formats, sizes that do not agree with shapes, and bytes that belong to no tensor or
to two. Tolerated, with a note, are metadata that are not text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from sakuga.errors import UnreadableFile
from sakuga.tensors.entry import BITS, Entry, bytes_of

HEADER_CAP_BYTES = 32 * 2**20
TENSOR_CAP = 200_000
NAME_CAP_BYTES = 1024
DEPTH_CAP = 16
RANK_CAP = 16
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a header says: entries by name, in the file's order; metadata; and what was tolerated."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    notes: tuple[str, ...]


class _Refused(ValueError):
    """Why a header is refused; becomes an UnreadableFile with the file's name."""


def read_header(path: Path, *, cap_bytes: int = HEADER_CAP_BYTES) -> Header:
    """Read and check the header of ``path``. Raises UnreadableFile with the reason."""
    size_bytes = path.stat().st_size
    try:
        with path.open("rb") as stream:
            length_bytes = _length(stream.read(8), size_bytes, cap_bytes)
            raw = stream.read(length_bytes)
        return _parse(raw, begin=8 + length_bytes, size_bytes=size_bytes)
    except _Refused as refused:
        raise UnreadableFile(
            f"{path.name} is not a sound safetensors file",
            given=f"{refused} ({size_bytes} bytes)",
            expected="a header whose tensors cover the rest of the file exactly",
            do="fetch or copy the file again; if it stays so, ask its maker for a sound one",
        ) from None


def _length(first: bytes, size_bytes: int, cap_bytes: int) -> int:
    length_bytes = int.from_bytes(first, "little")
    if len(first) < 8:
        raise _Refused("shorter than the eight bytes that every file begins with")
    if length_bytes == 0:
        raise _Refused("a header of no bytes")
    if length_bytes > size_bytes - 8:
        raise _Refused(f"cut off: the header alone should have {length_bytes} bytes")
    if length_bytes > cap_bytes:
        raise _Refused(f"a header of {length_bytes} bytes, more than the {cap_bytes} that are allowed")
    return length_bytes


def _parse(raw: bytes, *, begin: int, size_bytes: int) -> Header:
    tree = _json(raw)
    notes: list[str] = []
    metadata = _metadata(tree.pop("__metadata__", None), notes)
    if len(tree) > TENSOR_CAP:
        raise _Refused(f"{len(tree)} tensors, more than the {TENSOR_CAP} that are allowed")
    entries = {name: _entry(name, fields, begin) for name, fields in tree.items()}
    _check_cover(entries, begin, size_bytes)
    return Header(entries=entries, metadata=metadata, notes=tuple(notes))


def _json(raw: bytes) -> dict[str, Any]:
    depth = 0
    for byte in _TEXT.sub(b"", raw):
        depth += (byte in b"{[") - (byte in b"}]")
        if depth > DEPTH_CAP:
            raise _Refused(f"a header nested more than {DEPTH_CAP} levels deep")
    try:
        tree = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_twice, parse_constant=_no_constant)
    except _Refused:
        raise
    except ValueError as error:
        raise _Refused(f"a header that is not JSON in UTF-8: {error}") from None
    if not isinstance(tree, dict):
        raise _Refused("a header that is not a JSON object")
    return tree


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise _Refused(f"the key {key!r} twice")
        tree[key] = value
    return tree


def _no_constant(word: str) -> Any:
    raise _Refused(f"{word} in the header")


def _metadata(given: Any, notes: list[str]) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        notes.append("metadata left out: not an object")
        return {}
    odd = sorted(key for key, value in given.items() if not isinstance(value, str))
    notes.extend(f"metadata {key!r} left out: not text" for key in odd)
    return {key: value for key, value in given.items() if isinstance(value, str)}


def _entry(name: str, fields: Any, begin: int) -> Entry:
    if len(name.encode("utf-8", "surrogatepass")) > NAME_CAP_BYTES:
        raise _Refused(f"a name of more than {NAME_CAP_BYTES} bytes: {name[:40]!r}…")
    if _CONTROL.search(name):
        raise _Refused(f"control characters in the name {name!r}")
    if not isinstance(fields, dict):
        raise _Refused(f"no object for {name!r}")
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _Refused(f"the unknown number format {dtype!r} of {name!r}")
    if not _whole_numbers(shape) or len(shape) > RANK_CAP:
        raise _Refused(f"the shape {shape!r} of {name!r}")
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _Refused(f"the offsets {offsets!r} of {name!r}")
    start, stop = offsets
    size_bytes = bytes_of(dtype, tuple(shape))
    if size_bytes != stop - start:
        raise _Refused(f"{stop - start} bytes for {name!r}, {dtype} of shape {shape}")
    return Entry(name=name, dtype=dtype, shape=tuple(shape), start=begin + start, stop=begin + stop)


def _whole_numbers(given: Any) -> TypeGuard[list[int]]:
    return isinstance(given, list) and all(type(number) is int and number >= 0 for number in given)


def _check_cover(entries: Mapping[str, Entry], begin: int, size_bytes: int) -> None:
    """Every byte after the header belongs to exactly one tensor."""
    reached, before = begin, "the header"
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.stop)):
        if entry.start != reached:
            what = "bytes shared by" if entry.start < reached else "a hole between"
            raise _Refused(f"{what} {before} and {entry.name!r}")
        reached, before = entry.stop, repr(entry.name)
    if reached > size_bytes:
        raise _Refused(f"cut off: {reached} bytes were promised")
    if reached < size_bytes:
        raise _Refused(f"{size_bytes - reached} bytes after the last tensor")
