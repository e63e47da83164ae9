"""Progress: where a run is, and whether it should stop. One callback type for every face and every engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where a run is. ``done`` of ``total`` units of ``task`` (say "stage 1 · render"); times in seconds."""

    task: str
    done: int
    total: int
    elapsed_seconds: float

    @property
    def remaining_seconds(self) -> float | None:
        """The time to go at the pace so far; None before the first unit is done."""
        return self.elapsed_seconds * (self.total - self.done) / self.done if self.done else None


Listener = Callable[[Moment], None]


@dataclass(kw_only=True)
class Progress:
    """Tells ``listener`` of every unit, and carries the wish to stop.

    Engines call ``begin`` and ``advance``; between steps they call ``check`` (``advance`` does it too), which raises
    ``Stopped`` once ``stop`` was called, from a signal handler or another thread. ``about`` stands before the name of
    each task, for those who show more than one run.
    """

    listener: Listener | None = None
    about: str = ""
    _task: str = ""
    _done: int = 0
    _total: int = 0
    _started: float = field(default_factory=time.monotonic)
    _stop: bool = False

    def begin(self, task: str, total: int) -> None:
        """A new task of ``total`` units starts."""
        self._task, self._done, self._total, self._started = f"{self.about}{task}", 0, total, time.monotonic()
        self._tell()

    def advance(self, units: int = 1) -> None:
        """``units`` more are done. Raises ``Stopped`` if a stop was asked for."""
        self._done += units
        self._tell()
        self.check()

    @property
    def stop_asked(self) -> bool:
        """Whether the run shall end at the next ``check``."""
        return self._stop

    def stop(self) -> None:
        """Ask the run to end at the next ``check``."""
        self._stop = True

    def check(self) -> None:
        """Raise ``Stopped`` if a stop was asked for."""
        if self._stop:
            from sakuga.errors import Stopped

            raise Stopped("stopped on request", given=f"{self._task}, {self._done} of {self._total} done")

    def _tell(self) -> None:
        if self.listener:
            elapsed = time.monotonic() - self._started
            self.listener(Moment(task=self._task, done=self._done, total=self._total, elapsed_seconds=elapsed))
