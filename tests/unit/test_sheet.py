"""Pictures for comparing: nothing of a frame is lost, and labels can be read."""

from __future__ import annotations

import numpy as np

from sakuga.video.sheet import GAP, PAPER, beside, contact_sheet


def frame(level: int, width: int = 40, height: int = 30) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_beside_keeps_every_pixel() -> None:
    row = beside(frame(10), frame(20, width=7), frame(30))
    assert row.shape == (30, 87, 3)
    assert (row[:, :40] == 10).all() and (row[:, 40:47] == 20).all() and (row[:, 47:] == 30).all()


def test_lower_frames_are_centred_on_white() -> None:
    row = beside(frame(10), frame(20, height=10))
    assert (row[10:20, 40:] == 20).all()
    assert (row[:10, 40:] == PAPER).all() and (row[20:, 40:] == PAPER).all()


def test_a_sheet_shows_all_rows_below_their_labels() -> None:
    sheet = contact_sheet([[frame(10), frame(20)], [frame(30)]], ["source", "with LoRA"])
    strip = (sheet.shape[0] - 2 * (30 + GAP)) // 2
    assert sheet.shape[1] == 2 * 40 + 3 * GAP
    assert sheet.dtype == np.uint8
    first, second = strip, 2 * strip + 30 + GAP
    assert (sheet[first : first + 30, GAP : GAP + 40] == 10).all()
    assert (sheet[first : first + 30, 2 * GAP + 40 : 2 * GAP + 80] == 20).all()
    assert (sheet[second : second + 30, GAP : GAP + 40] == 30).all()
    assert (sheet[second : second + 30, GAP + 40 :] == PAPER).all()
    for top in (0, strip + 30 + GAP):
        label = sheet[top : top + strip]
        assert label.min() < 120, "ink"
        assert (label == PAPER).mean() > 0.5, "paper"
        assert (label[:, :2] == PAPER).all() and (label[:, -2:] == PAPER).all()


def test_different_labels_look_different_and_long_ones_stay_inside() -> None:
    rows = [[frame(10, width=200)]]
    short, other, long = (contact_sheet(rows, [text]) for text in ("one", "two", "celcomic 0.8 and ink 0.4 " * 6))
    assert short.shape == other.shape == long.shape
    assert (short != other).any()
    ink = np.nonzero(long[:20] < 120)[1]
    assert ink.min() >= GAP - 1
    assert ink.max() < long.shape[1]
    assert (long[:20, -2:] == PAPER).all()


def test_a_label_may_be_empty_or_foreign() -> None:
    assert (contact_sheet([[frame(10)]], [""])[:20] == PAPER).all()
    foreign = contact_sheet([[frame(10)]], ["日本"])
    assert np.array_equal(foreign, contact_sheet([[frame(10)]], ["??"]))
