"""Run: one render under way. Reads, draws and writes, a Span at a time, so that a Span is all that is in memory.

Everything is loaded and checked before. Refuses to decide anything; what it meets on its way goes into the Report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sakuga.errors import Stopped
from sakuga.lora.cache import Cache
from sakuga.lora.stack import Applied
from sakuga.progress import Progress
from sakuga.render.outcome import free_name, report_path, sha256_of
from sakuga.render.plan import Plan
from sakuga.render.spans import Span, cut, join
from sakuga.render.stage import Shot, StageParts, render_span
from sakuga.report import Report
from sakuga.video.clip import Clip, Frame
from sakuga.video.colour import fit, resize, to_uint8
from sakuga.video.shots import cuts
from sakuga.video.write import ClipWriter

Picture = NDArray[np.uint8]


class Run:
    """The work of one Plan. ``write`` does it all."""

    def __init__(
        self, plan: Plan, stages: Sequence[StageParts], clip: Clip, report: Report, progress: Progress
    ) -> None:
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
        stopped: Stopped | None = None
        with report.timed("render"), writer:
            self.progress.begin("render", steps * sum(len(span) for span in spans))
            done = 0
            try:
                for number, pixels in join((span, self._draw(span)) for span in spans):
                    index = first + number
                    picture = to_uint8(pixels[None])[0]
                    pts, time_base = self.clip.pts_at(index), self.clip.time_base
                    writer.write(Frame(index=index, pts=pts, time_base=time_base, pixels=picture))
                    done += 1
            except Stopped as asked:
                if not done:
                    asked.do = "no frame was finished yet, so nothing was written; run it again"
                    raise
                stopped = asked
                writer.keep_as(free_name(plan.output))
        for note in writer.notes:
            report.note("output", note)
        if stopped:
            self._keep(stopped, writer.path, done)

    def _keep(self, stopped: Stopped, path: Path, done: int) -> None:
        """Raise ``stopped`` again, with a word about the finished frames and a report beside them."""
        self.report.status, self.report.output = "stopped", str(path)
        self.report.clip["frames_done"] = done
        self.report.output_sha256 = sha256_of(path)
        self.report.save(report_path(path))
        frames = "first frame is" if done == 1 else f"first {done} frames are"
        stopped.do = f"the {frames} kept in {path}; run it again for the whole"
        raise stopped

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

    def _draw(self, span: Span) -> Iterator[Tensor]:
        """The frames of a Span after all Stages, float32 [3, H, W]."""
        frames = range(self.plan.source.frames.start + span.start, self.plan.source.frames.start + span.stop)
        size = self.plan.source.size
        start = self.clip.pts_at(0) * self.clip.time_base
        pictures, times = [], []
        for frame in self.clip.frames(frames.start, frames.stop):
            pictures.append(resize(frame.pixels, *size))
            times.append(float(frame.time - start))
        shot = Shot(
            frames=frames, times=times, clip_length=self.clip.frame_count, seed=self.plan.job.seed, fit=self.fit
        )
        stacks = self.report.stacks = [{} for _ in self.stages]
        for number, stage in enumerate(self.stages):
            bundle = stage.bundle
            with stage.stack.applied(bundle.parts, cache=stage.cache, origin=bundle.origin) as applied:
                drawn = list(render_span(stage, applied, pictures, shot, self.progress))
                stacks[number] = _told(applied, stage.cache)
            if number + 1 < len(self.stages):
                pictures = [to_uint8(frame[None])[0] for frame in drawn]
        yield from drawn


def _told(applied: Applied, cache: Cache) -> dict[str, Any]:
    """What the adapters of a Stage did to the weights, for the Report."""
    now, counts = applied.summary, cache.counts
    return {
        "fused": now.tensors,
        "live": now.live,
        "why": dict(now.ways),
        "fresh_bytes": now.fresh_bytes,
        "factor_bytes": now.factor_bytes,
        "pristine": [{"way": one.way, "why": one.why, "tensors": one.tensors, "bytes": one.nbytes} for one in now.back],
        "cache": {"hits": counts.hits, "misses": counts.misses, "bytes": counts.host_bytes + counts.device_bytes},
    }
