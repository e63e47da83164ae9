"""Index: the rows of the library in one SQLite file. A row counts as long as its file has the same size and time.

Several processes may use it at once: each has headers read and then writes in one transaction, waiting for the others.
What is in it can always be read again, so a version that does not know its table makes a new one; a file that is no
index of ours is never touched.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from sakuga.errors import FileProblem, OutputError
from sakuga.lora.library.folders import Found, Scan
from sakuga.lora.library.row import Row
from sakuga.progress import Progress

VARIABLE = "SAKUGA_CACHE"
FILE_NAME = "lora-index.sqlite3"
APPLICATION = 0x53414B55  # written into the file, so that no other program's database is taken for an index
VERSION = 1  # of the table
WAIT_SECONDS = 60.0
_COLUMNS = ", ".join(Row._fields)
_TABLE = f"CREATE TABLE files ({_COLUMNS}, PRIMARY KEY (path)) WITHOUT ROWID"
_PUT = f"INSERT OR REPLACE INTO files ({_COLUMNS}) VALUES ({', '.join('?' * len(Row._fields))})"


def usual_place() -> Path:
    """``$SAKUGA_CACHE``, or the cache folder of the user by the XDG rule, and the index in it."""
    own = os.environ.get(VARIABLE, "")
    if own:
        return Path(own).expanduser() / FILE_NAME
    shared = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(shared) if os.path.isabs(shared) else Path.home() / ".cache"
    return cache / "sakuga" / FILE_NAME


class Index:
    """An open index; made by ``open_index``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def rows(self, scan: Scan) -> tuple[list[Row], list[Found]]:
        """The rows of the files that the index knows as they are now, in the scan's order, and all other files."""
        rows, stale = list[Row](), list[Found]()
        with _collector_paused():
            known = {row.path: row for row in self._rows()}
            for one in scan.found:
                row = known.get(os.fsencode(one.path))
                if row is not None and row.same_as(one):
                    rows.append(row)
                else:
                    stale.append(one)
        return rows, stale

    def up_to_date(self, scan: Scan, watch: Callable[[], AbstractContextManager[Progress]]) -> list[Row]:
        """The rows of all files; those that the index does not know are read, inside of ``watch``.

        What changes meanwhile gets a note of the scan.
        """
        rows, stale = self.rows(scan)
        if stale:
            with watch() as progress:
                self.refresh(stale, progress)
            rows, changed = self.rows(scan)
            scan.notes += [f"{one.path} changed meanwhile; ask again" for one in changed]
        return rows

    def refresh(self, stale: Sequence[Found], progress: Progress | None = None, *, readers: int | None = None) -> None:
        """Read these files and keep their rows. What was read is kept also when a stop is asked for.

        ``readers``: how many processes read, as in ``read_rows``; this one alone writes.
        """
        from sakuga.lora.library.readers import read_rows

        rows = list[Row]()
        watch = progress or Progress()
        watch.begin("index", len(stale))
        try:
            with _collector_paused(), closing(read_rows(stale, readers)) as found:
                for row in found:
                    rows.append(row)
                    watch.advance()
        finally:
            self._put(rows)

    def hashed(self, row: Row) -> Row:
        """The row with the hashes of its file, which is read once for them. Raises FileProblem when it cannot be."""
        if row.sha256:
            return row
        from sakuga.lora.hashes import hashes_of
        from sakuga.tensors.file import TensorFile

        found = hashes_of(TensorFile.open(row.file))
        done = row._replace(sha256=found.sha256, payload_sha256=found.payload_sha256 or found.sha256)
        with _told(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "UPDATE files SET sha256 = ?, payload_sha256 = ? WHERE path = ? AND size_bytes = ? AND mtime_ns = ?",
                (done.sha256, done.payload_sha256, row.path, row.size_bytes, row.mtime_ns),
            )
        return done

    def sweep(self) -> tuple[int, int]:
        """Forget the files that are gone, and give their room back: (how many, how many are left)."""
        rows = self._rows()
        gone = [(row.path,) for row in rows if not row.file.exists()]
        with _told(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM files WHERE path = ?", gone)
        with _told(self.path):
            self._connection.execute("VACUUM")
        return len(gone), len(rows) - len(gone)

    def _rows(self) -> list[Row]:
        with _told(self.path):
            return list(map(Row._make, self._connection.execute(f"SELECT {_COLUMNS} FROM files")))

    def _put(self, rows: Iterable[Row]) -> None:
        with _told(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_PUT, rows)


@contextmanager
def open_index(path: Path | None = None) -> Iterator[Index]:
    """The index in ``path``, made if it is not there; the usual place by default.

    Raises OutputError when it cannot be written, FileProblem when the file is something else.
    """
    place = path or usual_place()
    with _told(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(place, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        with _told(place):
            _prepare(connection, place)
        yield Index(place, connection)
    finally:
        connection.close()


def _prepare(connection: sqlite3.Connection, place: Path) -> None:
    """Make the table unless it is there. Several processes may come here at once: the later find the first one's."""
    connection.execute("PRAGMA synchronous = NORMAL")
    if _is_ready(connection):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if _is_ready(connection):
            return
        ours = _number(connection, "application_id") == APPLICATION
        if not ours and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise _no_index(place, "a database of another program")
        connection.execute("DROP TABLE IF EXISTS files")
        connection.execute(_TABLE)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    _let_readers_in(connection)


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


def _is_ready(connection: sqlite3.Connection) -> bool:
    return _number(connection, "application_id") == APPLICATION and _number(connection, "user_version") == VERSION


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _no_index(place: Path, what: str) -> FileProblem:
    return FileProblem(
        f"{place.name} is no index of adapters",
        given=f"{place}: {what}",
        expected="a file that sakuga lora has made, or none",
        do="name another file with --index, or delete this one if you do not need it: an index can be made again",
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Headers are millions of small objects without a circle among them: looking for circles costs a third more."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@contextmanager
def _told(place: Path) -> Iterator[None]:
    """Inside, what SQLite and the system say becomes an error with advice."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as problem:
        raise OutputError(
            "the index of adapters cannot be used",
            given=f"{place}: {problem}",
            expected="a file in a folder that may be written",
            do=f"name another file with --index, or another folder with {VARIABLE}",
        ) from problem
    except sqlite3.DatabaseError as problem:
        raise _no_index(place, str(problem)) from problem
