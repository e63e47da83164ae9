"""The SQLite file of a queue: opened, made, and told from files of other kinds and versions."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sakuga.errors import FileProblem, OutputError

APPLICATION = 0x53414B51  # written into the file, so that no other program's database is taken for a queue
VERSION = 1  # of the table
WAIT_SECONDS = 60.0  # for another process that is writing
_TABLE = """CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, source TEXT NOT NULL, output TEXT NOT NULL,
    job TEXT NOT NULL, origin TEXT, owner TEXT, machine TEXT, process INTEGER, beat INTEGER NOT NULL DEFAULT 0,
    lease_seconds REAL NOT NULL DEFAULT 0, stop INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0, errors TEXT, status TEXT, report TEXT, added_at REAL NOT NULL, begun_at REAL,
    beat_at REAL, ended_at REAL)"""
_INDEX = "CREATE INDEX by_state ON jobs (state, number)"


def connected(place: Path) -> sqlite3.Connection:
    """A connection to the queue in this file, which is made if it is not there. Raises OutputError, FileProblem."""
    with told(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and not os.access(place, os.W_OK):  # which SQLite would tell only when it writes
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        connection = sqlite3.connect(place, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        with told(place):
            _prepare(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def told(place: Path) -> Iterator[None]:
    """Inside, what SQLite and the system say becomes an error with advice."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as problem:
        raise OutputError(
            "the queue cannot be used",
            given=f"{place}: {problem}",
            expected="a file in a folder of this machine that may be written",
            do="name another file with --queue",
        ) from problem
    except sqlite3.DatabaseError as problem:
        raise _no_queue(place, str(problem)) from problem


def _prepare(connection: sqlite3.Connection, place: Path) -> None:
    """Make the table unless it is there. Several processes may come here at once: the later find the first one's."""
    if _is_ready(connection, place):
        return
    _let_readers_in(connection)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if not _is_ready(connection, place):
            connection.execute(_TABLE)
            connection.execute(_INDEX)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")


def _is_ready(connection: sqlite3.Connection, place: Path) -> bool:
    """Whether it is a queue of this version; False for an empty file. Raises FileProblem for anything else."""
    kind, version = _number(connection, "application_id"), _number(connection, "user_version")
    if kind != APPLICATION:
        if kind or version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise _no_queue(place, "a database of another program")
        return False
    if version != VERSION:
        raise FileProblem(
            f"{place.name} is a queue of another version of sakuga",
            given=f"{place}: version {version}",
            expected=f"version {VERSION}",
            do="use the sakuga that made it, or name another file with --queue",
        )
    return True


def _let_readers_in(connection: sqlite3.Connection) -> None:
    """The journal by which readers and the one writer do not wait for each other. SQLite itself does not wait here."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _no_queue(place: Path, what: str) -> FileProblem:
    return FileProblem(
        f"{place.name} is no queue",
        given=f"{place}: {what}",
        expected="a file that sakuga queue has made, or none",
        do="name another file with --queue; what is in this one is not touched",
    )
