"""Where cuts are found, and where none is: camera moves, flashes, noise, fast motion."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from sakuga.video.shots import Change, chosen, cuts

HEIGHT, WIDTH = 54, 96


def photo(seed: int, side: int = 256) -> np.ndarray:
    """A smooth picture with detail of every size, as photographs have it; another seed, another picture."""
    random = np.random.default_rng(seed)
    total = np.zeros((side, side, 3), np.float32)
    for cells, strength in ((4, 1.0), (8, 0.6), (16, 0.4), (32, 0.25), (64, 0.15)):
        coarse = random.standard_normal((cells, cells, 3)).astype(np.float32)
        total += strength * cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 45 * total / total.std(), 0, 255).astype(np.uint8)


def seen(picture: np.ndarray, x: float, y: float, zoom: float = 1.0) -> np.ndarray:
    """What a camera at (x, y) sees of the picture, to parts of a pixel."""
    matrix = np.array([[zoom, 0, WIDTH / 2 - zoom * x], [0, zoom, HEIGHT / 2 - zoom * y]])
    return cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def still(seed: int, frames: int) -> list[np.ndarray]:
    """A shot of a tripod: grain is all that moves."""
    random = np.random.default_rng(seed + 1000)
    view = seen(photo(seed), 120, 120).astype(int)
    return [np.clip(view + random.normal(0, 6, view.shape), 0, 255).astype(np.uint8) for _ in range(frames)]


def pan(seed: int, frames: int, step: float) -> list[np.ndarray]:
    picture = photo(seed)
    return [seen(picture, 60 + step * n, 100 + 0.3 * step * n) for n in range(frames)]


def zoom(seed: int, frames: int, factor: float) -> list[np.ndarray]:
    picture = photo(seed)
    return [seen(picture, 128, 120, factor**n) for n in range(frames)]


@pytest.mark.parametrize("seed", range(4))
def test_a_hard_cut_is_found(seed: int) -> None:
    assert cuts(still(seed, 7) + still(seed + 50, 6)) == (7,)


def test_cuts_between_moving_shots_are_found() -> None:
    shots = [pan(1, 9, 3.0), zoom(2, 8, 1.04), pan(3, 7, -4.0), still(4, 5)]
    assert cuts(frame for shot in shots for frame in shot) == (9, 17, 24)


def test_a_cut_at_either_end_is_found() -> None:
    assert cuts(still(5, 1) + still(6, 6)) == (1,)
    assert cuts(still(5, 6) + still(6, 1)) == (6,)
    assert cuts(still(5, 1) + still(6, 1)) == (1,)


@pytest.mark.parametrize("step", [0.3, 1.0, 2.5, 6.0, 9.0])
def test_a_pan_is_no_cut(step: float) -> None:
    assert cuts(pan(7, 14, step)) == ()


def test_a_pan_that_starts_and_stops_is_no_cut() -> None:
    picture = photo(8)
    places = [60.0] * 4 + [60 + 5.0 * n for n in range(12)] + [115.0] * 4
    assert cuts(seen(picture, x, 100) for x in places) == ()


@pytest.mark.parametrize("factor", [1.01, 1.05, 1.1, 1 / 1.05])
def test_a_zoom_is_no_cut(factor: float) -> None:
    assert cuts(zoom(9, 14, factor)) == ()


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("light", [255, 0])
def test_a_flash_is_no_cut(length: int, light: int) -> None:
    frames = still(10, 14)
    for index in range(6, 6 + length):
        frames[index] = np.full_like(frames[0], light)
    assert cuts(frames) == ()


def test_a_flash_in_a_pan_is_no_cut() -> None:
    frames = pan(11, 14, 3.0)
    frames[7] = np.full_like(frames[0], 255)
    assert cuts(frames) == ()


def test_a_cut_hidden_in_a_flash_is_one_cut() -> None:
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    assert cuts([*still(12, 6), white, *still(13, 6)]) == (6,)


def test_a_slow_fade_is_one_shot() -> None:
    view = still(14, 1)[0].astype(float)
    assert cuts((view * share).astype(np.uint8) for share in np.linspace(1, 0, 24)) == ()


def test_something_large_that_passes_by_is_no_cut() -> None:
    frames = still(15, 14)
    for index, frame in enumerate(frames):
        left = 12 * (index - 3)
        frame[:, max(0, left) : max(0, left + 28)] = (200, 30, 40)
    assert cuts(frames) == ()


def test_nothing_and_one_frame_have_no_cuts() -> None:
    assert cuts([]) == ()
    assert cuts(still(16, 1)) == ()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (17, 31)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    dark, light = np.full((*size, 3), 20, np.uint8), np.full((*size, 3), 220, np.uint8)
    assert cuts([dark] * 5 + [light] * 5) == (5,)


def test_frames_are_let_go_of() -> None:
    given: list[weakref.ref[np.ndarray]] = []

    def frames() -> Iterator[np.ndarray]:
        for index in range(6):
            assert sum(one() is not None for one in given) <= 1
            frame = np.full((HEIGHT, WIDTH, 3), 10 * index, np.uint8)
            given.append(weakref.ref(frame))
            yield frame
            del frame

    assert cuts(frames()) == ()
    assert len(given) == 6


def test_what_is_chosen() -> None:
    calm, jump = Change(by_one=1.0), Change(by_one=30.0, by_more=(30.0, 30.0))
    assert chosen([calm] * 4 + [jump] + [calm] * 4) == (4,)
    assert chosen([calm] * 4 + [jump, jump] + [calm] * 4) == (4,), "a single frame between two cuts"
    back = Change(by_one=30.0, by_more=(1.0,))
    assert chosen([calm] * 4 + [jump, back] + [calm] * 4) == (), "the picture before the flash is back"
    assert chosen([Change(by_one=12.0)] * 9) == (), "fast motion: all alike"
    assert chosen([Change(by_one=0.0), Change(by_one=5.9)]) == (), "below the floor"
