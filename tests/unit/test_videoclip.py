"""The parts of a video clip: turns, the index of its frames, and what is shown when one does not come."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sakuga.errors import ClipError
from sakuga.video.index import FrameIndex, Mark, Scan, counted_index, timed_index
from sakuga.video.tags import Colour
from sakuga.video.turn import Turn, turn_by, turn_of
from sakuga.video.videoclip import Shown, VideoClip

TICK = Fraction(1, 12288)


def grey(level: int, width: int = 32, height: int = 32) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("matrix", "wanted"),
    [
        ((1, 0, 0, 1), Turn()),
        ((0, 1, -1, 0), Turn(transpose=True, mirror_x=True)),
        ((0, -1, 1, 0), Turn(transpose=True, mirror_y=True)),
        ((-1, 0, 0, -1), Turn(mirror_x=True, mirror_y=True)),
        ((-1, 0, 0, 1), Turn(mirror_x=True)),
        ((0, 1, 1, 0), Turn(transpose=True)),
        ((0.7, 0.7, -0.7, 0.7), None),
    ],
)
def test_a_display_matrix(matrix: tuple[float, float, float, float], wanted: Turn | None) -> None:
    a, b, c, d = (round(value * 65536) for value in matrix)
    turn = turn_of(struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))
    assert turn == wanted
    if turn:  # the stored point (p, q) is shown at (a p + c q, b p + d q), moved into the picture
        stored = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
        shown = turn.apply(stored)
        spots = {
            (q, p): (matrix[0] * p + matrix[2] * q, matrix[1] * p + matrix[3] * q) for q in (0, 1) for p in range(3)
        }
        left, top = min(u for u, _ in spots.values()), min(v for _, v in spots.values())
        for (q, p), (u, v) in spots.items():
            assert shown[int(v - top), int(u - left), 0] == stored[q, p, 0]


def test_a_turn_by_an_angle() -> None:
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    for degrees in (-180, -90, 0, 90, 180, 270):
        turn = turn_by(degrees)
        assert turn is not None
        assert np.array_equal(turn.apply(picture), np.rot90(picture, degrees // 90))
    assert turn_by(45) is None


def marks(*pts: int | None, duration: int = 0, keys: tuple[int, ...] = (0,)) -> list[Mark]:
    return [Mark(pts=moment, duration=duration, key=moment in keys) for moment in pts]


def test_an_index_sorts_times_and_ends_as_the_last_frame_does() -> None:
    index = timed_index(marks(0, 40, 10, 20, duration=7, keys=(0, 20)), Fraction(1, 100), None)
    assert index is not None
    assert (index.pts, index.end, index.keys) == ((0, 10, 20, 40), 47, (0, 20))
    assert [index.key_before(n) for n in range(4)] == [None, None, 20, 20]
    assert timed_index(marks(0, 10), Fraction(1, 100), None) == FrameIndex(
        pts=(0, 10), end=20, time_base=Fraction(1, 100), keys=(0,)
    )
    long = timed_index(marks(5, 10, duration=5), Fraction(1, 100), None, length=30)
    assert long is not None
    assert long.end == 35
    one = timed_index(marks(0), Fraction(1, 1000), Fraction(25))
    assert one is not None
    assert one.end == 40


def test_times_that_are_none_or_alike_are_no_index() -> None:
    assert timed_index(marks(0, None), TICK, None) is None
    assert timed_index(marks(0, 5, 5), TICK, None) is None
    assert timed_index([], TICK, None) is None
    counted = counted_index(3, Fraction(25))
    assert (counted.pts, counted.end, counted.time_base, counted.timed) == ((0, 1, 2), 3, Fraction(1, 25), False)


def test_the_rate_is_the_told_one_only_if_it_is_true() -> None:
    index = counted_index(10, Fraction(24000, 1001))
    assert index.rate(Fraction(24000, 1001)) == Fraction(24000, 1001)
    assert index.rate(Fraction(90000)) == Fraction(24000, 1001)
    assert index.rate(None) == Fraction(24000, 1001)


def scan(promised: int = 0, promised_seconds: int = 0) -> Scan:
    return Scan(
        time_base=Fraction(1, 10),
        told=None,
        promised=promised,
        length=None,
        promised_seconds=Fraction(promised_seconds),
    )


def test_what_is_missing_is_counted() -> None:
    whole = scan(promised=10)
    whole.marks += marks(*range(6))
    whole.hidden, whole.torn = 1, True
    whole.finish()
    index = whole.index()
    assert index is not None
    assert len(index.pts) == 5
    assert whole.missing(index) == 4
    timed = scan(promised_seconds=2)
    timed.marks += marks(*range(10))
    timed.reaches(Fraction(1))
    index = timed.index()
    assert index is not None
    assert timed.missing(index) == 10
    timed.reaches(Fraction(19, 10))
    assert timed.missing(index) == 0, "sound is cut in blocks"


class Scripted:
    """A decoder of one grey per time; it counts the conversions to RGB."""

    def __init__(self, *shown: int) -> None:
        self.shown, self.converted, self.open = shown, 0, 0

    def __call__(self, start: int) -> Iterator[Shown]:
        self.open += 1
        try:
            for pts in self.shown:
                yield Shown(pts=pts, pixels=lambda pts=pts: self.convert(pts), damaged=pts == 30)  # type: ignore[misc]
        finally:
            self.open -= 1

    def convert(self, pts: int) -> np.ndarray:
        self.converted += 1
        return grey(pts, 2, 2)


def scripted(decoder: Scripted, pts: tuple[int, ...] = (10, 20, 30, 40)) -> VideoClip:
    index = FrameIndex(pts=pts, end=pts[-1] + 10, time_base=Fraction(1, 100))
    return VideoClip(
        path=Path("a.mp4"),
        kind="video",
        index=index,
        decoder=decoder,  # type: ignore[arg-type]
        width=2,
        height=2,
        rate=Fraction(10),
        pixel_aspect=Fraction(1),
        colour=Colour.of_pictures(),
        has_audio=False,
        found=(),
    )


def levels(clip: VideoClip, start: int = 0, stop: int | None = None) -> list[int]:
    return [int(frame.pixels[0, 0, 0]) for frame in clip.frames(start, stop)]


def test_a_frame_that_does_not_come_shows_the_one_before_and_is_told() -> None:
    clip = scripted(Scripted(10, 20, 40))
    assert levels(clip) == [10, 20, 20, 40]
    assert clip.notes == ("frames that could not be decoded, and show the one before: 2",)
    assert levels(scripted(Scripted(20, 30, 40))) == [20, 20, 30, 40], "nothing is before: the first that comes"
    assert levels(scripted(Scripted(10, 20))) == [10, 20, 20, 20]
    assert levels(scripted(Scripted(10, 20)), 2, 3) == [20], "the same frame, wherever one begins"
    with pytest.raises(ClipError, match="cannot be decoded"):
        levels(scripted(Scripted()))


def test_only_wanted_frames_are_converted_and_pictures_between_are_passed_over() -> None:
    decoder = Scripted(5, 10, 15, 20, 30, 40)
    clip = scripted(decoder)
    assert levels(clip, 1, 3) == [20, 30]
    assert decoder.converted == 2
    assert decoder.open == 0
    assert clip.notes == ("frames that could be decoded in part only: 2",)


def test_closing_ends_what_runs() -> None:
    decoder = Scripted(10, 20, 30, 40)
    with scripted(decoder) as clip:
        run = clip.frames()
        next(run)
        assert decoder.open == 1
    assert decoder.open == 0
    assert list(run) == []
