"""Leases: an owner shows by its beats that it is at work, and others see by their absence that it is not.

No two clocks are compared: whoever looks counts the seconds between two beats by its own clock that never jumps, so
that a wrong date, a clock that is put right or a machine that slept takes no job from anyone. A process that is not
there any more, on this very machine, need not be waited for.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from sakuga.errors import SakugaError
from sakuga.progress import Progress
from sakuga.render.queue.row import Row
from sakuga.render.queue.store import Owner, Queue, open_queue
from sakuga.whole import lives

LEASE_SECONDS = 30.0
BEATS = 6  # in the time of a lease
Clock = Callable[[], float]


def new_owner(lease_seconds: float = LEASE_SECONDS) -> Owner:
    """This process as an owner, under a name that no other has."""
    return Owner(name=uuid.uuid4().hex, machine=_machine(), process=os.getpid(), lease_seconds=lease_seconds)


@dataclass(kw_only=True)
class Lookout:
    """Looks at the owners of running jobs again and again, and remembers when each has last been seen to beat."""

    clock: Clock = time.monotonic
    _seen: dict[int, _Seen] = field(default_factory=dict)

    def dead(self, rows: Sequence[Row]) -> list[Row]:
        """Those of the running jobs whose owners count as dead now."""
        return [row for row in rows if self._silent(row) > row.lease_seconds or _is_gone(row)]

    def unsure(self, rows: Sequence[Row]) -> bool:
        """Whether one of the running jobs has an owner that has not been seen to beat yet."""
        return any(row.number not in self._seen or not self._seen[row.number].beats for row in rows)

    def _silent(self, row: Row) -> float:
        """For how long, in seconds, the owner has been seen without a beat."""
        now = self.clock()
        before = self._seen.get(row.number)
        if before is None or before.owner != row.owner:
            self._seen[row.number] = _Seen(owner=row.owner, beat=row.beat, since=now)
        elif before.beat != row.beat:
            self._seen[row.number] = _Seen(owner=row.owner, beat=row.beat, since=now, beats=True)
        return now - self._seen[row.number].since


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """An owner, its last beat, when that was first seen, and whether another one was seen before it."""

    owner: str | None
    beat: int
    since: float
    beats: bool = False


class Held(Progress):
    """The Progress of a job in hand: a thread of its own beats for it, and each check of the job hears of a stop.

    ``all_of_it`` carries the wish to stop everything. Use it in a ``with`` block.
    """

    def __init__(self, queue: Queue, row: Row, owner: Owner, all_of_it: Progress) -> None:
        super().__init__(listener=all_of_it.listener, about=f"{Path(row.source).name}: ")
        self.cancelled = self.lost = False
        self._queue, self._row, self._owner, self._all = queue, row, owner, all_of_it
        self._pause = owner.lease_seconds / BEATS
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="beats", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raise ``Stopped`` if everything shall stop, if this job was cancelled, or if it is lost to another owner."""
        if time.monotonic() - self._last > 3 * self._pause:  # a process that was held: it asks before it does more
            self._beat(self._queue)
        if self._all.stop_asked:
            self.stop()
        super().check()

    def _beat(self, queue: Queue) -> None:
        goes_on = queue.beat(self._row.number, self._owner)
        self._last = time.monotonic()
        if goes_on is not True:
            self.lost, self.cancelled = goes_on is None, goes_on is False
            self.stop()

    def _beat_on(self) -> None:
        """Beat until the job ends. A queue that cannot be written for a while is tried again with the next beat."""
        while not self._ended.wait(self._pause):
            try:
                with open_queue(self._queue.path) as queue:
                    self._beat(queue)
            except SakugaError:
                if time.monotonic() - self._last > self._owner.lease_seconds:  # others may take the job by now
                    self.lost = True
                    self.stop()


def _is_gone(row: Row) -> bool:
    """Whether the process of an owner is known not to be there any more."""
    return row.process is not None and row.machine == _machine() and not lives(row.process)


def _machine() -> str:
    """Where numbers of processes mean the same: this machine, and of its containers this one."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()
