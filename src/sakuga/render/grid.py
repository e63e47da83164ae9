"""Grid: the same frames under many Jobs, for people to compare: one cell for each pair, or triple, of values.

All Jobs are checked before the first is drawn. They share what is loaded, and cells that are the same picture are drawn
once, by the Store. Writes nothing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sakuga.errors import JobError, SakugaError, Several, raise_all
from sakuga.progress import Progress
from sakuga.render.studio import Studio
from sakuga.spec.axis import Axis
from sakuga.spec.job import Job
from sakuga.spec.uses import ControlUse
from sakuga.video.sheet import grid_sheet

Picture = NDArray[np.uint8]
MOST_CELLS = 400


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One Job of a grid: its ``values``, one for each axis, its frames RGB uint8 [H, W, 3], and how it came about."""

    values: tuple[str, ...]
    job: Job
    frames: tuple[Picture, ...]
    key: str | None
    seconds: float
    found: bool
    notes: tuple[str, ...]

    def told(self) -> dict[str, Any]:
        """Plain data for the JSON beside the picture."""
        return {
            "values": list(self.values),
            "key": self.key,
            "seconds": round(self.seconds, 3),
            "found": self.found,
            "notes": list(self.notes),
            "job": self.job.model_dump(mode="json"),
        }


def cells_of(studio: Studio, job: Job, axes: Sequence[Axis]) -> list[tuple[tuple[str, ...], Job]]:
    """The Jobs of a grid, the last axis changing slowest. Raises JobError, or Several."""
    if any(axis.name.startswith("control.") for axis in axes) and job.stages and job.stages[0].controls is None:
        job = _with_own_controls(studio, job)
    count = int(np.prod([len(axis.values) for axis in axes]))
    if count > MOST_CELLS:
        raise JobError(
            "too many cells for a grid", given=str(count), expected=f"at most {MOST_CELLS}", do="leave out values"
        )
    errors: dict[str, SakugaError] = {}
    made = []
    for backwards in itertools.product(*(axis.values for axis in reversed(axes))):
        values = backwards[::-1]
        changed = job
        try:
            for axis, value in zip(axes, values, strict=True):
                changed = axis.applied(changed, value)
        except SakugaError as error:
            errors.setdefault(str(error), error)
            continue
        made.append((values, changed))
    raise_all(list(errors.values()))
    return made


def _with_own_controls(studio: Studio, job: Job) -> Job:
    """The Job with the base's own controls written out, so that one of them can be changed and the others stay."""
    decided = studio.check(job.model_copy(update={"output": None, "overwrite": True})).stages[0]["controls"]
    first = job.stages[0].model_copy(update={"controls": tuple(map(ControlUse.parse, decided))})
    return job.model_copy(update={"stages": (first, *job.stages[1:])})


def grid(
    studio: Studio,
    jobs: Sequence[tuple[tuple[str, ...], Job]],
    first: int,
    count: int,
    progress: Progress | None = None,
) -> Iterator[Cell]:
    """Check all Jobs, then draw ``count`` frames of each from frame ``first`` on. Raises what a render would."""
    some = [(values, job.model_copy(update={"frames": (first, first + count)})) for values, job in jobs]
    _check(studio, [job for _, job in some])
    progress = progress or Progress()
    about = progress.about
    for number, (values, job) in enumerate(some):
        progress.about = f"{about}cell {number + 1} of {len(some)}: "
        started = time.perf_counter()
        with studio.opened(job, progress) as run:
            frames = tuple(run.pictures())
            yield Cell(
                values=values,
                job=job,
                frames=frames,
                key=run.report.key,
                seconds=time.perf_counter() - started,
                found=bool(run.report.work.get("found")),
                notes=tuple(f"{note.what}: {note.reason}" for note in run.report.notes),
            )
    progress.about = about


def _check(studio: Studio, jobs: Sequence[Job]) -> None:
    errors: dict[str, SakugaError] = {}
    for job in jobs:
        try:
            studio.check(job.model_copy(update={"output": None, "overwrite": True}))
        except SakugaError as error:
            for one in error.findings if isinstance(error, Several) else (error,):
                errors.setdefault(str(one), one)
    raise_all(list(errors.values()))


def sheet_of(axes: Sequence[Axis], cells: Sequence[Cell], frame: int) -> Picture:
    """The picture of a grid at one of its frames: a table for each value of the third axis, one below the other."""
    by_values = {cell.values: cell.frames[frame] for cell in cells}
    x, *more = axes
    down = [(value,) for value in more[0].values] if more else [()]
    deep = [(value,) for value in more[1].values] if more[1:] else [()]
    tables = []
    for table in deep:
        rows = [[by_values[(across, *row, *table)] for across in x.values] for row in down]
        labels = [f"{more[0].name} {row[0]}" if row else "" for row in down]
        title = f"{more[1].name} {table[0]}" if table else ""
        tables.append(grid_sheet(rows, [f"{x.name} {value}" for value in x.values], labels, title))
    return np.concatenate(tables, axis=0)


def even(picture: Picture) -> Picture:
    """The picture with even sides, as videos want them: an odd one is continued by its last line."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
