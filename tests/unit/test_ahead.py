"""Work beside the drawing: the same items in the same order, bounded, errors told, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from sakuga.render.ahead import Behind, ahead


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("room", [0, 1, 3])
def test_the_items_are_the_same(room: int) -> None:
    with ahead(iter(range(20)), room) as items:
        assert list(items) == list(range(20))


def test_no_more_is_made_than_there_is_room_for() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with ahead(make(), 2) as items:
        next(items)
        time.sleep(0.3)
        assert len(made) <= 4  # one taken, two waiting, one in hand


def test_what_goes_wrong_over_there_is_raised_here() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise ValueError("torn")

    with ahead(make(), 1) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="torn"):
            next(items)


def test_all_is_done_in_order_when_the_block_ends() -> None:
    done: list[int] = []
    with Behind(done.append, 2) as behind:
        for number in range(50):
            behind.put(number)
    assert done == list(range(50))


def test_an_error_of_the_work_is_raised_and_nothing_follows_it() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise ValueError("full")
        done.append(number)

    def put_all() -> None:
        with Behind(work, 2) as behind:
            for number in range(1000):
                behind.put(number)

    with pytest.raises(ValueError, match="full"):
        put_all()
    assert done == [0, 1, 2]


def test_the_last_error_is_not_lost() -> None:
    def work(number: int) -> None:
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"), Behind(work, 2) as behind:
        behind.put(1)


def test_after_an_error_outside_what_waits_is_dropped() -> None:
    done, gate = list[int](), threading.Event()

    def work(number: int) -> None:
        gate.wait(5)
        done.append(number)

    def stopped() -> None:
        with Behind(work, 5) as behind:
            for number in range(5):
                behind.put(number)
            threading.Timer(0.2, gate.set).start()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    time.sleep(0.3)  # the timer's thread
    assert len(done) <= 1
