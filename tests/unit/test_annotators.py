"""What the single annotators draw. The lineart is pinned: a ControlNet was trained on just these lines."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sakuga.render.annotators import canny, depth, inpaint, lineart, lineart_anime, none, normal, softedge, tile

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


def test_softedge_without_its_network_follows_contours_and_leaves_texture_and_shading():
    frame = np.full((200, 200, 3), 200, dtype=np.uint8)
    frame[40:160, 40:160] = 60
    edges = softedge.draw(frame)[..., 0].astype(np.float64)
    assert edges[100, 38:42].max() > 200 and edges[38:42, 100].max() > 200
    assert edges[100, 60:140].max() < 20 and edges[:20].max() < 20
    y, x = np.mgrid[:200, :200]
    shading = np.repeat((60 + x * 120 // 200)[..., None], 3, axis=2).astype(np.uint8)
    texture = np.repeat(((x + y) % 2 * 60 + 100)[..., None], 3, axis=2).astype(np.uint8)
    assert softedge.draw(shading).max() < 20 and softedge.draw(texture)[8:-8, 8:-8].max() < 20


def test_softedge_sees_a_step_of_colour_that_has_no_step_of_light():
    frame = np.zeros((100, 100, 3), dtype=np.uint8)
    frame[:, :50], frame[:, 50:] = (150, 60, 60), (60, 106, 60)
    assert softedge.draw(frame)[50, 48:52].max() > 128


def test_networks_see_multiples_of_64_and_the_drawing_comes_back():
    seen = []

    def network(pixels):
        seen.append((pixels.shape, float(pixels.min()), float(pixels.max())))
        return pixels[:1] / 255

    sizes = {(100, 200): (128, 192), (64, 128): (64, 128), (20, 30): (64, 64), (95, 97): (64, 128)}
    for size, worked in sizes.items():
        frame = np.full((*size, 3), 51, dtype=np.uint8)
        assert (softedge.draw(frame, network) == 51).all()
        assert (lineart.draw(frame, network) == 204).all()
        assert np.abs(lineart_anime.draw(frame, network).astype(int) - 204).max() <= 1
        shapes = [tuple(shape) for shape, _, _ in seen[-3:]]
        anime = tuple(-(-n // 256) * 256 for n in worked)
        assert shapes == [(3, *worked), (3, *worked), (3, *anime)]
    assert all(low == high == 51 for _, low, high in seen)


def test_depth_reaches_from_black_to_white_and_level_ground_is_black():
    slope = torch.linspace(3, 7, 64 * 64).reshape(1, 64, 64)
    drawn = depth.draw(np.zeros((64, 64, 3), dtype=np.uint8), lambda pixels: slope)
    assert drawn.min() == 0 and drawn.max() == 255 and (np.diff(drawn[32, :, 0].astype(int)) >= 0).all()
    assert not depth.draw(np.zeros((64, 64, 3), dtype=np.uint8), lambda pixels: slope * 0 + 5).any()


def test_normals_are_drawn_as_the_network_gives_them():
    shares = torch.tensor([0.5, 0.25, 1.0]).reshape(3, 1, 1).expand(3, 64, 64)
    drawn = normal.draw(np.zeros((64, 64, 3), dtype=np.uint8), lambda pixels: shares)
    assert tuple(drawn[5, 6]) == (127, 63, 255)


def test_none_and_inpaint_are_the_frame():
    assert np.array_equal(none.draw(scene(20, 30)), scene(20, 30))
    assert np.array_equal(inpaint.draw(scene(20, 30)), scene(20, 30))
