"""Several processes over one queue: each job once, also when one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.unit.queue.jobs import clips, served, states

from sakuga.render.queue.store import Queue, open_queue

SOURCE = Path(__file__).resolve().parents[3] / "src"
WORKER = """
import os, sys, time
from contextlib import nullcontext
from pathlib import Path
from sakuga.progress import Progress
from sakuga.render.queue.serve import serve
from sakuga.render.queue.store import open_queue
from sakuga.report import Report

queue, log, seconds = sys.argv[1:]

def draw(written, progress):
    with open(log, "a") as file:
        file.write(f"{written.job.source.name} {os.getpid()}\\n")
    time.sleep(float(seconds))
    return Report(status="rendered")

with open_queue(Path(queue)) as queue:
    list(serve(queue, draw, Progress(), lambda: nullcontext(lambda moment: None)))
"""


def worker(place: Path, log: Path, seconds: float = 0.0) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(place), str(log), str(seconds)], env=environment)


def wait_for(true: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def test_four_processes_render_each_of_two_hundred_jobs_once(place: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with open_queue(place) as queue:
        queue.add(clips(*range(200)))
        workers = [worker(place, log) for _ in range(4)]
        assert [one.wait(60) for one in workers] == [0] * 4
        assert Counter(states(queue)) == {"done": 200}
        assert {row.tries for row in queue.rows()} == {1}
    lines = [line.split() for line in log.read_text().splitlines()]
    assert Counter(name for name, _ in lines) == {f"{number}.mp4": 1 for number in range(200)}


def test_the_job_of_a_process_that_was_killed_is_taken_again(queue: Queue, place: Path, tmp_path: Path) -> None:
    queue.add(clips("a", "b"))
    killed = worker(place, tmp_path / "log", 60)
    wait_for((tmp_path / "log").exists)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert states(queue) == ["running", "waiting"]
    assert [one.status for one in served(queue)] == ["rendered"] * 2
    assert [(row.state, row.tries, row.lost) for row in queue.rows()] == [("done", 2, 1), ("done", 1, 0)]
