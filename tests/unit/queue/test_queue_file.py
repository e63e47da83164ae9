"""What is in a queue and what it is called; files that are no queue, and places that cannot hold one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.queue.jobs import clips, served

from sakuga.errors import FileProblem, JobError, OutputError
from sakuga.render.queue.chosen import chosen
from sakuga.render.queue.store import Queue, open_queue, usual_place
from sakuga.spec.load import make_job


def test_the_same_clip_twice_waits_once(queue: Queue) -> None:
    queue.add(clips("a"))
    new, known = queue.add(clips("a", "b"))
    assert ([row.number for row in new], [row.number for row in known]) == ([2], [1])
    served(queue)
    new, known = queue.add(clips("a"))
    assert ([row.number for row in new], known) == ([3], [])


def test_another_job_for_the_same_output_is_refused_and_nothing_is_added(queue: Queue) -> None:
    queue.add(clips("a"))
    other = make_job("/clips/a.mp4", ["output=/out/a.mp4", "seed=5"])
    with pytest.raises(JobError, match="is to write to the same place") as caught:
        queue.add([*clips("b"), other])
    assert caught.value.do is not None
    assert "sakuga queue cancel 1" in caught.value.do
    assert len(queue.rows()) == 1


def test_a_job_is_named_by_its_number_or_its_clip(queue: Queue) -> None:
    queue.add([*clips("alpha", "beta"), make_job("/other/beta.mp4", ["output=/out/c.mp4"])])
    rows = queue.rows()

    def numbers(*words: str) -> list[int]:
        return [row.number for row in chosen(rows, words, ("waiting",), "cancelled")]

    assert numbers("1", "alpha.mp4", "alpha", "/other/beta.mp4") == [1, 3]
    for word, title in (("beta", "means several jobs"), ("alpa.mp4", "no such job"), ("9", "no such job")):
        with pytest.raises(JobError, match=title) as caught:
            numbers(word)
    with pytest.raises(JobError, match="no such job") as caught:
        numbers("alpa.mp4")
    assert caught.value.nearest == "alpha.mp4"
    with pytest.raises(JobError, match="1 cannot be tried again") as caught:
        chosen(rows, ["1"], ("failed",), "tried again")
    assert caught.value.given == "job 1 is waiting"


def other_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE birds (name)")


def newer(path: Path) -> None:
    with open_queue(path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def broken(path: Path) -> None:
    with open_queue(path) as queue:
        queue.add(clips(*range(100)))
    content = bytearray(path.read_bytes())
    content[100:] = b"\x5a" * len(content[100:])
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "title"),
    [
        (lambda path: path.write_text("clips: [a.mp4]\n" * 99), "is no queue"),
        (other_database, "is no queue"),
        (newer, "is a queue of another version"),
        (broken, "is no queue"),
    ],
)
def test_a_file_that_is_no_queue_is_told_and_not_touched(
    place: Path, make: Callable[[Path], object], title: str
) -> None:
    make(place)
    before = place.read_bytes()
    with pytest.raises(FileProblem, match=title) as caught, open_queue(place) as queue:
        queue.rows()
    assert all((caught.value.given, caught.value.expected, caught.value.do))
    assert place.read_bytes() == before


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the queue cannot be used"), open_queue(tmp_path / "file" / "queue"):
        pass
    with pytest.raises(OutputError, match="the queue cannot be used"), open_queue(tmp_path):
        pass


def test_the_usual_place_is_the_cache_that_is_named_or_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_CACHE", "/c")
    assert usual_place() == Path("/c/queue.sqlite3")
    monkeypatch.delenv("SAKUGA_CACHE")
    monkeypatch.setenv("XDG_DATA_HOME", "/d")
    assert usual_place() == Path("/d/sakuga/queue.sqlite3")
