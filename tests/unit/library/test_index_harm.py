"""An index that somebody changed, and one that cannot be kept: the files are listed all the same."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from sakuga.lora.library.folders import scan
from sakuga.lora.library.index import FILE_NAME, VARIABLE, open_index
from sakuga.lora.library.row import Row
from sakuga.progress import Progress

Write = Callable[..., Path]
Asked = Callable[[Path], list[Row]]


@pytest.mark.parametrize(
    "harm",
    [
        "DROP TABLE files",
        "ALTER TABLE files ADD COLUMN more",
        "UPDATE files SET size_bytes = NULL, name = 7",
        "UPDATE files SET kind = 'zz'",
        "UPDATE files SET words = '[1,2', path = 'ink'",
        "UPDATE files SET name = x'ff00', seal = NULL",
    ],
)
def test_a_table_that_somebody_changed_is_made_anew(write: Write, asked: Asked, tmp_path: Path, harm: str) -> None:
    write(tmp_path / "ink.safetensors")
    before = asked(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.executescript(harm)
    assert asked(tmp_path) == before
    with open_index(tmp_path / FILE_NAME) as index:
        index.sweep()
        assert index.sweep() == (0, 1)


def test_an_index_that_may_be_read_only_is_not_kept(
    write: Write, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "ink.safetensors")
    before = asked(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with open_index() as index:
        found = scan([tmp_path])
        assert index.up_to_date(found, lambda: nullcontext(Progress())) == before
    assert "Permission denied" in found.notes[0]


@pytest.mark.parametrize("place", ["file/cache", "."])
def test_a_cache_that_cannot_be_used_is_no_reason_to_list_nothing(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    write(tmp_path / "ink.safetensors")
    (tmp_path / "file").write_text("")
    (tmp_path / FILE_NAME).write_text("no database" * 99)
    monkeypatch.setenv(VARIABLE, str(tmp_path / place))
    with open_index() as index:
        found = scan([tmp_path])
        assert [row.name for row in index.up_to_date(found, lambda: nullcontext(Progress()))] == ["ink"]
    (note,) = found.notes
    assert note.startswith("the index is not kept") and (VARIABLE in note or "delete this one" in note)
    assert (tmp_path / FILE_NAME).read_text().startswith("no database")
