"""Who is at work: beats, processes that die, clocks that jump, and jobs that change hands."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from tests.unit.queue.jobs import clips, served, states, working

from sakuga.errors import Stopped
from sakuga.progress import Progress
from sakuga.render.queue.lease import Held, Lookout, new_owner
from sakuga.render.queue.row import Row
from sakuga.render.queue.store import MOST_LOST, Queue, open_queue
from sakuga.report import Report
from sakuga.spec.load import Written


def test_a_job_that_kills_every_process_fails_in_the_end(queue: Queue) -> None:
    queue.add(clips("a"))
    for _ in range(MOST_LOST):
        row = queue.take(new_owner())
        assert row is not None
        assert queue.bury(row)
    assert queue.take(new_owner()) is None
    [row] = queue.rows()
    assert row.state == "failed"
    assert "has died, again and again" in str(row.error)
    queue.retry([1])
    assert queue.rows()[0].lost == 0


def held_elsewhere(queue: Queue, lease: float = 30.0) -> Row:
    """A running job whose owner is on a machine that cannot be asked."""
    owner = new_owner(lease)
    row = queue.take(owner)
    assert row is not None
    return row._replace(machine="elsewhere", lease_seconds=lease)


def test_an_owner_without_a_beat_for_a_lease_is_dead(queue: Queue) -> None:
    queue.add(clips("a"))
    row, now = held_elsewhere(queue), [1000.0]
    lookout = Lookout(clock=lambda: now[0])
    assert lookout.dead([row]) == []
    assert lookout.unsure([row])
    now[0] += 29
    assert lookout.dead([row]) == []
    beat = row._replace(beat=row.beat + 1)
    now[0] += 29
    assert lookout.dead([beat]) == []
    assert not lookout.unsure([beat])
    now[0] += 31
    assert lookout.dead([beat]) == [beat]


def test_a_job_that_another_has_taken_meanwhile_is_looked_at_anew(queue: Queue) -> None:
    queue.add(clips("a"))
    row, now = held_elsewhere(queue), [0.0]
    lookout = Lookout(clock=lambda: now[0])
    lookout.dead([row])
    now[0] += 31
    assert lookout.dead([row._replace(owner="another", beat=row.beat + 9)]) == []
    assert not queue.bury(row._replace(owner="another"))
    assert not queue.bury(row._replace(beat=row.beat - 1))
    assert states(queue) == ["running"]


@pytest.mark.parametrize("jump", [-1e8, 1e8])
def test_a_clock_that_jumps_takes_no_job_from_anyone(
    queue: Queue, place: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    queue.add(clips("a"))
    real = time.time
    drawn = []

    def draw(written: Written, progress: Progress) -> Report:
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        with open_queue(place) as other:
            lookout = Lookout()
            for _ in range(10):
                assert lookout.dead([row._replace(machine="elsewhere") for row in other.rows("running")]) == []
                time.sleep(0.05)
            assert other.take(new_owner()) is None
        drawn.append(written)
        return Report(status="rendered")

    assert [one.status for one in served(queue, draw)] == ["rendered"]
    assert len(drawn) == 1
    assert states(queue) == ["done"]


def test_serving_waits_for_an_owner_that_was_not_seen_to_beat(queue: Queue, place: Path) -> None:
    queue.add(clips("a"))
    assert queue.take(new_owner(lease_seconds=0.5)) is not None
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE jobs SET machine = 'elsewhere'")
    assert [one.status for one in served(queue)] == ["rendered"]
    assert queue.rows()[0].lost == 1


def test_serving_does_not_wait_for_one_that_is_at_work(queue: Queue, place: Path, tmp_path: Path) -> None:
    queue.add(clips("a"))
    began, go = threading.Event(), threading.Event()

    def draw(written: Written, progress: Progress) -> Report:
        began.set()
        assert go.wait(20)
        return Report(status="rendered")

    def first() -> None:
        with open_queue(place) as mine:
            served(mine, draw)

    thread = threading.Thread(target=first)
    thread.start()
    assert began.wait(20)
    try:
        assert served(queue) == []
        assert states(queue) == ["running"]
    finally:
        go.set()
        thread.join()
    assert [(row.state, row.tries) for row in queue.rows()] == [("done", 1)]


def test_an_owner_that_counted_as_dead_stops_and_writes_nothing(queue: Queue, place: Path) -> None:
    queue.add(clips("a"))

    def bury() -> None:
        with open_queue(place) as other:
            assert other.bury(other.rows()[0])
            assert other.take(new_owner()) is not None

    row_of = queue.rows
    outcomes = []
    progress = Progress()

    def draw(written: Written, held: Progress) -> Report:
        progress.stop()  # so that serving ends behind this job
        return working(queue, bury)(written, held) if not row_of()[0].lost else Report()

    outcomes = served(queue, draw, progress)
    assert [one.status for one in outcomes] == ["stopped"]
    [row] = queue.rows()
    assert (row.state, row.lost, row.tries) == ("running", 1, 2)


def test_a_process_that_was_held_asks_before_it_goes_on(queue: Queue) -> None:
    queue.add(clips("a"))
    owner = new_owner(lease_seconds=0.06)
    row = queue.take(owner)
    assert row is not None
    held = Held(queue, row, owner, Progress())  # not entered: no thread beats, as if the process had slept
    held.check()
    assert queue.bury(row)
    time.sleep(0.1)
    with pytest.raises(Stopped):
        held.check()
    assert held.lost
