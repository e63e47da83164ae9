"""Serving a queue: every job once, whatever it ends with."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.unit.queue.jobs import clips, served, states, working

from sakuga.errors import ClipError, SakugaError
from sakuga.progress import Progress
from sakuga.render.queue.store import Queue, open_queue
from sakuga.report import Report
from sakuga.spec.load import Written, make_job


def test_a_job_goes_in_and_comes_out_as_it_was(queue: Queue) -> None:
    [given] = clips("a")
    [row], known = queue.add([given])
    assert (row.number, row.state, known) == (1, "waiting", [])
    assert row.written.job == given.job
    seen = []
    [outcome] = served(queue, lambda written, progress: seen.append(written.job) or Report(status="rendered"))
    assert seen == [given.job]
    assert (outcome.status, outcome.source) == ("rendered", Path("/clips/a.mp4"))
    [row] = queue.rows()
    assert (row.state, row.status, row.report, row.tries) == ("done", "rendered", "/out/a.report.json", 1)


def test_a_running_job_that_is_cancelled_stops_and_the_next_goes_on(queue: Queue, place: Path) -> None:
    queue.add(clips("a", "b"))

    def cancel() -> None:
        with open_queue(place) as other:
            other.cancel([1, 2])
            assert [row.stop for row in other.rows()] == [1, 0]

    assert [one.status for one in served(queue, working(queue, cancel))] == ["cancelled"]
    assert states(queue) == ["cancelled", "cancelled"]
    queue.retry([1])
    assert [one.status for one in served(queue)] == ["rendered"]
    assert states(queue) == ["done", "cancelled"]


def test_a_job_in_hand_waits_again_after_ctrl_c(queue: Queue) -> None:
    queue.add(clips("a", "b"))
    progress = Progress()
    assert [one.status for one in served(queue, working(queue, progress.stop), progress)] == ["stopped"]
    assert [(row.state, row.tries, row.owner) for row in queue.rows()] == [("waiting", 0, None)] * 2


def test_a_job_in_hand_waits_again_after_a_second_ctrl_c(queue: Queue) -> None:
    queue.add(clips("a"))

    def draw(written: Written, progress: Progress) -> Report:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        served(queue, draw)
    assert states(queue) == ["waiting"]


def test_what_a_job_fails_of_is_kept(queue: Queue) -> None:
    queue.add(clips("a", "b"))

    def draw(written: Written, progress: Progress) -> Report:
        if written.job.source.stem == "a":
            raise ClipError("cut off", given="2 bytes", do="copy it again").at("source")
        return Report(status="there already")

    assert [one.status for one in served(queue, draw)] == ["failed", "there already"]
    first, second = queue.rows()
    assert first.error is not None
    assert first.error.told().startswith("ClipError: source: cut off\n  given     2 bytes\n  do        copy it again")
    assert (second.state, second.status, second.error) == ("done", "there already", None)
    queue.retry([1])
    assert queue.rows()[0].error is None


def test_a_job_that_somebody_has_harmed_fails_alone(queue: Queue, place: Path) -> None:
    queue.add(clips("a", "b"))
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE jobs SET job = 'source: [' WHERE number = 1")
    assert [one.status for one in served(queue)] == ["failed", "rendered"]


def test_an_error_of_the_queue_itself_ends_serving(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.add(clips("a"))

    def no(*_: object) -> bool:
        raise SakugaError("no room")

    monkeypatch.setattr(queue, "finish", no)
    with pytest.raises(SakugaError, match="no room"):
        served(queue)


def test_a_job_in_the_queue_was_told_of_a_tile_stride_that_nobody_had_given(queue: Queue) -> None:
    look = ["base=starter", "stages.0.adapters=['ink:0.5', 'celcomic:0->1@steps']", "stages.0.controls=['tile:0.5']"]
    look += ["preset=toon-fast", "size=64x48", "frames=1:4", "stages.0.smoothers=['fastblend:window=3']"]
    given = make_job("/clips/a.mp4", ["output=/out/a.mp4", *look])
    [row], _ = queue.add([given])
    job = row.written.job
    assert job == given.job
    assert job.model_fields_set == given.job.model_fields_set
    assert job.stages[0].model_fields_set == given.job.stages[0].model_fields_set
