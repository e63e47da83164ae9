"""What the single annotators draw. The lineart is pinned: a ControlNet was trained on just these lines."""

from __future__ import annotations

import numpy as np
import pytest

from sakuga.render.annotators import canny, lineart, tile

cv2 = pytest.importorskip("cv2")


def scene(height, width):
    """Waves of colour without any random number, a dark box and a light disc."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = (128 + 80 * np.sin(x / 9 + 1), 128 + 80 * np.cos(y / 7), 128 + 60 * np.sin((x + y) / 13))
    frame = np.stack(waves, axis=-1)
    frame[height // 4 : height // 2, width // 4 : width // 2] = 30
    frame[(x - width * 2 // 3) ** 2 + (y - height * 2 // 3) ** 2 < (min(height, width) // 6) ** 2] = (220, 200, 180)
    return frame.round().astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "mean", "inked", "quarters"),
    [
        ((96, 128), 3.5127, 0.03027, (8.9909, 0, 0, 5.0599)),
        ((216, 384), 2.5601, 0.01624, (7.6584, 0.3179, 0, 2.2642)),
        ((400, 500), 3.5532, 0.01782, (9.0986, 0.5312, 0, 4.5831)),
    ],
)
def test_lineart_draws_what_the_controlnet_was_trained_on(size, mean, inked, quarters):
    """Mean, share of pixels with ink, and the mean of each quarter. OpenCV's versions round differently, hence 1 %."""
    height, width = size
    lines = lineart.draw(scene(height, width)).astype(np.float64)
    assert np.array_equal(lines[..., 0], lines[..., 1]) and np.array_equal(lines[..., 0], lines[..., 2])
    own = lines[..., 0]
    parts = [own[i : i + height // 2, j : j + width // 2].mean() for i in (0, height // 2) for j in (0, width // 2)]
    assert own.mean() == pytest.approx(mean, rel=0.01)
    assert (own > 0).mean() == pytest.approx(inked, rel=0.01)
    assert parts == pytest.approx(quarters, rel=0.01, abs=0.01)


def test_lineart_is_white_on_black_and_follows_a_contour():
    frame = np.full((100, 100, 3), 200, dtype=np.uint8)
    cv2.line(frame, (50, 10), (50, 90), (30, 30, 30), 2)
    lines = lineart.draw(frame)[..., 0]
    assert lines[30:70, 48:52].max(axis=1).min() > 200 and not lines[:, :30].any() and not lines[:, 70:].any()


def test_lineart_drops_specks():
    frame = np.full((400, 400, 3), 200, dtype=np.uint8)
    frame[200:202, 200:202] = 30
    assert not lineart.draw(frame).any()


def test_canny_is_opencv_s_with_the_thresholds_of_its_controlnets():
    frame = scene(96, 128)
    edges = canny.draw(frame)
    assert np.array_equal(edges[..., 0], cv2.Canny(frame, 100, 200))
    assert set(np.unique(edges)) == {0, 255} and np.array_equal(edges[..., 0], edges[..., 2])


def test_tile_is_the_frame():
    assert np.array_equal(tile.draw(scene(20, 30)), scene(20, 30))
