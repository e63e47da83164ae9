"""A new, empty queue for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sakuga.render.queue.store import Queue, open_queue


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "queue.sqlite3"


@pytest.fixture
def queue(place: Path) -> Iterator[Queue]:
    with open_queue(place) as queue:
        yield queue
