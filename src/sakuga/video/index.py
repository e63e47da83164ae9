"""FrameIndex: which frames a video has, when each is shown and where decoding may begin. Pure numbers, no file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

USUAL_RATE = Fraction(24)  # for files that tell no rate at all
SLACK_SECONDS = Fraction(1, 5)  # a container may promise this much more than it holds (sound is cut in blocks)


@dataclass(frozen=True, kw_only=True)
class FrameIndex:
    """``pts`` rises strictly; ``end`` is where the last frame ends; ``keys`` are the pts at which decoding may begin.

    ``timed`` is False when the file carries no times: then frames are known by their order alone and read from the
    beginning.
    """

    pts: tuple[int, ...]
    end: int
    time_base: Fraction
    keys: tuple[int, ...] = ()
    timed: bool = True

    def key_before(self, index: int) -> int | None:
        """The last key frame's pts at or before frame ``index``; None: decode from the beginning of the file."""
        place = bisect_right(self.keys, self.pts[index])
        return self.keys[place - 1] if place > 1 else None

    def rate(self, told: Fraction | None) -> Fraction:
        """Frames a second on average: the rate the file tells if the times bear it out, else the one they give."""
        measured = len(self.pts) / ((self.end - self.pts[0]) * self.time_base)
        if told and abs(told - measured) <= measured / 100:
            return told
        return measured.limit_denominator(1001)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One packet or decoded frame, as far as times go."""

    pts: int | None
    duration: int
    key: bool


def timed_index(
    marks: Sequence[Mark], time_base: Fraction, told: Fraction | None, length: int | None = None
) -> FrameIndex | None:
    """An index of all frames, given in any order; None when a time is missing or two are equal.

    ``length`` is the stream's length in ticks, where its container tells it: the last frame then lasts until that end.
    """
    known = sorted((mark.pts, mark) for mark in marks if mark.pts is not None) if _distinct(marks) else []
    if not known:
        return None
    pts = tuple(moment for moment, _ in known)
    last = (pts[0] + length - pts[-1] if length else 0) or known[-1][1].duration
    step = pts[-1] - pts[-2] if len(pts) > 1 else round(1 / ((told or USUAL_RATE) * time_base))
    end = pts[-1] + (last if last > 0 else max(1, step))
    return FrameIndex(pts=pts, end=end, time_base=time_base, keys=tuple(moment for moment, mark in known if mark.key))


def counted_index(count: int, told: Fraction | None) -> FrameIndex:
    """An index for a file without times: ``count`` frames, evenly spaced at the rate that the file tells (else 24)."""
    return FrameIndex(pts=tuple(range(count)), end=count, time_base=1 / (told or USUAL_RATE), timed=False)


@dataclass(kw_only=True)
class Scan:
    """What one reading of a file's packets tells, and what its container promises."""

    time_base: Fraction
    told: Fraction | None  # the container's frame rate
    promised: int  # frames, by its header; 0: it does not say
    length: int | None  # of the stream in ticks
    promised_seconds: Fraction  # at which the whole file ends
    marks: list[Mark] = field(default_factory=list)
    hidden: int = 0  # packets that are decoded but not shown
    seen_seconds: Fraction = Fraction(0)  # at which the last packet of any stream ends
    torn: bool = False  # whether the newest packet of the video broke off

    def reaches(self, seconds: Fraction) -> None:
        """A packet of any stream ends there."""
        self.seen_seconds = max(self.seen_seconds, seconds)

    def finish(self) -> None:
        """All packets were read: a torn last one is no frame."""
        if self.torn:
            self.marks.pop()
            self.torn = False

    def index(self) -> FrameIndex | None:
        """The index, if packets tell it."""
        whole = self.promised in (0, len(self.marks) + self.hidden)
        return timed_index(self.marks, self.time_base, self.told, self.length if whole else None)

    def missing(self, index: FrameIndex) -> int:
        """How many frames a file lacks that was cut off: by the number its header promises, else by the length."""
        if self.promised:
            return max(0, self.promised - len(self.marks) - self.hidden)
        gap = self.promised_seconds - self.seen_seconds
        return int(gap * index.rate(self.told)) if gap > SLACK_SECONDS else 0


def _distinct(marks: Sequence[Mark]) -> bool:
    moments = {mark.pts for mark in marks}
    return None not in moments and len(moments) == len(marks)
