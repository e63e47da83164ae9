"""Folders of sparse adapters, and what an index says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sakuga.lora.library.folders import scan
from sakuga.lora.library.index import FILE_NAME, open_index
from sakuga.lora.library.row import Row

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn{}_to_k"


@pytest.fixture
def write() -> Callable[..., Path]:
    """``write(path, rank=…, metadata=…)`` makes a sparse adapter: a real header, and holes for its weights."""
    return make_adapter


@pytest.fixture
def asked() -> Callable[[Path], list[Row]]:
    """``asked(folder)``: the rows of a folder, after everything stale was read. The index lies in the folder too."""
    return rows_of


def make_adapter(path: Path, *, rank: int = 4, metadata: Mapping[str, object] | None = None) -> Path:
    entries: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    at = 0
    for number, width in ((2, 768), (1, 320)):
        for leaf, shape in (("lora_down", [rank, width]), ("lora_up", [320, rank])):
            end = at + 2 * shape[0] * shape[1]
            key = f"{STEM.format(number)}.{leaf}.weight"
            entries[key] = {"dtype": "F16", "shape": shape, "data_offsets": [at, end]}
            at = end
    raw = json.dumps(entries).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        stream.truncate(8 + len(raw) + at)
    return path


def rows_of(folder: Path) -> list[Row]:
    with open_index(folder / FILE_NAME) as opened:
        found = scan([folder])
        _, stale = opened.rows(found)
        opened.refresh(stale)
        rows, left = opened.rows(found)
    assert left == []
    return rows
