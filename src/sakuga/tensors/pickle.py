"""Pickled checkpoints (``.ckpt .pth .pt .bin``), read without executing anything: closed list, own machine.

Gives where each tensor lies in the file, and the plain values beside the tensors. Nested dicts become dotted names.
Refused are names outside the list, storages and tensors that do not fit together, and trees without end.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sakuga.errors import UnreadableFile
from sakuga.tensors.entry import Block, Entry, name_problem, quoted
from sakuga.tensors.legacy_spans import read_legacy
from sakuga.tensors.pickle_allowed import Inert, Name, Refused, View
from sakuga.tensors.pickle_machine import Machine
from sakuga.tensors.zip_spans import read_spans

DEPTH_CAP = 32
PART_CAP = 300_000


@dataclass(frozen=True, kw_only=True)
class Pickled:
    """What a pickle holds: tensors by dotted name in the file's order, and the leaves that are no tensors."""

    entries: Mapping[str, Entry]
    extras: Mapping[str, object]


def read_pickle(path: Path, *, zipped: bool) -> Pickled:
    """Read the checkpoint at ``path`` except for its numbers. Raises UnreadableFile with the reason."""
    try:
        value, blocks = _read_zip(path) if zipped else _read_old(path)
        return _flatten(value, blocks)
    except Refused as refused:
        raise UnreadableFile(
            f"{path.name} cannot be read as a checkpoint",
            given=quoted(str(refused)),
            expected="a file of tensors as torch.save writes them (nothing in it is ever executed)",
            do="use the .safetensors form of this model, or fetch the file again",
        ) from None


def _read_zip(path: Path) -> tuple[Any, Mapping[str, Block]]:
    spans = read_spans(path)
    with path.open("rb") as stream:
        stream.seek(spans.pickle.start)
        pickled = stream.read(spans.pickle.stop - spans.pickle.start)
    if spans.pickle.crc32 not in (0, zlib.crc32(pickled)):
        raise Refused("some bits of its pickle have changed: its CRC-32 is not the one that the zip states")
    return Machine().run(io.BytesIO(pickled)), spans.storages


def _read_old(path: Path) -> tuple[Any, Mapping[str, Block]]:
    legacy = read_legacy(path)
    return legacy.value, legacy.storages


def _flatten(value: Any, blocks: Mapping[str, Block]) -> Pickled:
    entries: dict[str, Entry] = {}
    extras: dict[str, object] = {}
    for name, leaf in _leaves(value):
        if name in entries or name in extras:
            raise Refused(f"the name {name!r} twice")
        if isinstance(leaf, View):
            entries[name] = _entry(name, leaf, blocks)
        else:
            extras[name] = leaf
    return Pickled(entries=entries, extras=extras)


def _leaves(root: Any) -> Iterator[tuple[str, Any]]:
    """(dotted name, leaf) in the order of the file. Walks without recursion; a tree without end is refused."""
    waiting: list[tuple[str, Any, int]] = [("", root, 0)]
    for _ in range(PART_CAP):
        if not waiting:
            return
        name, value, depth = waiting.pop()
        if problem := name_problem(name):
            raise Refused(problem)
        inner = _inner(value)
        if inner is None:
            yield name or "tensor", value if not isinstance(value, (Name, Inert)) else _told(value)
            continue
        if depth >= DEPTH_CAP:
            raise Refused(f"it is nested more than {DEPTH_CAP} levels deep")
        prefix = f"{name}." if name else ""
        waiting.extend((prefix + key, item, depth + 1) for key, item in reversed(inner))
    raise Refused(f"it has more than {PART_CAP} parts")


def _inner(value: Any) -> list[tuple[str, Any]] | None:
    """The parts of a container under their names; None for a leaf."""
    if isinstance(value, Inert) and isinstance(value.state.get("_parameters"), dict):
        value = value.state["_parameters"]
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [(str(index), item) for index, item in enumerate(value)]
    return None


def _told(value: Name | Inert) -> str:
    return f"<{value}>" if isinstance(value, Name) else f"<{value.what}>"


def _entry(name: str, view: View, blocks: Mapping[str, Block]) -> Entry:
    storage = view.storage
    if storage.key not in blocks:
        raise Refused(f"the numbers of {name!r} are missing")
    block = blocks[storage.key]
    size_bytes = block.stop - block.start
    if storage.count * storage.item_bytes > size_bytes:
        raise Refused(f"{size_bytes} bytes for {storage.count} numbers of {storage.dtype} ({name!r})")
    start = block.start + view.offset * storage.item_bytes
    return Entry(
        name=name,
        dtype=storage.dtype,
        shape=view.shape,
        start=start,
        stop=start + view.reach * storage.item_bytes,
        stride=None if view.contiguous else view.stride,
        block=block,
    )
