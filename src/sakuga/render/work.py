"""Work: what is under way and what is kept of it. One folder for each output, held by one run at a time.

The folder says which Job is rendered there and which Spans it consists of; the Spans themselves lie in the Store, so
that Jobs share them. A lock goes with the process that holds it, however that ends. Refuses to remove what a run uses.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sakuga.errors import InUse, OutputError
from sakuga.render.hashes import sha256_of
from sakuga.render.store import SPAN, Store, write_whole
from sakuga.whole import without_left_over

VARIABLE = "SAKUGA_CACHE"
KEPT_BYTES = 8 << 30  # of finished work that stays for the next Job; what is oldest goes
POLL_SECONDS = 0.2
UNDER_WAY, DONE = "under way", "done"
RECORD, LOCK = "run.json", "lock"


def usual_root() -> Path:
    """``work`` in ``$SAKUGA_CACHE``, or in the cache folder of the user by the XDG rule."""
    own = os.environ.get(VARIABLE, "")
    if own:
        return Path(own).expanduser() / "work"
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "sakuga" / "work"


@contextmanager
def writable(root: Path, note: Callable[[str], None]) -> Iterator[Path]:
    """``root``, made if need be; where nothing can be written, a folder that lasts as long as the block, and a note."""
    try:
        (root / "runs").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root / "runs"):
            pass
    except OSError as error:
        note(f"nothing can be kept in {root} ({error.strerror}), so a stop loses what was drawn")
        with tempfile.TemporaryDirectory(prefix="sakuga-work-") as folder:
            yield Path(folder)
        return
    yield root


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run.json says: ``spans`` holds the keys that its Spans have after each Stage."""

    folder: Path
    output: str
    source: str
    state: str
    begun: float  # seconds since 1970
    job: dict[str, Any] = field(default_factory=dict)
    spans: tuple[tuple[str, ...], ...] = ()
    process: int = 0
    machine: str = ""
    key: str | None = None  # the content key of the output
    placed_sha256: str | None = None  # of the whole output, written down just before it took its place

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """The record of a work folder; None where there is none that can be read."""
        try:
            told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            spans = tuple(tuple(map(str, keys)) for keys in told.pop("spans"))
            return cls(folder=folder, spans=spans, **told)
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return None

    @property
    def running(self) -> bool:
        """Whether a process holds it now."""
        return _is_held(self.folder / LOCK)


class WorkFolder:
    """The folder of one output, held by this process; made by ``held``."""

    def __init__(self, folder: Path, output: Path) -> None:
        self.folder, self.output, self._begun = folder, output, time.time()
        self._told: dict[str, Any] = {}
        self.before = Record.read(folder)  # of the run that was at work here last

    def begin(self, source: Path, job: dict[str, Any], spans: Sequence[Sequence[str]], key: str | None = None) -> None:
        """Write down what is rendered. Raises ``OutputError``."""
        self._told = {"source": str(source), "job": job, "spans": [list(keys) for keys in spans], "key": key}
        self._write(UNDER_WAY)

    def placing(self, hidden: Path) -> None:
        """The output is whole under a hidden name, and takes its place next: from now on it is known to be ours."""
        self._told["placed_sha256"] = sha256_of(hidden)
        self._write(UNDER_WAY)

    def placed(self) -> dict[str, Any] | None:
        """``key`` and ``output_sha256`` of an output that the run before has put in its place and was killed then."""
        last = self.before
        if last is None or last.state == DONE or last.placed_sha256 is None or not self.output.exists():
            return None
        same = sha256_of(self.output) == last.placed_sha256
        return {"key": last.key, "output_sha256": last.placed_sha256} if same else None

    def finish(self) -> None:
        """All is there that the run before has left undone."""
        if self.before is not None:
            last = self.before
            self._told = {"source": last.source, "job": last.job, "spans": [list(keys) for keys in last.spans]}
            self._write(DONE)

    def done(self) -> None:
        """The output is there: its Spans may go when room is wanted."""
        self._write(DONE)

    def _write(self, state: str) -> None:
        told = {
            "output": str(self.output),
            "state": state,
            "begun": self._begun,
            "process": os.getpid(),
            "machine": platform.node(),
        }
        write_whole(self.folder / RECORD, json.dumps(told | self._told))


@contextmanager
def held(root: Path, output: Path, *, wait: Callable[[Record | None], None] | None = None) -> Iterator[WorkFolder]:
    """The work folder of ``output``, for this run alone.

    ``wait`` is called again and again while another run holds it, and may raise; None: raise ``InUse`` at once.
    """
    output = output.absolute()
    folder = root / "runs" / hashlib.sha256(os.fsencode(output)).hexdigest()[:16]
    while True:
        with suppress(FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
        handle = _lock(folder / LOCK)
        if handle is not None:
            break
        record = Record.read(folder)
        if wait is None:
            raise _in_use(output, record)
        wait(record)
        time.sleep(POLL_SECONDS)
    try:
        yield WorkFolder(folder, output)
    finally:
        os.close(handle)


def records(root: Path) -> list[Record]:
    """All runs that something is known of, the newest last."""
    found = (Record.read(folder) for folder in root.glob("runs/*") if folder.is_dir())
    return sorted((record for record in found if record), key=lambda record: record.begun)


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What a collection did."""

    spans: int
    freed_bytes: int
    kept_bytes: int
    in_use: int


def collect(root: Path, keep_bytes: int, *, unfinished: bool = False) -> Collected:
    """Remove Spans that no run needs, the oldest first, until at most ``keep_bytes`` of them are left.

    Runs that are under way keep theirs, and so do those that were broken off, unless ``unfinished``.
    """
    known = records(root)
    busy = [record for record in known if record.running]
    needed = busy if unfinished else [record for record in known if record.state == UNDER_WAY or record.running]
    protected = {key for record in needed for keys in record.spans for key in keys}
    there = Store(root=root).spans()
    free = [(path, info) for path, info in there if path.name.removesuffix(SPAN) not in protected]
    size, spans, freed = sum(info.st_size for _, info in free), 0, 0
    for path, info in free:
        if size - freed <= keep_bytes:
            break
        with suppress(OSError):
            path.unlink()
            spans, freed = spans + 1, freed + info.st_size
    for record in known:
        if record not in needed and not any(Store(root=root).path(k).exists() for keys in record.spans for k in keys):
            _forget(record)
    if not busy:
        for folder in root.glob("spans/??"):
            without_left_over(folder)
    return Collected(
        spans=spans, freed_bytes=freed, kept_bytes=sum(info.st_size for _, info in there) - freed, in_use=len(busy)
    )


def _forget(record: Record) -> None:
    """Remove a record, unless a run has just taken it."""
    handle = _lock(record.folder / LOCK)
    if handle is not None:
        shutil.rmtree(record.folder, ignore_errors=True)
        os.close(handle)


def _lock(path: Path) -> int | None:
    """A handle that holds the lock until it is closed; None while somebody else does. Raises ``OutputError``."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        return None  # the folder was just removed: it is made again
    except OSError as error:
        raise OutputError(
            "the work folder cannot be written to",
            given=f"{path.parent}: {error.strerror}",
            expected="a folder with the right to write",
            do=f"change its rights, or name another with {VARIABLE}",
        ) from error
    if _taken(handle) and os.fstat(handle).st_nlink:  # else the folder was removed meanwhile
        return handle
    os.close(handle)
    return None


def _taken(handle: int) -> bool:
    """Whether the lock could be had."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _taken(handle)
    finally:
        os.close(handle)


def _in_use(output: Path, record: Record | None) -> InUse:
    who = f"process {record.process} on {record.machine}" if record and record.process else "another process"
    return InUse(
        "another run is at work on this output",
        given=f"{output}, which {who} renders",
        expected="one run for each output at a time",
        do="wait for it (--wait does), stop it, or choose another output",
    )
