"""Queue: the jobs in one SQLite file. Every change of a state is one transaction, so that two processes at once can
neither take the same job nor lose one.

A job in hand belongs to its owner until that has finished it, given it back, or counts as dead (``lease.py``). Refuses
a file that another program or a newer version has made, and never empties one.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sakuga.errors import JobError, SakugaError, counted
from sakuga.render.queue.file import connected, told
from sakuga.render.queue.row import CANCELLED, DONE, FAILED, RUNNING, WAITING, Row, texts_of
from sakuga.report import Report
from sakuga.spec.load import Written

VARIABLE = "SAKUGA_CACHE"
FILE_NAME = "queue.sqlite3"
MOST_LOST = 3  # processes that may die of one job
_COLUMNS = ", ".join(Row._fields)
_FREE = "owner = NULL, machine = NULL, process = NULL, stop = 0"


def usual_place() -> Path:
    """``$SAKUGA_CACHE``, or the data folder of the user by the XDG rule (a queue is no cache), and the file in it."""
    own = os.environ.get(VARIABLE, "")
    if own:
        return Path(own).expanduser() / FILE_NAME
    shared = os.environ.get("XDG_DATA_HOME", "")
    data = Path(shared) if os.path.isabs(shared) else Path.home() / ".local" / "share"
    return data / "sakuga" / FILE_NAME


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A run of a server. ``name`` is its own alone; ``process`` is its number on ``machine``."""

    name: str
    machine: str
    process: int
    lease_seconds: float


class Queue:
    """An open queue, for one thread; made by ``open_queue``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def add(self, jobs: Sequence[Written]) -> tuple[list[Row], list[Row]]:
        """Put jobs at the end: those that are new now, and those that were waiting or running already.

        Their paths are absolute. Raises JobError where another job is to write to the same output.
        """
        new, known = list[int](), list[int]()
        with self._writing():
            for written in jobs:
                text, origin = texts_of(written)
                source, output = str(written.job.source), str(written.job.output)
                same = self._rows(f"WHERE output = ? AND state IN ('{WAITING}', '{RUNNING}')", (output,))
                if same and same[0].job == text:
                    known.append(same[0].number)
                    continue
                if same:
                    raise _taken(same[0], source)
                values = (WAITING, source, output, text, origin, time.time())
                fields = "state, source, output, job, origin, added_at"
                cursor = self._connection.execute(f"INSERT INTO jobs ({fields}) VALUES (?, ?, ?, ?, ?, ?)", values)
                new.append(int(cursor.lastrowid or 0))
        rows = {row.number: row for row in self.rows()}
        return [rows[number] for number in new], [rows[number] for number in known]

    def rows(self, state: str | None = None) -> list[Row]:
        """All jobs, or those of one state, in the order in which they are taken."""
        return self._rows() if state is None else self._rows("WHERE state = ?", (state,))

    def take(self, owner: Owner) -> Row | None:
        """The next job that waits, now in this owner's hand; None if none waits."""
        with self._writing():
            waiting = self._rows("WHERE state = ?", (WAITING,), "LIMIT 1")
            if not waiting:
                return None
            self._connection.execute(
                f"UPDATE jobs SET state = '{RUNNING}', owner = ?, machine = ?, process = ?, lease_seconds = ?, "
                "beat = beat + 1, beat_at = ?, begun_at = ?, ended_at = NULL, tries = tries + 1, stop = 0, "
                "errors = NULL, status = NULL, report = NULL WHERE number = ?",
                (
                    *(owner.name, owner.machine, owner.process, owner.lease_seconds),
                    *(time.time(), time.time(), waiting[0].number),
                ),
            )
            return self._rows("WHERE number = ?", (waiting[0].number,))[0]

    def beat(self, number: int, owner: Owner) -> bool | None:
        """Say that the owner is at work: whether it may go on, or None if the job is not in its hand any more."""
        with self._writing():
            update = "UPDATE jobs SET beat = beat + 1, beat_at = ? WHERE number = ? AND owner = ?"
            if not self._connection.execute(update, (time.time(), number, owner.name)).rowcount:
                return None
            return not self._rows("WHERE number = ?", (number,))[0].stop

    def finish(self, number: int, owner: Owner, result: Report | SakugaError, report: Path | None = None) -> bool:
        """Write down what came of a job; False, and nothing is written, if it is not in the owner's hand any more."""
        if isinstance(result, Report):
            return self._end(number, owner, DONE, status=result.status, report=str(report) if report else None)
        return self._end(number, owner, FAILED, errors=json.dumps(result.parts(), ensure_ascii=False))

    def cancelled(self, number: int, owner: Owner) -> bool:
        """Write down that a job was stopped because ``cancel`` asked for it."""
        return self._end(number, owner, CANCELLED)

    def give_back(self, number: int, owner: Owner) -> bool:
        """Let a job wait again, as if it had not been begun."""
        with self._writing():
            update = f"UPDATE jobs SET state = '{WAITING}', tries = tries - 1, {_FREE} WHERE number = ? AND owner = ?"
            return bool(self._connection.execute(update, (number, owner.name)).rowcount)

    def bury(self, seen: Row) -> bool:
        """Take a job out of the hand of an owner that counts as dead; False if that has shown itself since ``seen``.

        It waits again, unless a stop was asked for, or too many processes have died of it.
        """
        error = SakugaError(
            "the process that rendered it has died, again and again",
            given=counted(seen.lost + 1, "time"),
            expected="a process that ends by itself",
            do="see whether memory runs out: a smaller size or span needs less; then sakuga queue retry",
        )
        lost = seen.lost + 1
        state = CANCELLED if seen.stop else FAILED if lost >= MOST_LOST else WAITING
        errors = json.dumps(error.parts()) if state == FAILED else None
        with self._writing():
            update = (
                f"UPDATE jobs SET state = ?, lost = ?, errors = ?, {_FREE} "
                f"WHERE number = ? AND owner = ? AND beat = ? AND state = '{RUNNING}'"
            )
            values = (state, lost, errors, seen.number, seen.owner, seen.beat)
            return bool(self._connection.execute(update, values).rowcount)

    def retry(self, numbers: Sequence[int]) -> None:
        """Let jobs that have failed or were cancelled wait again."""
        self._change(numbers, (FAILED, CANCELLED), f"state = '{WAITING}', lost = 0, errors = NULL, ended_at = NULL")

    def cancel(self, numbers: Sequence[int]) -> None:
        """Cancel jobs that wait; the owners of those that run are asked to stop."""
        with self._writing():
            self._change(numbers, (WAITING,), f"state = '{CANCELLED}'")
            self._change(numbers, (RUNNING,), "stop = 1")

    def _change(self, numbers: Sequence[int], states: Sequence[str], to: str) -> None:
        marks = ", ".join("?" * len(states))
        update = f"UPDATE jobs SET {to} WHERE number = ? AND state IN ({marks})"
        with self._writing():
            self._connection.executemany(update, [(number, *states) for number in numbers])

    def _end(
        self, number: int, owner: Owner, state: str, *, status: str | None = None, report: str | None = None,
        errors: str | None = None,
    ) -> bool:  # fmt: skip
        with self._writing():
            update = (
                f"UPDATE jobs SET state = ?, status = ?, report = ?, errors = ?, ended_at = ?, {_FREE} "
                "WHERE number = ? AND owner = ?"
            )
            values = (state, status, report, errors, time.time(), number, owner.name)
            return bool(self._connection.execute(update, values).rowcount)

    def _rows(self, which: str = "", values: Sequence[object] = (), most: str = "") -> list[Row]:
        with told(self.path):
            found = self._connection.execute(f"SELECT {_COLUMNS} FROM jobs {which} ORDER BY number {most}", values)
            return [Row._make(row) for row in found]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; inside of another one, a part of it."""
        if self._connection.in_transaction:
            yield
            return
        with told(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield


@contextmanager
def open_queue(path: Path | None = None) -> Iterator[Queue]:
    """The queue in ``path``, made if it is not there; the usual place by default.

    Raises OutputError when it cannot be written, FileProblem when the file is something else.
    """
    place = path or usual_place()
    connection = connected(place)
    try:
        yield Queue(place, connection)
    finally:
        connection.close()


def _taken(row: Row, source: str) -> JobError:
    return JobError(
        f"job {row.number} of the queue is to write to the same place: {row.output}",
        given=f"{source}, and {row.source} with other settings" if row.source == source else f"{source}, {row.source}",
        expected="a name of its own for each result",
        do=f"choose another output, or first: sakuga queue cancel {row.number}",
    )
