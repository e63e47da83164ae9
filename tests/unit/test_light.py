"""Light: flicker of brightness and colour goes, all else stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.unit.flicker import Picture, demo, edges, flicker, flickering, painted

from sakuga.render.smoothers import light
from sakuga.spec.smoothing import LightOptions


def smoothed(frames: list[Picture], guides: list[Picture], **options: object) -> list[Picture]:
    return list(light.smooth(frames, guides, LightOptions(**options), 0, torch.device("cpu")))


def apart(frames: list[Picture], others: list[Picture]) -> float:
    """The mean difference in levels."""
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, others, strict=True)]))


@pytest.fixture(params=[0, 28], ids=["first shot", "second shot"])
def guides(request: pytest.FixtureRequest) -> list[Picture]:
    return list(demo(request.param, request.param + 16))


def test_flicker_falls_by_seven_tenths_and_edges_stay(guides: list[Picture]) -> None:
    clean = painted(guides)
    drawn = flickering(clean)
    result = smoothed(drawn, guides)
    assert flicker(result, clean) < 0.15 * flicker(drawn, clean)
    assert edges(result, clean) == pytest.approx(edges(drawn, clean), abs=0.02)


def test_a_drawing_in_other_colours_is_evened_as_well(guides: list[Picture]) -> None:
    clean = [(255 - guide[..., ::-1] // 2).astype(np.uint8) for guide in guides]
    drawn = flickering(clean)
    assert flicker(smoothed(drawn, guides), clean) < 0.2 * flicker(drawn, clean)


def test_a_clip_without_flicker_stays(guides: list[Picture]) -> None:
    clean = painted(guides)
    assert apart(smoothed(clean, guides), clean) < 0.6


def test_a_lamp_that_goes_out_in_the_clip_goes_out_in_the_drawing() -> None:
    bright = demo(0, 1)[0]
    guides = [bright if number < 6 else (bright // 3) for number in range(12)]
    drawn = painted(guides)
    assert apart(smoothed(drawn, guides), drawn) < 0.5


def test_strength_0_changes_no_byte_and_half_the_strength_goes_half_the_way(guides: list[Picture]) -> None:
    drawn = flickering(guides)
    assert all(map(np.array_equal, smoothed(drawn, guides, strength=0.0), drawn))
    half, whole = (smoothed(drawn, guides, strength=strength) for strength in (0.5, 1.0))
    halves = [(frame.astype(float) + end) / 2 for frame, end in zip(drawn, whole, strict=True)]
    unclipped = [(frame > 0) & (frame < 255) & (end > 0) & (end < 255) for frame, end in zip(drawn, whole, strict=True)]
    for frame, middle, seen in zip(half, halves, unclipped, strict=True):
        assert np.abs(frame - middle)[seen].max() <= 1


def test_a_window_of_0_changes_no_byte(guides: list[Picture]) -> None:
    drawn = flickering(guides)
    assert all(map(np.array_equal, smoothed(drawn, guides, window=0), drawn))


def test_a_larger_window_evens_more(guides: list[Picture]) -> None:
    clean = painted(guides)
    left: list[float] = [flicker(smoothed(flickering(clean), guides, window=window), clean) for window in (1, 4, 12)]
    assert left == sorted(left, reverse=True)


def test_the_mean_of_gains_and_offsets() -> None:
    """Two frames, one lighter and of more contrast: both get the mean of both, by the formula."""
    frame: NDArray[np.uint8] = np.random.default_rng(0).integers(60, 180, (30, 30, 3)).astype(np.uint8)
    other = np.rint(frame * 1.2 + 10).astype(np.uint8)
    first, second = smoothed([frame, other], [frame, frame])
    assert apart([first], [np.rint(frame * 1.1 + 5).astype(np.uint8)]) < 0.6
    assert apart([first], [second]) < 1.0
