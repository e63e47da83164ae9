"""FastBlend: its tree, its means with matches that are perfect, and what it does to flicker and to edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.unit.flicker import demo, edges, flicker, flickering, painted

from sakuga.render.smoothers import fastblend
from sakuga.render.smoothers.fastblend import cell_exists, cells_of, left_places
from sakuga.render.smoothers.patch_match import Picture
from sakuga.spec.smoothing import FastBlendOptions

CPU = torch.device("cpu")
MODES = ("fast", "balanced", "accurate")
QUICK = {"patch": 3, "iterations": 2}


def smoothed(
    frames: list[Picture], guides: list[Picture] | None = None, *, seed: int = 0, **options: object
) -> list[Picture]:
    given = FastBlendOptions(**QUICK | options)
    return list(fastblend.smooth(frames, guides or frames, given, seed, CPU))


def plain(levels: list[int], side: int = 8) -> list[Picture]:
    return [np.full((side, side, 3), level, dtype=np.uint8) for level in levels]


def levels(frames: list[Picture]) -> list[int]:
    assert all((frame == frame[0, 0, 0]).all() for frame in frames)
    return [int(frame[0, 0, 0]) for frame in frames]


def test_what_is_blended_into_what_before_any_frame_is_asked_for() -> None:
    tasks = [
        (left, place, level)
        for level in (1, 2, 3)
        for place in range(8)
        if cell_exists(place, level)
        for left in left_places(place, level)
    ]
    assert tasks == [
        (0, 1, 1), (2, 3, 1), (4, 5, 1), (6, 7, 1), (0, 3, 2), (1, 3, 2), (4, 7, 2), (5, 7, 2),
        (0, 7, 3), (1, 7, 3), (2, 7, 3), (3, 7, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "cells"),
    [(0, 7, [(7, 3)]), (0, 6, [(6, 0), (5, 1), (3, 2)]), (2, 9, [(9, 1), (7, 2), (3, 1)])],
)
def test_which_cells_make_up_a_window(low: int, high: int, cells: list[tuple[int, int]]) -> None:
    assert cells_of(low, high) == cells


@pytest.mark.parametrize("low", range(0, 20, 3))
def test_the_cells_of_a_window_cover_each_frame_once(low: int) -> None:
    for high in range(low, 30):
        covered = [place for end, level in cells_of(low, high) for place in range(end - 2**level + 1, end + 1)]
        assert sorted(covered) == list(range(low, high + 1))
        assert all(cell_exists(end, level) for end, level in cells_of(low, high))


@pytest.mark.parametrize("mode", MODES)
def test_with_perfect_matches_the_mean_of_the_window(mode: str) -> None:
    frames = plain([0, 40, 80, 120, 160])
    assert levels(smoothed(frames, mode=mode, window=1)) == [20, 40, 80, 120, 140]
    assert levels(smoothed(frames, mode=mode, window=60)) == [80] * 5
    assert levels(smoothed(frames, mode=mode, window=0)) == [0, 40, 80, 120, 160]


@pytest.mark.parametrize("mode", MODES)
def test_one_frame_is_given_back(mode: str) -> None:
    assert levels(smoothed(plain([77]), mode=mode, window=5)) == [77]


@pytest.mark.parametrize(
    ("mode", "count", "window", "matches"),
    [
        ("fast", 30, 60, 188), ("balanced", 30, 60, 870), ("accurate", 30, 60, 900),
        ("fast", 100, 60, 1184), ("balanced", 100, 60, 8340), ("accurate", 100, 60, 8440),
        ("fast", 300, 15, 4016), ("balanced", 300, 15, 8760), ("accurate", 300, 15, 9060), ("fast", 300, 60, 4844),
    ],
)  # fmt: skip
def test_as_many_matches_as_the_mode_needs_at_most(
    mode: str, count: int, window: int, matches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def unmoved(pairs, _search, _device):
        asked.extend(pairs)
        return [pair.source_style[-1].numpy() for pair in pairs]

    monkeypatch.setattr(fastblend, "remapped", unmoved)
    smoothed(plain([0] * count, side=2), mode=mode, window=window)
    fewest = 0.6 * matches if mode == "fast" else matches  # a tree makes only the cells that are asked for
    assert fewest <= len(asked) <= matches


@pytest.mark.parametrize("mode", ["fast", "balanced"])
def test_how_many_frames_are_matched_together_changes_nothing(mode: str) -> None:
    guides = list(demo(0, 6, (32, 24)))
    frames = flickering(guides)
    whole = smoothed(frames, guides, mode=mode, window=5, batch=8)
    for batch in (1, 3):
        assert all(map(np.array_equal, smoothed(frames, guides, mode=mode, window=5, batch=batch), whole))


@pytest.mark.parametrize("mode", MODES)
def test_the_same_seed_the_same_bytes_and_another_seed_others(mode: str) -> None:
    guides = list(demo(0, 4, (32, 24)))
    frames = flickering(guides)
    one, same, other = (smoothed(frames, guides, mode=mode, window=2, seed=seed) for seed in (3, 3, 4))
    assert all(map(np.array_equal, one, same))
    assert not all(map(np.array_equal, one, other))


@pytest.mark.parametrize("mode", MODES)
def test_flicker_falls_by_seven_tenths_and_edges_stay(mode: str) -> None:
    guides = list(demo(28, 36))
    clean = painted(guides)
    drawn = flickering(clean, grain=4.0)
    result = smoothed(drawn, guides, mode=mode, window=4)
    assert flicker(result, clean) < 0.3 * flicker(drawn, clean)
    assert 0.96 < edges(result, clean) < 1.04


def test_it_looks_where_the_guides_say_and_not_into_the_drawing() -> None:
    """A square that the clip moves by two pixels a frame: its neighbours are brought to where it is now."""
    guides = [np.random.default_rng(0).integers(90, 110, (24, 40, 3)).astype(np.uint8) for _ in range(5)]
    for number, guide in enumerate(guides):
        guide[8:16, 6 + 2 * number : 16 + 2 * number] = np.arange(200, 240, 4)[None, :, None]
    drawn = [np.where(guide > 150, 220, 40).astype(np.uint8) for guide in guides]
    for number, frame in enumerate(smoothed(drawn, guides, mode="balanced", window=2, iterations=4)):
        assert np.abs(frame[9:15, 7 + 2 * number : 15 + 2 * number].astype(int) - 220).max() <= 8
        assert np.abs(frame[:, -6:].astype(int) - 40).max() <= 8
