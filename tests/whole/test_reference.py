"""The pipeline goes the way of DiffSynth 1.x: on random weights every step of a run is that of ``reference.py``.

One run with everything together, and one for each option alone, which also has to make a difference.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.whole import reference
from tests.whole.random_model import Case, Run, made

from sakuga.spec.job import Stage

AGREE = 1e-4  # of the largest value of a step
PROMPT = "best quality, perfect anime illustration, light, a girl is dancing, smile, solo"
LONG = ", ".join([PROMPT] * 6)


@pytest.fixture(scope="module")
def case() -> Case:
    return made()


def apart(one: Run, other: Run) -> list[float]:
    """How far two runs are apart after each step, and in their frames, as a share of the largest value."""
    pairs = zip((*one[0], one[1]), (*other[0], other[1]), strict=True)
    return [float((a.double() - b.double()).abs().max() / b.double().abs().max()) for a, b in pairs]


PLAIN: dict[str, Any] = {
    "prompt": PROMPT, "negative_prompt": "low quality", "motion": "none", "controls": ["tile:0.5", "tile:0.7"],
    "steps": 2, "guidance": 7.0, "noise": "diffsynth1", "prompt_style": "plain", "window": 4, "stride": 2,
    "frames_at_once": 2, "sampler": "ddim",
}  # fmt: skip


def test_everything_together_agrees_at_every_step(case: Case) -> None:
    whole = PLAIN | {"motion": "own", "steps": 10, "window": 16, "stride": 8, "clip_skip": 2, "frames_at_once": 16}
    stage = Stage(**whole)
    assert max(apart(case.ours(stage, 30), case.theirs(stage, 30))) <= AGREE


OPTIONS: dict[str, dict[str, Any]] = {
    "no motion": {},
    "strength": {"strength": 0.9},
    "clip_skip": {"clip_skip": 2},
    "cross-frame": {"cross_frame": True},
    "cross-frame beside motion": {"cross_frame": True, "motion": "own"},
    "long prompt": {"prompt": LONG},
    "embedding": {"negative_prompt": "ugly, bad-hands-3, low quality"},
    "motion": {"motion": "own"},
    "windows": {"motion": "own", "window": 3, "stride": 1},
    "no controls": {"controls": []},
    "guidance": {"guidance": 3.0},
    "smoother": {"smoothers": ["fake"], "smooth_at": [1]},
}


@pytest.fixture(scope="module")
def bare(case: Case) -> Run:
    return case.ours(Stage(**PLAIN), 6)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_alone_agrees_and_makes_a_difference(case: Case, bare: Run, name: str) -> None:
    stage = Stage(**PLAIN | OPTIONS[name])
    ours = case.ours(stage, 6)
    assert max(apart(ours, case.theirs(stage, 6))) <= AGREE
    assert name == "no motion" or max(apart(ours, bare)) > 20 * AGREE


def test_a_smoother_of_the_finished_frames_gives_the_frames(case: Case) -> None:
    stage = Stage(**PLAIN | {"smoothers": ["fake"], "smooth_at": [-1], "steps": 1})
    drawn = case.ours(stage, 3)[1]
    expected = 1 - 2 * reference.pictures(case.frames(3))
    assert (drawn.double() - expected).abs().max() < 1e-6


@pytest.mark.parametrize("more", [{}, {"strength": 0.8}, {"cross_frame": True}, {"motion": "own"}])
def test_tiles_agree_and_make_a_difference(case: Case, more: dict[str, Any]) -> None:
    """On a size where the last tile of a row has to be moved back; DiffSynth 1.x left NaN there."""
    large = dataclasses.replace(case, size=(72, 40))
    stage = Stage(**PLAIN | more | {"tile": 8, "tile_stride": 4, "steps": 2})
    ours = large.ours(stage, 3)
    assert max(apart(ours, large.theirs(stage, 3))) <= AGREE
    assert max(apart(ours, large.ours(stage.model_copy(update={"tile": None}), 3))) > 20 * AGREE
