"""A Studio that draws nothing, in the place of the real one, and remembers what it was asked for."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field

import pytest

from sakuga.errors import ClipError
from sakuga.progress import Progress
from sakuga.report import Report
from sakuga.spec.job import Job

RENDERED = Report(status="rendered", output="out.mp4")


@dataclass
class Drawn:
    """What the commands asked for, how many Studios they opened, and the stems of the clips that fail."""

    jobs: list[Job] = field(default_factory=list)
    bad: tuple[str, ...] = ("bad",)
    opened: int = 0


def in_the_place_of_the_studio(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Put it there; what it is asked for."""
    drawn = Drawn()

    class Studio:
        def __init__(self, *, reuse: bool = True) -> None:
            self.reuse = reuse

        def __enter__(self) -> Studio:
            drawn.opened += 1
            return self

        def __exit__(self, *_: object) -> None:
            return

        def render(self, job: Job, *, progress: Progress, origin: object = None, wait: bool = False) -> Report:
            drawn.jobs.append(job)
            if job.source.stem in drawn.bad:
                raise ClipError("cut off", given=job.source.name).at("source")
            return Report(status="rendered", output=str(job.output))

    module = types.ModuleType("sakuga.render.studio")
    module.Studio = Studio  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sakuga.render.studio", module)
    return drawn


@dataclass
class Recorded:
    """What the commands asked the Studio for, and what it shall do."""

    jobs: list[Job] = field(default_factory=list)
    error: BaseException | None = None
    steps: int = 3


def recorded_studio(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """A Studio that renders nothing and remembers what it was asked."""
    recorded = Recorded()

    class Studio:
        def __init__(self, *, reuse: bool = True) -> None: ...

        def __enter__(self) -> Studio:
            return self

        def __exit__(self, *_: object) -> None:
            return

        def check(self, job: Job, *, progress: Progress | None = None, origin: object = None) -> Report:
            recorded.jobs.append(job)
            if recorded.error:
                raise recorded.error
            return Report()

        def render(self, job: Job, *, progress: Progress, origin: object = None, wait: bool = False) -> Report:
            progress.begin("render", recorded.steps)
            for _ in range(recorded.steps):
                progress.advance()
            self.check(job)
            return RENDERED

    module = types.ModuleType("sakuga.render.studio")
    module.Studio = Studio  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sakuga.render.studio", module)
    return recorded
