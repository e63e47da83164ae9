"""``--at`` and ``--frames`` of commands that look at a few frames: a time in the clip, or the number of a frame."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction
from typing import TYPE_CHECKING

from sakuga.errors import JobError

if TYPE_CHECKING:
    from sakuga.cli.parser import Parser
    from sakuga.spec.job import Job

_TIME = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,9})?)s?")
_FRAME = re.compile(r"(\d{1,9})f")
_AT = "where: a time in the clip (12.5, 0:12.5, 1:02:03) or the number of a frame (300f); its middle when left out"
_COUNT = "how many frames, one after the other (default: 1)"
MOST = 1000
DECIDED = (
    "frames",
    "output",
    "pictures",
    "overwrite",
    "watch",
)  # fields of a Job that these commands decide themselves


def add_moment(parser: Parser) -> None:
    """Register ``JOB``, ``--at`` and ``--frames``."""
    parser.add_argument("job", metavar="JOB", nargs="?", help="a job file, whose source INPUT then takes the place of")
    parser.add_argument("--at", metavar="TIME", help=_AT)
    parser.add_argument("--frames", metavar="N", type=_count, default=1, help=_COUNT)


def first_frame(job: Job, at: str | None, count: int) -> int:
    """The index of the first of ``count`` frames: the one shown at the moment ``at``. Raises JobError, ClipError."""
    from sakuga.render.check_clips import found
    from sakuga.video.read import open_clip

    with open_clip(found(job.source)) as clip:
        if count > clip.frame_count:
            raise JobError(
                "the clip is not that long", given=f"--frames {count}", expected=f"at most {clip.frame_count}"
            )
        last = clip.frame_count - count
        if at is None:
            return min(clip.frame_count // 2, last)
        if frame := _FRAME.fullmatch(at.strip()):
            if int(frame[1]) > last:
                raise _beyond(at, f"at most {last}f")
            return int(frame[1])
        seconds = _seconds(at)
        base, start = clip.time_base, clip.pts_at(0)
        if seconds >= (clip.pts_at(clip.frame_count) - start) * base:
            raise _beyond(at, f"less than {float((clip.pts_at(clip.frame_count) - start) * base):.3f} seconds")
        low, high = 0, clip.frame_count
        while high - low > 1:  # the last frame that has begun by then
            middle = (low + high) // 2
            low, high = (middle, high) if (clip.pts_at(middle) - start) * base <= seconds else (low, middle)
        return min(low, last)


def _seconds(text: str) -> Fraction:
    """The moment that ``1:02.5`` means."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise JobError("this is no moment", given=f"--at {text[:40]}", expected="seconds, M:S, H:M:S, or a frame: 300f")
    hours, minutes, seconds = (Fraction(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _beyond(at: str, expected: str) -> JobError:
    return JobError("the clip is over by then", given=f"--at {at}", expected=expected, do="choose an earlier moment")


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f'"{text}" is no number of frames from 1 to {MOST}')
    return int(text)
