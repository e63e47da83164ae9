"""Cut a clip into Spans that never cross a cut, and join what was rendered again. Numbers only: no model, no file.

A Span is what is rendered together: the unit of memory and of resuming. Neighbours in one shot may overlap, and are
then faded into each other. Refuses overlaps so long that three Spans would meet in one frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sakuga.errors import JobError


@dataclass(frozen=True, kw_only=True)
class Span:
    """The frames ``start`` … ``stop`` - 1, all of one shot; frame 0 is the first one of the clip that is rendered.

    ``fade_in`` frames at its beginning are also the last ones of the Span before, ``fade_out`` at its end also the
    first of the Span behind; 0 where a shot begins or ends.
    """

    number: int
    shot: int
    start: int
    stop: int
    fade_in: int = 0
    fade_out: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def weights(self) -> tuple[float, ...]:
        """How much of each of its frames goes into the result: 1, but rising and falling evenly in the overlaps."""
        rising = [(i + 1) / (self.fade_in + 1) for i in range(self.fade_in)]
        falling = [1 - (i + 1) / (self.fade_out + 1) for i in range(self.fade_out)]
        return (*rising, *(1.0 for _ in range(len(self) - self.fade_in - self.fade_out)), *falling)


def cut(frame_count: int, cuts: Iterable[int], longest: int, overlap: int = 0) -> tuple[Span, ...]:
    """The Spans of a clip of ``frame_count`` frames, in order.

    ``cuts``: the first frame of each new shot. ``longest``: most frames of a Span, overlaps included. ``overlap``:
    frames that neighbours of one shot have in common, for models that look along time; 0 for those that do not. The
    Spans of a shot are as few as possible and differ by one frame at most, so none is a tiny rest.

    Raises ``JobError`` when ``longest`` is below 1 or ``overlap`` is more than a third of it.
    """
    if longest < 1 or overlap < 0 or 3 * overlap > longest:
        raise JobError(
            "frames cannot be rendered together like this",
            given=f"at most {longest} frames together, {overlap} of them in common with the next",
            expected="at least one frame, and at most a third of them in common",
            do="raise span, or lower window",
        )
    edges = sorted({0, frame_count} | {c for c in cuts if 0 < c < frame_count})
    spans: list[Span] = []
    for shot, (first, stop) in enumerate(itertools.pairwise(edges)):
        spans.extend(_cut_shot(len(spans), shot, range(first, stop), longest, overlap))
    return tuple(spans)


def _cut_shot(number: int, shot: int, frames: range, longest: int, overlap: int) -> list[Span]:
    count = 1 if len(frames) <= longest else -(-(len(frames) - overlap) // (longest - overlap))
    each, longer = divmod(len(frames) + (count - 1) * overlap, count)
    spans, start = [], frames.start
    for i in range(count):
        stop = start + each + (i < longer)
        spans.append(
            Span(
                number=number + i,
                shot=shot,
                start=start,
                stop=stop,
                fade_in=overlap if i > 0 else 0,
                fade_out=overlap if i < count - 1 else 0,
            )
        )
        start = stop - overlap
    return spans


Pixels = NDArray[Any]


def join(parts: Iterable[tuple[Span, Iterable[Pixels]]]) -> Iterator[tuple[int, Pixels]]:
    """Every frame of the clip once and in order, as (number, frame), from the rendered frames of each Span in order.

    Frames of one Span alone pass through as they are; common ones are mixed, which makes floats of them. Frames may
    come lazily: only the tail of the Span before is kept.
    """
    before: list[Pixels] = []
    for span, frames in parts:
        tail: list[Pixels] = []
        seen = 0
        for i, frame in enumerate(frames):
            seen += 1
            if i >= len(span) - span.fade_out:
                tail.append(frame)
            elif i < span.fade_in:
                share = span.weights[i]
                yield span.start + i, before[i] * (1 - share) + frame * share
            else:
                yield span.start + i, frame
        assert seen == len(span) and len(before) == span.fade_in, f"{seen} frames for {span}"
        before = tail
