"""Clips held against each other: side by side, split or wiped, by time, with figures of how far two are apart.

The first clip leads: its frames and times are those of the result; of the others it shows what they show at that
moment.
Frames come and go one at a time. Writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sakuga.video.clip import Clip, Frame
from sakuga.video.colour import resize

Picture = NDArray[np.uint8]
Way = Literal["stack", "split", "wipe"]

SWEEP_SECONDS = 4.0  # a wipe's way across and back
LINE = 255
LETTER_SHARE = 16  # a label is this share of the picture's height
LETTERS = (14, 40)  # its least and most, in pixels


@dataclass(kw_only=True)
class Apart:
    """How far two clips are apart, at the size of the first; filled frame by frame."""

    frames: int = 0
    equal: int = 0
    squares: float = 0.0
    differences: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    largest: int = 0
    values: int = 0
    same_times: bool = True
    same_size: bool = True

    def add(self, first: Picture, second: Picture) -> None:
        """Compare two frames of one size."""
        apart = np.abs(first.astype(np.int16) - second)
        self.frames += 1
        self.equal += not apart.any()
        self.squares += float((apart.astype(np.float64) ** 2).sum())
        self.values += apart.size
        self.largest = max(self.largest, int(apart.max()))
        for channel in range(3):
            self.differences[channel] += float(apart[..., channel].sum())

    @property
    def identical(self) -> bool:
        """Whether every pixel and every time is the same."""
        return self.equal == self.frames and self.same_times and self.same_size

    def told(self) -> dict[str, Any]:
        """Plain data; ``psnr`` in dB over all frames, None where no pixel differs, differences in levels of 255."""
        mean = self.squares / max(1, self.values)
        return {
            "identical": self.identical,
            "frames": self.frames,
            "equal_frames": self.equal,
            "psnr": None if not mean else round(10 * math.log10(255**2 / mean), 3),
            "mean_difference": [round(3 * one / max(1, self.values), 4) for one in self.differences],
            "largest_difference": self.largest,
            "same_times": self.same_times,
            "same_size": self.same_size,
        }


def compared(clips: Sequence[Clip], way: Way, labels: Sequence[str], apart: Apart) -> Iterator[Frame]:
    """The frames of the first clip's times, each with what the others show then; ``apart`` compares the first two."""
    lead = clips[0]
    size = (lead.width, lead.height)
    followers = [_Following(clip) for clip in clips[1:]]
    apart.same_size = (clips[1].width, clips[1].height) == size
    apart.same_times = _times(lead) == _times(clips[1])
    across = lead.width <= lead.height * 2 if len(clips) == 2 else lead.width <= lead.height
    for frame in lead.frames():
        moment = frame.time - lead.pts_at(0) * lead.time_base
        shown = [frame.pixels, *(resize(one.at(moment), *size) for one in followers)]
        apart.add(shown[0], shown[1])
        marked = [_labelled(pixels, label) for pixels, label in zip(shown, labels, strict=True)]
        if way == "stack":
            pixels = np.concatenate(marked, axis=1 if across else 0)
        else:
            pixels = _parted(marked, 0.5 if way == "split" else _swept(float(moment)))
        yield Frame(index=frame.index, pts=frame.pts, time_base=frame.time_base, pixels=np.ascontiguousarray(pixels))


def size_of(clips: Sequence[Clip], way: Way) -> tuple[int, int]:
    """(width, height) of what ``compared`` gives."""
    lead = clips[0]
    if way != "stack":
        return lead.width, lead.height
    across = lead.width <= lead.height * 2 if len(clips) == 2 else lead.width <= lead.height
    return (lead.width * len(clips), lead.height) if across else (lead.width, lead.height * len(clips))


class _Following:
    """What a clip shows at moments that rise; its last frame stays."""

    def __init__(self, clip: Clip) -> None:
        self._start = clip.pts_at(0) * clip.time_base
        self._frames = clip.frames()
        self._shown = next(self._frames)
        self._next = next(self._frames, None)

    def at(self, moment: Fraction) -> Picture:
        while self._next is not None and self._next.time - self._start <= moment:
            self._shown, self._next = self._next, next(self._frames, None)
        return self._shown.pixels


def _times(clip: Clip) -> list[Fraction]:
    """When its frames are shown, and when the last one ends, from its beginning."""
    return [(clip.pts_at(index) - clip.pts_at(0)) * clip.time_base for index in range(clip.frame_count + 1)]


def _swept(seconds: float) -> float:
    """Where a wipe's line is: from the left to the right and back."""
    phase = seconds / SWEEP_SECONDS % 1
    return 2 * phase if phase < 0.5 else 2 - 2 * phase


def _parted(pictures: Sequence[Picture], share: float) -> Picture:
    """The first picture up to ``share`` of the width, then the second, with a line between; of more, even parts."""
    width = pictures[0].shape[1]
    edges = [share] if len(pictures) == 2 else [n / len(pictures) for n in range(1, len(pictures))]
    result = pictures[0].copy()
    for picture, edge in zip(pictures[1:], edges, strict=True):
        column = min(round(edge * width), width)
        result[:, column:] = picture[:, column:]
        result[:, max(0, column - 1) : column + 1] = LINE
    return result


def _labelled(picture: Picture, text: str) -> Picture:
    """The picture with a label in white on black edges, in its upper left; letters beyond ASCII are question marks."""
    if not text:
        return picture
    import cv2

    plain = text.encode("ascii", "replace").decode()
    height, width = picture.shape[:2]
    letter = min(max(height // LETTER_SHARE, LETTERS[0]), LETTERS[1])
    font = cv2.FONT_HERSHEY_SIMPLEX
    (wide, high), _ = cv2.getTextSize(plain, font, 1.0, 2)
    scale = min(letter / high, (width - 8) / max(1, wide))
    place, thick = (4, 4 + round(scale * high)), max(1, round(letter / 12))
    drawn = picture.copy()
    cv2.putText(drawn, plain, place, font, scale, (0, 0, 0), thick + 2, cv2.LINE_AA)
    return np.asarray(cv2.putText(drawn, plain, place, font, scale, (255, 255, 255), thick, cv2.LINE_AA))
