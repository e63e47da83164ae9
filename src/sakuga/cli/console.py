"""What a person sees while a command runs: a bar on a terminal, plain lines elsewhere, and Ctrl-C that stops gently.

Everything here goes to stderr; stdout belongs to the result.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from sakuga.cli.columns import folded, terminal
from sakuga.progress import Listener, Moment, Progress

if TYPE_CHECKING:
    from sakuga.errors import SakugaError
    from sakuga.report import Report

# Ctrl-C, a stop from outside, and a terminal that was closed (which Windows does not know).
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PAUSE_SECONDS = 5.0  # between two plain lines of one task
ERROR_LABEL = 12  # columns before what a line of an error says


def tell(report: Report, *, as_json: bool) -> None:
    """The report on stdout, as text or as JSON alone."""
    print(json.dumps(report.as_json(), indent=2, ensure_ascii=False) if as_json else report.text())


def tell_event(event: str, more: Mapping[str, object]) -> None:
    """One line of JSON on stderr, for programs."""
    print(json.dumps({"event": event, **more}, ensure_ascii=False), file=sys.stderr, flush=True)


def tell_event_of(moment: Moment) -> None:
    """A Listener that tells every moment as an event."""
    left = moment.remaining_seconds
    told: dict[str, object] = {"task": moment.task, "done": moment.done, "total": moment.total}
    told |= {"elapsed": round(moment.elapsed_seconds, 3), "remaining": None if left is None else round(left, 3)}
    tell_event("progress", told)


def tell_error(error: SakugaError) -> None:
    """An error on stderr, as an event or for people; on a terminal its lines are folded between words, each part below
    its own beginning.
    """
    if events.get():
        tell_event("error", {"errors": error.parts()})
        return
    lines = error.told().splitlines()
    if sys.stderr.isatty():
        columns = terminal()
        lines = [
            part
            for line in lines
            for part in folded(line, columns, rest=" " * (ERROR_LABEL if line.startswith(" ") else 2))
        ]
    print("\n".join(lines), file=sys.stderr)


events: ContextVar[bool] = ContextVar("events", default=False)  # whether all that is told goes out as JSON lines


@contextmanager
def watched() -> Iterator[Progress]:
    """A Progress that is shown on stderr, and that Ctrl-C asks to stop. A second Ctrl-C ends at once."""
    with shown() as listener:
        progress = Progress(listener=listener)
        with stopping(progress):
            yield progress


@contextmanager
def shown() -> Iterator[Listener]:
    """A Listener that shows what it hears on stderr: bars on a terminal, plain lines elsewhere."""
    if events.get():
        yield tell_event_of
        return
    if not sys.stderr.isatty():
        yield PlainLines(stream=sys.stderr)
        return
    with _bars() as listener:
        yield listener


@contextmanager
def stopping(progress: Progress) -> Iterator[None]:
    """Inside, the first Ctrl-C, or another of STOPS, asks ``progress`` to stop; the second raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may listen to signals
        return
    asked, told_as_events = False, events.get()

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        progress.stop()
        # straight to the descriptor: the interrupted code may be in the middle of a print
        with suppress(OSError):
            if told_as_events:
                return
            os.write(2, b"\nstopping after this step; what is finished is kept; Ctrl-C again ends at once\n")

    before = {number: signal.signal(number, on_interrupt) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(kw_only=True)
class PlainLines:
    """A Listener for logs: a line when a task is done, and one each few seconds while it is not."""

    stream: TextIO
    _last: float = float("-inf")
    _task: str = ""

    def __call__(self, moment: Moment) -> None:
        """Write a line if one is due."""
        now = time.monotonic()
        if moment.task != self._task:
            self._task, self._last = moment.task, now
        if moment.done < moment.total and now - self._last < PAUSE_SECONDS:
            return
        self._last = now
        print(line_of(moment), file=self.stream, flush=True)


def line_of(moment: Moment) -> str:
    """One line for a log: ``render: 12 of 48, 0:35, about 1:45 to go``."""
    left = _left(moment)
    parts = [f"{moment.done} of {moment.total}", _clock(moment.elapsed_seconds), *([left] if left else [])]
    return f"{moment.task}: {', '.join(parts)}"


@contextmanager
def _bars() -> Iterator[Listener]:
    """Bars with a time to go, one for each task, on the terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[clock]}"),
        TextColumn("{task.fields[left]}"),
    )
    bars = Bars(*columns, console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def listen(moment: Moment) -> None:
        if moment.task not in tasks:
            tasks[moment.task] = bars.add_task(moment.task, total=moment.total, clock="", left="")
        clock, left = _clock(moment.elapsed_seconds), _left(moment)
        bars.update(tasks[moment.task], completed=moment.done, total=moment.total, clock=clock, left=left)

    with bars:
        yield listen


def _left(moment: Moment) -> str:
    seconds = moment.remaining_seconds
    return "" if seconds is None or moment.done >= moment.total else f"about {_clock(seconds)} to go"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
