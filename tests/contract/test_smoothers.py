"""What every smoother in SMOOTHERS promises."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from sakuga.render.smoothers import SMOOTHERS, find_smoother

pytest.importorskip("cv2")
CPU = torch.device("cpu")
SMALL = {  # options that make a test quick
    "light": {"window": 2},
    "fastblend": {"window": 2, "iterations": 2, "patch": 3},
    "contrast": {},
    "sharpness": {},
}
MODES = [{"mode": mode} for mode in ("fast", "balanced", "accurate")]
CASES = [
    (smoother, SMALL[smoother.name] | more)
    for smoother in SMOOTHERS
    for more in (MODES if smoother.name == "fastblend" else [{}])
]
KEEPING = [case for case in CASES if case[0].name in ("light", "fastblend")]  # those that look along time


def name_of(case):
    return "-".join((case[0].name, *(str(value) for key, value in case[1].items() if key == "mode")))


@pytest.fixture(params=CASES, ids=name_of)
def case(request):
    return request.param


@pytest.fixture(params=KEEPING, ids=name_of)
def evening(request):
    return request.param


def run(case, frames, guides, seed=0):
    smoother, options = case
    return smoother.smooth(frames, guides, smoother.read(options.items(), "here"), seed, CPU)


def clip(count, height=20, width=28, seed=0):
    """A square that moves over a slope of colour, each frame a little lighter or darker."""
    dice = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    slope = np.stack([x * 160 // width, y * 160 // height, np.full_like(x, 90)], axis=-1)
    frames = []
    for number in range(count):
        frame = slope + dice.integers(-12, 13)
        left = number % max(1, width - 6)
        frame[height // 4 : height // 2, left : left + 6] += 70
        frames.append(frame.clip(0, 255).astype(np.uint8))
    return frames


@pytest.mark.parametrize(("count", "height", "width"), [(1, 20, 28), (2, 9, 31), (5, 33, 17), (3, 1, 1), (3, 2, 40)])
def test_as_many_frames_of_the_same_size_and_kind(case, count, height, width):
    frames = clip(count, height, width)
    smoothed = list(run(case, frames, frames))
    assert len(smoothed) == count
    assert all(frame.shape == (height, width, 3) and frame.dtype == np.uint8 for frame in smoothed)


def test_frames_and_guides_are_left_alone_even_if_they_may_not_be_written(case):
    frames, guides = clip(4), clip(4, seed=1)
    for frame in (*frames, *guides):
        frame.flags.writeable = False
    smoothed = list(run(case, frames, guides))
    views = [frame[:, ::-1] for frame in frames], [guide[:, ::-1] for guide in guides]
    copies = [[frame.copy() for frame in one] for one in views]
    assert all(map(np.array_equal, run(case, *views), run(case, *copies)))
    assert all(map(np.array_equal, smoothed, run(case, clip(4), clip(4, seed=1))))


def test_the_same_seed_gives_the_same_bytes(case):
    frames = clip(5)
    assert all(map(np.array_equal, run(case, frames, frames, seed=7), run(case, frames, frames, seed=7)))


def test_a_clip_that_stands_still_and_does_not_flicker_stays(evening):
    frames = clip(1) * 5
    for frame in run(evening, frames, frames):
        assert np.array_equal(frame, frames[0])


class Passing(list):
    """A clip whose frames are made anew each time that they are asked for."""

    def __getitem__(self, number):
        return super().__getitem__(number).copy()


def test_what_is_kept_does_not_grow_with_the_clip(evening):
    list(run(evening, clip(3), clip(3)))  # what is imported and made once
    most = []
    for count in (8, 20):
        frames = Passing(clip(count, 16, 16))
        tracemalloc.start()
        for _ in run(evening, frames, frames):
            pass
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < 1.15 * most[0]


def test_bad_options_are_refused(case):
    smoother, _ = case
    with pytest.raises(Exception, match="there is no 'speed' here") as caught:
        smoother.read([("speed", 1)], "stages.0.smoothers.0.options")
    assert caught.value.place == "stages.0.smoothers.0.options"
    name = next(iter(smoother.options.model_fields))
    with pytest.raises(Exception, match=name) as caught:
        smoother.read([(name, "most")], "stages.0.smoothers.0.options")
    assert caught.value.place == f"stages.0.smoothers.0.options.{name}"


def test_the_default_is_light():
    assert SMOOTHERS[0].name == "light"
    assert all(find_smoother(smoother.name) is smoother for smoother in SMOOTHERS)
