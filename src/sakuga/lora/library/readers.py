"""Readers: processes that read headers side by side, where there are many new files and more than one core.

A reader is a Python of its own that is sent files through a pipe and answers with their rows; it never sees the index,
nor the program that asked. One that cannot start or dies costs time and nothing else: its files are read here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

from sakuga.lora.library.folders import Found
from sakuga.lora.library.listings import Listings
from sakuga.lora.library.reading import read_row
from sakuga.lora.library.row import Row

FEWEST = 500  # files; for fewer, a reader takes longer to start than it saves
MOST = 4  # readers
ERRAND = 100  # files, about as many as a reader is sent at once
_ROOT = Path(__file__).parents[3]  # what the package is imported from, however this process came to know it
_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from sakuga.lora.library.readers import serve; serve()"


def read_rows(stale: Sequence[Found], readers: int | None = None) -> Generator[Row, None, None]:
    """The row of every file, in no order that can be relied on.

    ``readers`` read the files, or nobody but this process for 0; by default as many as there is work and cores for.
    What they give is the same. To be closed by whoever does not take all of it.
    """
    listings = Listings()
    with _started(worthwhile(len(stale)) if readers is None else readers) as running:
        answers = _answers(running, _errands(stale)) if running else iter([(stale, None)])
        for errand, rows in answers:
            yield from (read_row(one, listings) for one in errand) if rows is None else rows


def serve() -> None:
    """What a reader does: for each line of stdin, a list of files, one line of stdout, their rows."""
    import gc

    gc.disable()  # headers are millions of small objects without a circle among them
    listings = Listings()
    for line in sys.stdin:
        rows = [read_row(Found(*one), listings) for one in json.loads(line)]
        print(json.dumps([(os.fsdecode(row.path), *row[1:]) for row in rows]), flush=True)


class _Reader:
    """A process that serves. Ctrl-C does not reach it: it ends when it is told to, or when nobody writes to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, str(_ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
            start_new_session=True,
        )

    def rows(self, errand: Sequence[Found]) -> list[Row] | None:
        """The rows of these files, in their order; None when the reader fails."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(errand) + "\n")
            self._process.stdin.flush()
            told = json.loads(self._process.stdout.readline())
            rows = [Row(os.fsencode(path), *more) for path, *more in told]
        except (OSError, ValueError, TypeError):
            return None
        return rows if [row.path for row in rows] == [os.fsencode(one.path) for one in errand] else None

    def end(self) -> None:
        """Stop it, in the middle of its work if need be."""
        self._process.kill()

    def close(self) -> None:
        """Wait until it has ended, and let go of its pipes."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what it was not sent any more
                if pipe:
                    pipe.close()


def _answers(
    running: Sequence[_Reader], errands: Iterable[Sequence[Found]]
) -> Iterator[tuple[Sequence[Found], list[Row] | None]]:
    """Each errand with the rows that a reader gave for it, None where it failed; the first to be done comes first."""
    idle: SimpleQueue[_Reader] = SimpleQueue()
    for reader in running:
        idle.put(reader)

    def run(errand: Sequence[Found]) -> list[Row] | None:
        reader = idle.get()
        try:
            return reader.rows(errand)
        finally:
            idle.put(reader)

    with ThreadPoolExecutor(len(running)) as threads:
        under_way = {threads.submit(run, errand): errand for errand in errands}
        try:
            for done in as_completed(under_way):
                yield under_way[done], done.result()
        finally:
            for reader in running:
                reader.end()
            threads.shutdown(cancel_futures=True)


@contextmanager
def _started(count: int) -> Iterator[list[_Reader]]:
    """As many readers as can be started; they have ended at the end."""
    running: list[_Reader] = []
    try:
        with suppress(OSError):
            for _ in range(count):
                running.append(_Reader())
        yield running
    finally:
        for reader in running:
            reader.end()
        for reader in running:
            reader.close()


def worthwhile(files: int) -> int:
    """How many readers are worth their start; 0 on a single core, and where Python cannot be started again."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if files < FEWEST or cores < 2 or getattr(sys, "frozen", False) or not sys.executable:
        return 0
    return min(cores, MOST)


def _errands(stale: Sequence[Found]) -> list[list[Found]]:
    """The files in portions, the largest files first. Those with the same bytes of weights stay together: most likely
    they list the same tensors, and a reader reads a list only once.
    """
    alike: dict[int, list[Found]] = {}
    for one in stale:
        alike.setdefault(_payload_bytes(one), []).append(one)
    errands: list[list[Found]] = [[]]
    for _, group in sorted(alike.items(), reverse=True):
        for at in range(0, len(group), ERRAND):
            if len(errands[-1]) >= ERRAND:
                errands.append([])
            errands[-1] += group[at : at + ERRAND]
    return errands


def _payload_bytes(one: Found) -> int:
    """What is left of the file behind its header; any number for a file that has none."""
    try:
        with open(one.path, "rb", buffering=0) as stream:
            return one.size_bytes - 8 - int.from_bytes(stream.read(8), "little")
    except OSError:
        return 0
