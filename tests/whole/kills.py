"""Kills a render at random instants, again and again, and runs it once to the end: the file must be that of a run that
nobody disturbed.

    python -m tests.whole.kills --times 1000
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import tempfile
import time
import traceback
from pathlib import Path

import cv2
import torch
from tests.whole.conftest import UNEVEN, Made

from sakuga.errors import SakugaError
from sakuga.render.studio import Studio
from sakuga.spec.job import Job

STAGE = {"prompt": "ink", "steps": 2, "strength": 0.6, "motion": "none", "controls": ["tile"]}
SPAN = 2


def killed(studio: Studio, job: Job, seconds: float) -> int:
    """Render in a child that is killed after so long; its exit status."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            studio.render(job)
            status = 0
        except SakugaError:
            traceback.print_exc()
        finally:
            os._exit(status)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    """Kill, run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = Job(source=Made(folder=folder).film("film.mp4", UNEVEN), stages=[STAGE], span=SPAN)
        studio = Studio(work=folder / "warm")
        studio.render(job.model_copy(update={"output": folder / "twin.mp4"}))
        started = time.perf_counter()
        studio.render(job.model_copy(update={"output": folder / "time.mp4", "seed": 1}))
        whole = time.perf_counter() - started
        twin = hashlib.sha256((folder / "twin.mp4").read_bytes()).hexdigest()
        ended = rounds = kills = 0
        while kills < options.times:
            rounds += 1
            studio._work = folder / f"work-{rounds}"
            output = job.model_copy(update={"output": folder / f"out-{rounds}.mp4"})
            for _ in range(min(20, options.times - kills)):  # in one work folder, then in a new one
                before = output.output.exists()
                status = killed(studio, output, chance.uniform(0, 0.6 * whole))
                kills += status == -signal.SIGKILL
                ended += status == 0
                assert status in (0, -signal.SIGKILL), status
                if before or status == 0:
                    break
            report = studio.render(output)
            found = hashlib.sha256(output.output.read_bytes()).hexdigest()
            assert found == twin, f"round {rounds}: another file"
            left = [path.name for path in folder.iterdir() if ".partial" in path.name]
            assert not left, left
            print(f"{kills} kills, {rounds} runs to the end, {report.status}, {report.work}", flush=True)
    print(f"{kills} kills at random instants, {rounds} runs to the end, {ended} ended first: every file is the same")


if __name__ == "__main__":
    main()
