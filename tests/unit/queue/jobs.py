"""Jobs for queues, and serving them without drawing a picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

from sakuga.progress import Progress
from sakuga.render.many import Draw, Outcome
from sakuga.render.queue.serve import serve
from sakuga.render.queue.store import Queue
from sakuga.report import Report
from sakuga.spec.load import Written, make_job


def clips(*names: object) -> list[Written]:
    return [make_job(f"/clips/{name}.mp4", [f"output=/out/{name}.mp4"]) for name in names]


def states(queue: Queue) -> list[str]:
    return [row.state for row in queue.rows()]


def fine(written: Written, progress: Progress) -> Report:
    return Report(status="rendered")


def served(queue: Queue, draw: Draw = fine, progress: Progress | None = None, lease: float = 0.3) -> list[Outcome]:
    def shown() -> nullcontext[Callable[..., None]]:
        return nullcontext(lambda moment: None)

    return list(serve(queue, draw, progress or Progress(), shown, lease_seconds=lease))


def working(queue: Queue, then: Callable[[], object]) -> Draw:
    """A render that goes on for ever once ``then`` was done."""

    def draw(written: Written, progress: Progress) -> Report:
        then()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            progress.advance(0)
            time.sleep(0.01)
        raise AssertionError("nobody stopped it")

    return draw
