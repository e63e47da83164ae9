"""The container that torch wrote before its zips: five pickles in a row, then the numbers of each storage.

Everything is read through the machine that executes nothing. Refused are other pickles (without torch's magic number),
big-endian machines, and storages that the file does not hold whole.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sakuga.tensors.entry import Block
from sakuga.tensors.pickle_allowed import Refused, Storage
from sakuga.tensors.pickle_machine import Machine

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


@dataclass(frozen=True, kw_only=True)
class Legacy:
    """The value that was pickled, and the bytes of each storage by its key. This container states no checksums."""

    value: Any
    storages: Mapping[str, Block]


def read_legacy(path: Path) -> Legacy:
    """Read the checkpoint at ``path`` except for its numbers. Raises Refused."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as source:
        if Machine().run(source) != MAGIC or Machine().run(source) != PROTOCOL:
            raise Refused("a pickle, but not of torch")
        system = Machine().run(source)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise Refused("it was written by a big-endian machine")
        machine = Machine()
        value = machine.run(source)
        keys = Machine().run(source)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise Refused("its list of storages is garbled")
        return Legacy(value=value, storages=_spans(source, keys, machine.storages))


def _spans(source: mmap.mmap, keys: list[str], known: Mapping[str, Storage]) -> dict[str, Block]:
    spans: dict[str, Block] = {}
    place = source.tell()
    for key in keys:
        if key not in known or key in spans:
            raise Refused(f"the storage {key!r} is not used, or there twice")
        count = int.from_bytes(source[place : place + 8], "little")
        start = place + 8
        place = start + count * known[key].item_bytes
        if place > len(source):
            raise Refused("the file is cut off")
        spans[key] = Block(start=start, stop=place)
    return spans
