"""Serving a queue: take a job, have it drawn, write down what came of it, and the next, until none waits.

Any number of processes may do so at once. Refuses to know how to draw: whoever serves brings that along.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from sakuga.errors import SakugaError, Stopped
from sakuga.progress import Listener, Progress
from sakuga.render.many import CANCELLED, Draw, Outcome, attempt
from sakuga.render.queue.lease import LEASE_SECONDS, Held, Lookout, new_owner
from sakuga.render.queue.row import RUNNING, Row
from sakuga.render.queue.store import Owner, Queue
from sakuga.report import Report, report_path

PAUSE_SECONDS = 0.5  # between two looks at a queue in which nothing waits


def serve(
    queue: Queue,
    draw: Draw,
    progress: Progress,
    shown: Callable[[], AbstractContextManager[Listener]],
    *,
    watch: bool = False,
    lease_seconds: float = LEASE_SECONDS,
) -> Iterator[Outcome]:
    """Draw what waits, and give what became of each job that this process had in hand.

    Ends when nothing waits and whoever has a job in hand was seen at work, since a job of a dead one waits again; with
    ``watch`` only when ``progress`` is asked to stop, at which the job in hand is given back.
    """
    owner, lookout = new_owner(lease_seconds), Lookout()
    while not progress.stop_asked:
        running = queue.rows(RUNNING)
        buried = [queue.bury(row) for row in lookout.dead(running)]
        if (row := queue.take(owner)) is not None:
            yield _drawn(queue, row, owner, draw, progress, shown)
        elif not any(buried) and not watch and not lookout.unsure(running):
            return
        else:
            time.sleep(min(PAUSE_SECONDS, lease_seconds / 10))


def _drawn(
    queue: Queue,
    row: Row,
    owner: Owner,
    draw: Draw,
    progress: Progress,
    shown: Callable[[], AbstractContextManager[Listener]],
) -> Outcome:
    """One job: drawn, and what came of it written down."""
    result: Report | SakugaError
    try:
        with shown() as progress.listener, Held(queue, row, owner, progress) as held:
            try:
                result = attempt(draw, row.written, held)
            except SakugaError as error:
                result = error
    except BaseException:
        queue.give_back(row.number, owner)
        raise
    outcome = Outcome.of(row.source, row.output, result)
    if not isinstance(result, Stopped):
        queue.finish(row.number, owner, result, report_path(Path(row.output)))
        return outcome
    if held.cancelled and not held.lost:
        queue.cancelled(row.number, owner)
        return replace(outcome, status=CANCELLED)
    queue.give_back(row.number, owner)
    return outcome
