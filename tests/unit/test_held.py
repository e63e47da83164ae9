"""Held frames: a codec's noise is no change, a small mouth and a thin line are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sakuga.render.held import Held, held_in, same
from sakuga.video.read import open_clip

av = pytest.importorskip("av")


def face(mouth: int, eye: bool = False, side: int = 128) -> np.ndarray:
    """A face with a mouth that is ``mouth`` pixels open, and a wink."""
    down, across = np.mgrid[0:side, 0:side]
    pixels = np.stack([90 + across // 2, 60 + down // 2, np.full_like(down, 140)], -1)
    pixels[(across - 64) ** 2 + (down - 64) ** 2 < 50**2] = (240, 205, 180)
    pixels[90 : 90 + mouth, 56:72] = (120, 20, 30)
    pixels[50:54, 44:52] = (240, 205, 180) if eye else (20, 20, 20)
    return pixels.astype(np.uint8)


@pytest.mark.parametrize(("crf", "most"), [("10", 6), ("18", 6), ("23", 8), ("28", 9)])
def test_frames_that_a_codec_left_alone_are_held_and_a_mouth_is_not(tmp_path: Path, crf: str, most: int) -> None:
    mouths = [2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 2]
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=24, options={"crf": crf})
        stream.width = stream.height = 128
        stream.pix_fmt = "yuv420p"
        for number, mouth in enumerate(mouths):
            frame = av.VideoFrame.from_ndarray(face(mouth, eye=number >= 9), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with open_clip(tmp_path / "a.mp4") as clip:
        held = held_in([frame.pixels for frame in clip.frames()], {})
    assert {0, 3, 6, 9} <= set(held.drawn), "the mouth opens and closes, the eye winks"
    assert len(held.drawn) <= most, held


def test_a_thin_line_is_a_change() -> None:
    plain = np.full((64, 64, 3), 128, np.uint8)
    for changed in (np.s_[20, 10:50], np.s_[10:50, 21], np.s_[30:32, 30:32]):
        other = plain.copy()
        other[changed] = 200
        assert not same(plain, other)
    assert same(plain, plain.copy())
    assert same(plain, plain + np.random.default_rng(0).integers(-1, 2, plain.shape).astype(np.uint8))
    assert not same(plain, plain[:32])


def test_slow_changes_do_not_add_up() -> None:
    fading = [np.full((16, 16, 3), 100 + number, np.uint8) for number in range(12)]
    held = held_in(fading, {})
    assert all(abs(position - held.drawn[show]) <= 2 for position, show in enumerate(held.shows))
    assert len(held.drawn) == 4


def test_another_clip_of_a_control_counts_too() -> None:
    still = [np.zeros((8, 8, 3), np.uint8)] * 4
    moving = [np.full((8, 8, 3), 50 * number, np.uint8) for number in range(4)]
    assert held_in(still, {}).drawn == (0,)
    assert held_in(still, {"pose": moving}).drawn == (0, 1, 2, 3)


def test_what_is_drawn_is_spread_again() -> None:
    held = Held(drawn=(0, 2), shows=(0, 0, 1, 1, 1))
    assert held.pick("abcde") == ["a", "c"] and held.spread(["A", "C"]) == ["A", "A", "C", "C", "C"]
