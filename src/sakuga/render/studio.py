"""Studio: the owner of what is loaded. It checks a Job, renders it, and keeps models and adapters for the next one.

Every face (command line, Python, later a server) holds one. Refuses to guess: whatever it decides goes into the Report.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sakuga import __version__
from sakuga.models.library import Library
from sakuga.progress import Progress
from sakuga.render.check import examine
from sakuga.render.memory import peak_bytes
from sakuga.render.outcome import check_free, content_key, finished, not_ours, report_path, sha256_of
from sakuga.render.parts import PartsKeeper
from sakuga.render.run import Run
from sakuga.report import Report
from sakuga.spec.job import Job
from sakuga.spec.load import check_is_job
from sakuga.video.read import open_clip


class Studio:
    """Checks and renders Jobs. Use it in a ``with`` block, or call ``close``, to give the models back.

    ``models``: folders to search for names before all others.

    >>> with Studio() as studio:  # doctest: +SKIP
    ...     report = studio.render(Job(source="clip.mp4", stages=[{"adapters": ["celcomic"]}]))
    """

    def __init__(self, *, models: Iterable[Path] = ()) -> None:
        self._folders = tuple(models)
        self._keeper = PartsKeeper()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything that is loaded."""
        self._keeper.clear()

    def check(self, job: Job, *, progress: Progress | None = None) -> Report:
        """What ``render`` would use and do, from headers alone. Raises what is wrong, all of it together."""
        report = self._new_report(job)
        with report.timed("check"):
            plan = examine(job, self._library(job), report, progress)
            check_free(plan, finished(plan))
        return report

    def render(self, job: Job, *, progress: Progress | None = None) -> Report:
        """Render ``job`` and write its output and, beside it, the report.

        Raises the findings of a check before any weight is read, ``OutputExists``, ``OutputError``, ``ClipError``, and
        ``Stopped`` when ``progress`` was asked to stop; in each case nothing stands under the output's name. What
        was finished when it was stopped is beside it, as ``<stem>-stopped``.
        """
        report = self._new_report(job)
        with report.timed("check"):
            plan = examine(job, self._library(job), report, progress)
            known = finished(plan)
            check_free(plan, known)
        progress = progress or Progress()
        self._keeper.begin()
        with report.timed("load"):
            progress.begin("load models", len(plan.stages))
            stages = []
            for number in range(len(plan.stages)):
                stages.append(self._keeper.stage(plan, number, self._library(job), report))
                progress.advance()
        report.key = content_key(job, plan, report)
        if known and known.get("key") == report.key:
            report.status, report.output_sha256 = "there already", known["output_sha256"]
            report.output = str(plan.output)
            return report
        if known and not job.overwrite:
            raise not_ours(plan.output).at("output")
        with open_clip(plan.source.path) as clip:
            Run(plan, stages, clip, report, progress).write()
        report.status, report.output = "rendered", str(plan.output)
        report.output_sha256 = sha256_of(plan.output)
        report.memory["peak"] = peak_bytes()
        report.save(report_path(plan.output))
        return report

    def _library(self, job: Job) -> Library:
        return Library.usual((*self._folders, *job.models))

    @staticmethod
    def _new_report(job: Job) -> Report:
        check_is_job(job)
        return Report(version=__version__, job=job.model_dump(mode="json"))
