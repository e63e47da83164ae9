"""Index: the rows of the library in one SQLite file. A row counts as long as its file has the same size and time.

Several processes may use it at once: each has headers read and then writes in one transaction, waiting for the others.
What is in it can always be read again, so a version that does not know its table makes a new one, and a row that
anybody else wrote or harmed, which its seal tells, is read again; a file that is no index of ours is never touched.
"""

from __future__ import annotations

import errno
import gc
import os
import sqlite3
import time
import zlib
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
VERSION = 3  # of the table
WAIT_SECONDS = 60.0
_COLUMNS = ", ".join(Row._fields)
_TABLE = f"CREATE TABLE files ({_COLUMNS}, seal, PRIMARY KEY (path)) WITHOUT ROWID"
_PUT = f"INSERT OR REPLACE INTO files ({_COLUMNS}, seal) VALUES (?{', ?' * len(Row._fields)})"


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

    def __init__(self, path: Path, connection: sqlite3.Connection, note: str | None = None) -> None:
        """``note``: why it is not kept, if it is not."""
        self.path, self.note = path, note
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
        scan.notes += [self.note] if self.note else []
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
        return row if row.sha256 else self.hashed_again(row)

    def hashed_again(self, row: Row) -> Row:
        """The same, read again. Raises FileProblem also where the file is not the one that was hashed before, though
        of the same size and time; the index then forgets it.
        """
        from sakuga.lora.hashes import hashes_of
        from sakuga.tensors.file import TensorFile

        found = hashes_of(TensorFile.open(row.file))
        done = row._replace(sha256=found.sha256, payload_sha256=found.payload_sha256 or found.sha256)
        exchanged = row.sha256 not in ("", done.sha256)
        with _told(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if exchanged:
                self._connection.execute("DELETE FROM files WHERE path = ?", (row.path,))
            elif row in self._rows("WHERE path = ?", (row.path,)):
                self._connection.execute(_PUT, (*done, _seal(done)))
        if exchanged:
            raise FileProblem(
                f"{row.name} is not the file any more that this hash is of",
                given=f"{row.file}, sha256 {done.sha256}",
                expected=f"sha256 {row.sha256}",
                do="ask by name if you want the new file; what was known of the old one is forgotten",
            )
        return done

    def sweep(self) -> tuple[int, int]:
        """Forget the files that are gone, and give their room back: (how many, how many are left)."""
        there = {row.path for row in self._rows() if row.file.exists()}
        with _told(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            gone = [path for (path,) in self._connection.execute("SELECT path FROM files") if path not in there]
            self._connection.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in gone])
        with _told(self.path):
            self._connection.execute("VACUUM")
        return len(gone), len(there)

    def _rows(self, which: str = "", values: Sequence[object] = ()) -> list[Row]:
        """The rows whose seals are whole."""
        with _told(self.path):
            found = self._connection.execute(f"SELECT {_COLUMNS}, seal FROM files {which}", values)
            return [Row._make(row) for *row, seal in found if seal == _seal(row)]

    def _put(self, rows: Iterable[Row]) -> None:
        with _told(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_PUT, ((*row, _seal(row)) for row in rows))


@contextmanager
def open_index(path: Path | None = None) -> Iterator[Index]:
    """The index in ``path``, made if it is not there; the usual place by default. Where that cannot be used, the
    index is in memory, and says so in its ``note``.

    Raises OutputError when ``path`` cannot be written, FileProblem when the file is something else.
    """
    place, note = path or usual_place(), None
    try:
        connection = _connected(place)
    except (OutputError, FileProblem) as problem:
        if path is not None:
            raise
        connection, note = _connected(None), f"the index is not kept: {problem.given}; {problem.do}"
    try:
        yield Index(place, connection, note)
    finally:
        connection.close()


def _connected(place: Path | None) -> sqlite3.Connection:
    """A connection to the index of this file, which may be written; None: in memory."""
    told = place or Path(":memory:")
    with _told(told):
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists() and not os.access(place, os.W_OK):  # which SQLite would tell only when it writes
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        connection = sqlite3.connect(told, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        with _told(told):
            _prepare(connection, told)
    except BaseException:
        connection.close()
        raise
    return connection


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
    """Whether it is an index of this version, with a table that nobody changed."""
    if (_number(connection, "application_id"), _number(connection, "user_version")) != (APPLICATION, VERSION):
        return False
    return connection.execute("SELECT sql FROM sqlite_master WHERE name = 'files'").fetchone() == (_TABLE,)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _no_index(place: Path, what: str) -> FileProblem:
    return FileProblem(
        f"{place.name} is no index of adapters",
        given=f"{place}: {what}",
        expected="a file that sakuga lora has made, or none",
        do="name another file with --index, or delete this one if you do not need it: an index can be made again",
    )


def _seal(row: Sequence[object]) -> int:
    """What a row is sealed with, over all its values."""
    return zlib.crc32(repr(list(row)).encode())


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
