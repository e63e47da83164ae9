"""Run: one render under way. Reads, draws and writes, a Span at a time, so that a Span is all that is in memory.

Each Span goes into the Store when it is drawn, and into the output from there: a run that was broken off goes on where
it stopped, and gives the very same output. Everything is loaded and checked before. Refuses to decide anything; what it
meets on its way goes into the Report.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sakuga.errors import Stopped, counted
from sakuga.progress import Progress
from sakuga.render.ahead import Behind, ahead
from sakuga.render.hashes import sha256_of
from sakuga.render.held import Held, held_in, may_hold
from sakuga.render.keys import span_key, stage_keys
from sakuga.render.noise import WHOLE_CLIP
from sakuga.render.outcome import free_name, report_path
from sakuga.render.plan import ControlClip, Plan
from sakuga.render.reads import Read, Reader
from sakuga.render.recipe import recipe_of
from sakuga.render.spans import Span, cut, join
from sakuga.render.stage import Shot, StageParts, render_span
from sakuga.render.states import States, told
from sakuga.render.store import Store, StoredSpan
from sakuga.render.work import WorkFolder
from sakuga.report import Report
from sakuga.video.clip import Clip, Frame
from sakuga.video.colour import fit, resize, to_uint8
from sakuga.video.growing import Growing
from sakuga.video.read import open_clip
from sakuga.video.retimed import retimed
from sakuga.video.stills import NumberedPictures
from sakuga.video.write import ClipWriter

Picture = NDArray[np.uint8]
SMOOTHED_TOGETHER = 8  # frames that neighbouring Spans share where they are smoothed
WRITTEN_MEANWHILE = 8  # frames that may wait for the encoder while the next ones are drawn


class Run:
    """The work of one Plan. ``write`` does it all; what is drawn goes by way of ``store``."""

    def __init__(
        self,
        plan: Plan,
        stages: Sequence[StageParts],
        clip: Clip,
        report: Report,
        progress: Progress,
        store: Store,
    ) -> None:
        self.plan, self.stages, self.clip, self.report, self.progress = plan, stages, clip, report, progress
        self.store = store
        self.reader = Reader(plan=plan, clip=clip, others={})
        self.keys = stage_keys(plan, stages, report)

    def write(self, work: WorkFolder) -> None:
        """Render everything. Raises ``Stopped`` when asked to stop, with what was finished kept."""
        with self._beside():
            with self.report.timed("cuts"):
                spans = self._spans()
            keys = [[span_key(key, self.plan, span) for key in self.keys] for span in spans]
            work.begin(self.plan.source.path, self.report.job, keys, self.report.key)
            self._write(spans, work)

    def pictures(self) -> Iterator[Picture]:
        """Every finished frame, RGB uint8 [H, W, 3], in order, and no output."""
        with self._beside():
            for _, picture in self._drawn(self._spans()):
                yield picture

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """The clips that controls bring along are open inside."""
        others: dict[ControlClip, Clip] = {}
        with ExitStack() as opened:
            for plan in {clip for stage in self.plan.stages for clip in stage.clips}:
                others[plan] = opened.enter_context(open_clip(plan.path))
            self.reader = replace(self.reader, others=others)
            yield

    def _drawn(self, spans: Sequence[Span]) -> Generator[tuple[int, Picture]]:
        """Every frame with its number, the first one chosen being 0: drawn now, or found."""
        missing = [span for span in spans if self._found(span) is None] if self.stages else []
        self.report.work = {"folder": str(self.store.root), "spans": len(spans), "found": len(spans) - len(missing)}
        self.progress.begin("render", self._units(spans, missing))
        with ahead(self.reader.reads(missing), self.reader.room()) as reads:
            for number, picture in join((span, self._frames(span, reads)) for span in spans):
                yield number, rounded(picture)

    def _write(self, spans: Sequence[Span], work: WorkFolder) -> None:
        plan, report = self.plan, self.report
        width, height = plan.source.size
        first = plan.source.frames.start
        timed = retimed(self.clip, plan.job.fps)
        before = set(self.clip.notes)
        recipe = recipe_of(plan, report)
        writer = ClipWriter(
            plan.output,
            timed,
            width,
            height,
            start=first,
            overwrite=plan.job.overwrite,
            comment=recipe,
            codec=plan.job.codec,
            quality=plan.job.quality,
            placing=work.placing,
        )
        beside = NumberedPictures(plan.job.pictures, overwrite=plan.job.overwrite)
        growing = Growing(plan.job.watch, timed, width, height, overwrite=plan.job.overwrite)
        stopped: Stopped | None = None
        done = 0

        def put(item: tuple[int, Picture]) -> None:
            nonlocal done
            index, picture = first + item[0], item[1]
            frame = Frame(index=index, pts=timed.pts_at(index), time_base=timed.time_base, pixels=picture)
            writer.write(frame)
            growing.write(frame)
            beside.write(picture)
            done += 1

        with report.timed("render"), beside, writer, growing:
            try:
                with Behind(put, WRITTEN_MEANWHILE) as behind, closing(self._drawn(spans)) as drawn:
                    for item in drawn:
                        behind.put(item)
            except Stopped as asked:
                if not done:
                    asked.do = "no frame was finished yet, so nothing was written; run it again"
                    raise
                stopped = asked
                writer.keep_as(free_name(plan.output))
        if held := report.clip.get("held"):
            report.note("clip", f"{counted(held, 'frame')} did not change and were drawn once with the one before")
        for note in self.clip.notes:
            if note not in before:
                report.note("clip", note)
        for note in (*timed.notes, *writer.notes):
            if note not in self.clip.notes:
                report.note("output", note)
        if stopped:
            self._keep(stopped, writer.path, done)

    def _units(self, spans: Sequence[Span], missing: Sequence[Span]) -> int:
        """How much there is to do: a unit for each frame and step, or each frame where no Stage draws."""
        if not self.stages:
            return sum(map(len, spans))
        return sum(len(stage.levels) for stage in self.stages) * sum(map(len, missing))

    def _keep(self, stopped: Stopped, path: Path, done: int) -> None:
        """Raise ``stopped`` again, with a word about the finished frames and a report beside them."""
        self.report.status, self.report.output = "stopped", str(path)
        self.report.clip["frames_done"] = done
        self.report.output_sha256 = sha256_of(path)
        self.report.save(report_path(path))
        frames = "first frame is" if done == 1 else f"first {done} frames are"
        stopped.do = f"the {frames} kept in {path}; run it again, and it goes on from there"
        raise stopped

    def _spans(self) -> tuple[Span, ...]:
        frames = self.plan.source.frames
        longest = self.plan.job.span
        if not self.stages:
            return cut(len(frames), (), longest)
        if any(stage.settings.noise == WHOLE_CLIP for stage in self.stages):
            self.report.note("clip", f"noise {WHOLE_CLIP} is for the whole clip: rendered in one Span, across any cuts")
            found, longest = tuple[int, ...](), len(frames)
        else:
            found = self.reader.cuts(self.store, self.progress)
        overlap = min(max((_common(stage) for stage in self.stages), default=0), longest // 3)
        spans = cut(len(frames), found, longest, overlap)
        self.report.clip |= {"cuts": [frames.start + c for c in found], "spans": len(spans)}
        return spans

    def _found(self, span: Span) -> StoredSpan | None:
        """A Span that was drawn before, by this run or another."""
        return self.store.find(span_key(self.keys[-1], self.plan, span), len(span))

    def _frames(self, span: Span, reads: Iterator[Read]) -> Iterator[Picture]:
        """The frames of a Span after all Stages, at the size of the result: drawn before, or drawn now."""
        if not self.stages:
            yield from self._undrawn(span)
            return
        found = self._found(span)
        if found is None:
            self._draw(next(reads))
            found = self._found(span)
        assert found is not None, f"{span} was just drawn"
        for picture in found.frames():
            self.progress.check()
            yield resize(picture, *self.plan.source.size)

    def _undrawn(self, span: Span) -> Iterator[Picture]:
        """The frames as they are in the source, where there is no Stage to draw them."""
        frames = self.reader.indices(span)
        for frame in self.clip.frames(frames.start, frames.stop):
            yield self.reader.sized(frame)
            self.progress.advance()

    def _draw(self, read: Read) -> None:
        """Draw a Span, from the last Stage that is there already, and store what each Stage gives."""
        span = read.span
        keys = [span_key(key, self.plan, span) for key in self.keys]
        pictures = read.pictures
        stacks = self.report.stacks = [{} for _ in self.stages]
        for number, stage in enumerate(self.stages):
            if any(self.store.find(key, len(span)) for key in keys[number + 1 :]):
                continue  # what comes later is there
            if (found := self.store.find(keys[number], len(span))) is not None:
                pictures = list(found.frames())
                continue
            bundle, size = stage.bundle, self.plan.stages[number].size
            shot = Shot(
                frames=self.reader.indices(span),
                times=read.times,
                clip_length=self.clip.frame_count,
                seed=self.plan.job.seed,
                fit=fit(*size, bundle.multiple),
                source=_resized(read.pictures, size),
                others={plan: _resized(beside, size) for plan, beside in read.others.items()},
            )
            held = self._held(stage, shot)
            chosen, drawn = held.pick(_resized(pictures, size)), list[Picture]()
            with stage.stack.applied(bundle.parts, cache=stage.cache, origin=bundle.origin) as applied:
                states = States(applied)
                for pixels in render_span(stage, applied, chosen, held.shot(shot), self.progress, after=states.look):
                    drawn.append(to_uint8(pixels[None])[0])
                stacks[number] = told(applied, stage.cache) | {"states": states.seen}
            self.progress.advance((len(span) - len(drawn)) * len(stage.levels))
            pictures = held.spread(drawn)
            with self.store.writing(keys[number]) as stored:
                for picture in pictures:
                    stored.write(picture)

    def _held(self, stage: StageParts, shot: Shot) -> Held:
        """Which frames of a shot are drawn: of those that are one picture the first, unless all are wanted."""
        if self.plan.job.held == "each" or stage.settings.noise == WHOLE_CLIP or not may_hold(stage):
            return Held(drawn=tuple(range(len(shot.frames))), shows=tuple(range(len(shot.frames))))
        held = held_in(shot.source, shot.others)
        if spared := len(held.shows) - len(held.drawn):
            self.report.clip["held"] = self.report.clip.get("held", 0) + spared
        return held


def rounded(frame: NDArray[Any]) -> Picture:
    """A frame, 0 to 255, in whole levels: those of a mix are rounded, halves upwards."""
    return frame if frame.dtype == np.uint8 else np.floor(frame + 0.5).astype(np.uint8)


def _resized(pictures: Sequence[Picture], size: tuple[int, int]) -> list[Picture]:
    return [resize(picture, *size) for picture in pictures]


def _common(stage: StageParts) -> int:
    """How many frames the Spans of a shot share on account of a Stage, so that no seam shows."""
    settings = stage.settings
    along_time = settings.window - settings.stride if settings.looks_along_time else 0
    return max(along_time, SMOOTHED_TOGETHER if settings.smooths else 0)
