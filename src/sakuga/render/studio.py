"""Studio: the owner of what is loaded. It checks a Job, renders it, and keeps models and adapters for the next one.

Every face (command line, Python, later a server) holds one. Refuses to guess: whatever it decides goes into the Report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sakuga import __version__
from sakuga.errors import OutputExists, Stopped
from sakuga.models.library import Library
from sakuga.progress import Progress
from sakuga.render.check import examine
from sakuga.render.memory import peak_bytes
from sakuga.render.parts import PartsKeeper
from sakuga.render.plan import Plan
from sakuga.render.spans import Span, cut, join
from sakuga.render.stage import Shot, StageParts, render_span
from sakuga.report import Report
from sakuga.spec.job import Job
from sakuga.spec.load import job_key
from sakuga.video.clip import Clip, Frame
from sakuga.video.colour import fit, resize, to_uint8
from sakuga.video.read import open_clip
from sakuga.video.shots import cuts
from sakuga.video.write import ClipWriter

Picture = NDArray[np.uint8]


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

    def check(self, job: Job) -> Report:
        """What ``render`` would use and do, from headers alone. Raises what is wrong, all of it together."""
        report = self._new_report(job)
        with report.timed("check"):
            examine(job, self._library(job), report)
        return report

    def render(self, job: Job, *, progress: Progress | None = None) -> Report:
        """Render ``job`` and write its output and, beside it, the report.

        Raises the findings of a check before any weight is read, ``OutputExists``, ``OutputError``, ``ClipError``, and
        ``Stopped`` when ``progress`` was asked to stop; in each case nothing stands under the output's name.
        """
        report = self._new_report(job)
        with report.timed("check"):
            plan = examine(job, self._library(job), report)
            finished = _finished(plan)
        progress = progress or Progress()
        self._keeper.begin()
        with report.timed("load"):
            progress.begin("load models", len(plan.stages))
            stages = [
                self._keeper.stage(plan, number, self._library(job), report) for number in range(len(plan.stages))
            ]
            progress.advance(len(plan.stages))
        report.key = content_key(job, plan, report)
        if finished and finished.get("key") == report.key:
            report.status, report.output_sha256 = "there already", finished["output_sha256"]
            report.output = str(plan.output)
            return report
        if plan.output.exists() and not job.overwrite:
            raise OutputExists(
                "the output is there already, and it is not the finished result of this job",
                given=str(plan.output),
                expected="a name that is free, or the result of the very same job",
                do="choose another output, or say --overwrite",
            ).at("output")
        try:
            with open_clip(plan.source.path) as clip:
                _Run(plan, stages, clip, report, progress).write()
        except Stopped as stopped:
            stopped.expected = "a whole run; nothing was written under the output's name"
            raise
        report.status, report.output = "rendered", str(plan.output)
        report.output_sha256 = sha256_of(plan.output)
        report.memory["peak"] = peak_bytes()
        report.save(report_path(plan.output))
        return report

    def _library(self, job: Job) -> Library:
        return Library.usual((*self._folders, *job.models))

    @staticmethod
    def _new_report(job: Job) -> Report:
        return Report(version=__version__, job=job.model_dump(mode="json"))


class _Run:
    """One render under way: reads, draws and writes, a Span at a time."""

    def __init__(self, plan: Plan, stages: list[StageParts], clip: Clip, report: Report, progress: Progress) -> None:
        self.plan, self.stages, self.clip, self.report, self.progress = plan, stages, clip, report, progress
        width, height = plan.source.size
        self.fit = fit(width, height, max(stage.bundle.multiple for stage in stages))

    def write(self) -> None:
        plan, report = self.plan, self.report
        with report.timed("cuts"):
            spans = self._spans()
        steps = sum(len(stage.levels) for stage in self.stages)
        width, height = plan.source.size
        first = plan.source.frames.start
        writer = ClipWriter(plan.output, self.clip, width, height, start=first, overwrite=plan.job.overwrite)
        with report.timed("render"), writer:
            self.progress.begin("render", steps * sum(len(span) for span in spans))
            drawn = join((span, self._draw(span)) for span in spans)
            for number, pixels in drawn:
                original = self.clip.pts_at(first + number)
                frame = Frame(
                    index=first + number,
                    pts=original,
                    time_base=self.clip.time_base,
                    pixels=to_uint8(pixels[None])[0],
                )
                writer.write(frame)
        for note in writer.notes:
            report.note("output", note)

    def _spans(self) -> tuple[Span, ...]:
        frames = self.plan.source.frames
        self.progress.begin("look for cuts", len(frames))

        def pictures() -> Iterator[Picture]:
            for frame in self.clip.frames(frames.start, frames.stop):
                yield frame.pixels
                self.progress.advance()

        found = cuts(pictures())
        longest = self.plan.job.span
        moving = [stage.settings for stage in self.stages if stage.motion is not None]
        overlap = min(max((s.window - s.stride for s in moving), default=0), longest // 3)
        spans = cut(len(frames), found, longest, overlap)
        self.report.clip |= {"cuts": [frames.start + c for c in found], "spans": len(spans)}
        return spans

    def _draw(self, span: Span) -> Iterator[torch.Tensor]:
        """The frames of a Span after all Stages, float32 [3, H, W]."""
        frames = range(self.plan.source.frames.start + span.start, self.plan.source.frames.start + span.stop)
        size = self.plan.source.size
        pictures = [resize(frame.pixels, *size) for frame in self.clip.frames(frames.start, frames.stop)]
        shot = Shot(frames=frames, clip_length=self.clip.frame_count, seed=self.plan.job.seed, fit=self.fit)
        for number, stage in enumerate(self.stages):
            with stage.stack.applied(stage.bundle.parts) as applied:
                drawn = list(render_span(stage, applied, pictures, shot, self.progress))
            if number + 1 < len(self.stages):
                pictures = [to_uint8(frame[None])[0] for frame in drawn]
        yield from drawn


def content_key(job: Job, plan: Plan, report: Report) -> str:
    """The hash of what makes the result: source bytes, the Job without output and device, weights, version."""
    made_of: dict[str, Any] = {
        "version": __version__,
        "source": plan.source.content_key,
        "job": job_key(job),
        "models": sorted(model["sha256"] for model in report.models),
        "adapters": [adapter["sha256"] for adapter in report.adapters],
        "suffix": plan.output.suffix,
        "dtype": str(plan.where.dtype),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def report_path(output: Path) -> Path:
    """Where the report of an output lies: ``<stem>.report.json`` beside it."""
    return output.with_name(f"{output.stem}.report.json")


def sha256_of(path: Path) -> str:
    """The hash of a file; of a folder of pictures, that of all names and bytes."""
    digest = hashlib.sha256()
    files = sorted(child for child in path.iterdir() if child.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _finished(plan: Plan) -> dict[str, Any] | None:
    """The report of an output that is there and whole, or None."""
    path = report_path(plan.output)
    if not plan.output.exists() or not path.is_file():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # a report that cannot be read proves nothing; the output then counts as somebody else's
    whole = isinstance(known, dict) and known.get("output_sha256") == sha256_of(plan.output)
    return known if whole else None
