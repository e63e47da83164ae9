"""Reader: the frames that Spans are drawn from, at the size of the result, from the clip and from those beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sakuga.progress import Progress
from sakuga.render.keys import cuts_key
from sakuga.render.plan import ControlClip, Plan
from sakuga.render.spans import Span
from sakuga.render.store import Store
from sakuga.video.clip import Clip, Frame
from sakuga.video.colour import cropped, resize
from sakuga.video.shots import cuts

Picture = NDArray[np.uint8]
READ_BYTES = 256 << 20  # of source frames that are read before they are drawn


@dataclass(frozen=True, kw_only=True)
class Read:
    """A Span's frames of the source, and of the clips that controls bring along, at the size of the result."""

    span: Span
    pictures: list[Picture]
    times: list[float]  # in seconds from the clip's first frame
    others: dict[ControlClip, list[Picture]]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads ``clip``, and the clips that controls bring along (``others``), as ``plan`` wants them."""

    plan: Plan
    clip: Clip
    others: Mapping[ControlClip, Clip]

    def reads(self, spans: Sequence[Span]) -> Iterator[Read]:
        """The sources of ``spans``, one after the other."""
        start = self.clip.pts_at(0) * self.clip.time_base
        for span in spans:
            frames = self.indices(span)
            pictures, times = [], []
            for frame in self.clip.frames(frames.start, frames.stop):
                pictures.append(self.sized(frame))
                times.append(float(frame.time - start))
            yield Read(span=span, pictures=pictures, times=times, others=self._beside(span))

    def indices(self, span: Span) -> range:
        first = self.plan.source.frames.start
        return range(first + span.start, first + span.stop)

    def cuts(self, store: Store, progress: Progress) -> tuple[int, ...]:
        """The first frame of each new shot, counted from the first frame chosen; looked for once in a clip's life."""
        frames, key = self.plan.source.frames, cuts_key(self.plan)
        if isinstance(known := store.fact(key), list):
            return tuple(map(int, known))
        progress.begin("look for cuts", len(frames))

        def pictures() -> Iterator[Picture]:
            for frame in self.clip.frames(frames.start, frames.stop):
                yield frame.pixels
                progress.advance()

        found = cuts(pictures())
        store.remember(key, found)
        return found

    def room(self) -> int:
        """How many Spans are read before they are drawn: one, if it is small."""
        width, height = self.plan.source.size
        return int(width * height * 3 * self.plan.job.span <= READ_BYTES)

    def sized(self, frame: Frame) -> Picture:
        size = self.plan.source.size
        return resize(cropped(frame.pixels, *size) if self.plan.job.crop else frame.pixels, *size)

    def _beside(self, span: Span) -> dict[ControlClip, list[Picture]]:
        """The frames of a Span in the clips that controls bring along."""
        found = {}
        for plan, clip in self.others.items():
            first = plan.frames.start
            found[plan] = [self.sized(frame) for frame in clip.frames(first + span.start, first + span.stop)]
        return found
