"""Preview: a few frames of a Job as they will be, what they are drawn from, and what the whole would cost.

The frames are drawn for real, by a Run of these frames alone, with and without the adapters. Estimates come from what
was measured meanwhile; what cannot be known is not guessed. Writes nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sakuga.progress import Progress
from sakuga.render.memory import peak_bytes
from sakuga.render.run import Run
from sakuga.render.studio import Studio
from sakuga.report import Report
from sakuga.spec.job import Job, Stage
from sakuga.spec.prompt import split_prompt
from sakuga.video.colour import resize
from sakuga.video.pictures import encode_picture

Picture = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """``rows``: (what it is, frames RGB uint8 [H, W, 3]), all frames of one size. ``whole``: what all frames would
    take: frames, seconds, disk_bytes, memory_bytes; no seconds where the frames were drawn before.
    """

    rows: tuple[tuple[str, tuple[Picture, ...]], ...]
    whole: dict[str, float]
    report: Report


def preview(studio: Studio, job: Job, first: int, count: int, progress: Progress | None = None) -> Preview:
    """Draw ``count`` frames from frame ``first`` on, with and without the adapters. Raises what a render would."""
    some = job.model_copy(update={"frames": (first, first + count)})
    rows, taken = [], 0.0
    with studio.opened(some, progress) as run:
        started = time.perf_counter()
        drawn = tuple(run.pictures())
        taken = time.perf_counter() - started
        size = run.plan.source.size
        source = tuple(run.reader.sized(frame) for frame in run.clip.frames(first, first + count))
        rows = [("source", source), *_controls(run, source, size)]
        report, total = run.report, _frames(job, run)
    bare = without_adapters(some)
    if bare != some:
        with studio.opened(bare, progress) as run:
            rows.append(("without LoRA", tuple(run.pictures())))
    names = ", ".join(f"{adapter['name']} {adapter['weight']}" for adapter in report.adapters)
    rows.append((f"with {names}" if names else "result", drawn))
    stored = sum(len(encode_picture(picture, ".png")) for picture in drawn) / count
    fresh = not report.work.get("found")
    whole = {
        "frames": total,
        "disk_bytes": round(stored * total * max(1, len(job.stages))),
        "memory_bytes": peak_bytes(),
    }
    return Preview(rows=tuple(rows), whole=whole | ({"seconds": taken / count * total} if fresh else {}), report=report)


def key_frames(studio: Studio, job: Job, progress: Progress | None = None) -> list[tuple[int, Picture, Picture]]:
    """The middle frame of each shot as (its index, the source's picture, the drawn one). Raises what a render would."""
    first, *cuts = studio.shots(job, progress)
    with studio.opened(job, progress) as run:
        end = run.plan.source.frames.stop
    found = []
    for start, stop in pairwise((first, *cuts, end)):
        middle = (start + stop) // 2
        with studio.opened(job.model_copy(update={"frames": (middle, middle + 1)}), progress) as run:
            (drawn,) = run.pictures()
            (source,) = (run.reader.sized(frame) for frame in run.clip.frames(middle, middle + 1))
        found.append((middle, source, drawn))
    return found


def without_adapters(job: Job) -> Job:
    """The Job with no adapter, neither listed nor in a prompt's tags."""

    def bare(stage: Stage) -> Stage:
        tagged = stage.prompt_style == "a1111"
        prompt = split_prompt(stage.prompt)[0] if tagged else stage.prompt
        return stage.model_copy(update={"adapters": (), "prompt": prompt})

    return job.model_copy(update={"stages": tuple(bare(stage) for stage in job.stages)})


def _frames(job: Job, run: Run) -> int:
    """How many frames the whole Job has."""
    first, end = job.frames or (0, None)
    return (run.clip.frame_count if end is None else min(end, run.clip.frame_count)) - first


def _controls(run: Run, source: tuple[Picture, ...], size: tuple[int, int]) -> list[tuple[str, tuple[Picture, ...]]]:
    """The pictures that controls are drawn from the source; those that a first Stage draws are not known beforehand."""
    found: dict[str, Any] = {}
    for number, stage in enumerate(run.stages):
        for control in stage.controls:
            if control.use.scale == 0 or control.clip is not None or (number and control.use.source != "clip"):
                continue
            at = [resize(picture, *run.plan.stages[number].size) for picture in source]
            found[f"control {control.use.kind}"] = tuple(resize(control.annotator.draw(one), *size) for one in at)
    return list(found.items())
