"""Studio: the owner of what is loaded. It checks a Job, renders it, and keeps models and adapters for the next one.

Every face (command line, Python, later a server) holds one. Refuses to guess: whatever it decides goes into the Report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sakuga import __version__
from sakuga.models.library import Library
from sakuga.progress import Progress
from sakuga.render.check import examine
from sakuga.render.hashes import sha256_of
from sakuga.render.memory import peak_bytes
from sakuga.render.old import folder_for, save_config
from sakuga.render.outcome import check_free, content_key, finished, not_ours, report_path
from sakuga.render.parts import PartsKeeper
from sakuga.render.plan import Plan
from sakuga.render.reads import Reader
from sakuga.render.run import Run
from sakuga.render.stage import StageParts
from sakuga.render.store import Store
from sakuga.render.work import KEPT_BYTES, Record, WorkFolder, collect, held, usual_root, writable
from sakuga.report import Report
from sakuga.spec.job import Job
from sakuga.spec.load import Origin, check_is_job
from sakuga.video.read import open_clip
from sakuga.whole import remove


class Studio:
    """Checks and renders Jobs. Use it in a ``with`` block, or call ``close``, to give the models back.

    ``models``: folders to search for names before all others. ``work``: where finished Spans are kept, so that a run
    that was broken off goes on where it stopped; the user's cache folder when left out. ``reuse``: whether those that
    are there already are used.

    >>> with Studio() as studio:  # doctest: +SKIP
    ...     report = studio.render(Job(source="clip.mp4", stages=[{"adapters": ["celcomic"]}]))
    """

    def __init__(self, *, models: Iterable[Path] = (), work: Path | None = None, reuse: bool = True) -> None:
        self._folders = tuple(models)
        self._work, self._reuse = work, reuse
        self._keeper = PartsKeeper()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything that is loaded."""
        self._keeper.clear()

    def check(self, job: Job, *, progress: Progress | None = None, origin: Origin | None = None) -> Report:
        """What ``render`` would use and do, from headers alone. Raises what is wrong, all of it together.

        ``origin``: the old config that the job was made from, whose keys the report then tells.
        """
        report = self._new_report(job, origin)
        with report.timed("check"), folder_for(job.output if origin else None, keep=False):
            plan = examine(job, self._library(job), report, progress)
            check_free(plan, finished(plan))
        return report

    def render(
        self,
        job: Job,
        *,
        progress: Progress | None = None,
        origin: Origin | None = None,
        wait: bool = False,
    ) -> Report:
        """Render ``job`` and write its output and, beside it, the report.

        ``origin``: the old config that the job was made from; its folder is made, and its ``config.json`` written too.
        ``wait``: for another run that is at work on the same output; otherwise ``InUse`` is raised. Raises the findings
        of a check before any weight is read, ``OutputExists``, ``OutputError``, ``ClipError``, and ``Stopped`` when
        ``progress`` was asked to stop; in each case nothing stands under the output's name. What was finished when it
        was stopped is beside it, as ``<stem>-stopped``, and the same call goes on from there.
        """
        report, progress = self._new_report(job, origin), progress or Progress()
        with folder_for(job.output if origin else None, keep=True), ExitStack() as block:
            with report.timed("check"):
                plan = examine(job, self._library(job), report, progress)
            root = block.enter_context(writable(self._work or usual_root(), partial(report.note, "work")))
            work = block.enter_context(held(root, plan.output, wait=_patience(progress) if wait else None))
            with report.timed("check"):
                known = finished(plan) or self._placed(plan, work)
                check_free(plan, known)
            return self._rendered(plan, known, report, progress, origin, work, Store(root=root, reads=self._reuse))

    @staticmethod
    def _placed(plan: Plan, work: WorkFolder) -> dict[str, Any] | None:
        """What is known of an output whose run was killed before its report was written; a part of it is removed."""
        known = work.placed()
        if known is not None and plan.job.pictures is not None and not plan.job.pictures.is_dir():
            remove(plan.output)
            return None
        return known

    def _rendered(
        self,
        plan: Plan,
        known: dict[str, Any] | None,
        report: Report,
        progress: Progress,
        origin: Origin | None,
        work: WorkFolder,
        store: Store,
    ) -> Report:
        job = plan.job
        stages = self._loaded(plan, report, progress)
        report.key = content_key(job, plan, report)
        if known and known.get("key") == report.key:
            report.status, report.output_sha256 = "there already", known["output_sha256"]
            report.output = str(plan.output)
            if not report_path(plan.output).exists():  # the run before was killed between the two
                report.save(report_path(plan.output))
                work.finish()
            return report
        if known and not job.overwrite:
            raise not_ours(plan.output).at("output")
        with open_clip(plan.source.path) as clip:
            Run(plan, stages, clip, report, progress, store).write(work)
        report.status, report.output = "rendered", str(plan.output)
        report.output_sha256 = sha256_of(plan.output)
        report.memory["peak"] = peak_bytes()
        if origin is not None:
            save_config(origin, report, plan.output)
        report.save(report_path(plan.output))
        work.done()
        collect(store.root, KEPT_BYTES)
        return report

    @contextmanager
    def opened(self, job: Job, progress: Progress | None = None) -> Iterator[Run]:
        """A Run of ``job`` that writes no output: for ``Run.pictures``, a few frames to look at before the whole.

        Raises what a check finds, and what does not load.
        """
        report, progress = self._new_report(job, None), progress or Progress()
        with report.timed("check"):
            plan = examine(job, self._library(job), report, progress)
        with writable(self._work or usual_root(), partial(report.note, "work")) as root:
            stages = self._loaded(plan, report, progress)
            report.key = content_key(job, plan, report)
            with open_clip(plan.source.path) as clip:
                yield Run(plan, stages, clip, report, progress, Store(root=root, reads=self._reuse))

    def shots(self, job: Job, progress: Progress | None = None) -> tuple[int, ...]:
        """The first frame of each shot of the chosen frames, counted in the whole clip. Loads nothing."""
        report, progress = self._new_report(job, None), progress or Progress()
        plan = examine(job, self._library(job), report, progress)
        with (
            writable(self._work or usual_root(), partial(report.note, "work")) as root,
            open_clip(plan.source.path) as c,
        ):
            found = Reader(plan=plan, clip=c, others={}).cuts(Store(root=root, reads=self._reuse), progress)
        first = plan.source.frames.start
        return (first, *(first + cut for cut in found))

    def _loaded(self, plan: Plan, report: Report, progress: Progress) -> list[StageParts]:
        """The Stages with everything in memory."""
        self._keeper.begin()
        with report.timed("load"):
            progress.begin("load models", len(plan.stages))
            stages = []
            for number in range(len(plan.stages)):
                stages.append(self._keeper.stage(plan, number, self._library(plan.job), report))
                progress.advance()
        return stages

    def _library(self, job: Job) -> Library:
        return Library.usual((*self._folders, *job.models))

    @staticmethod
    def _new_report(job: Job, origin: Origin | None) -> Report:
        check_is_job(job)
        report = Report(version=__version__, job=job.model_dump(mode="json"))
        if origin is not None:
            report.keys, report.notes = list(origin.keys), list(origin.notes)
        return report


def _patience(progress: Progress) -> Callable[[Record | None], None]:
    """Waits for another run, told once, until a stop is asked for."""
    told = False

    def wait(record: Record | None) -> None:
        nonlocal told
        if not told:
            progress.begin(f"wait for process {record.process}" if record else "wait for another run", 1)
            told = True
        progress.check()

    return wait
