"""A branch that finds the colours and a main stage that draws, as two Stages of one Job: adapters in both, any size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sakuga.models.load import load_base
from sakuga.render import parts
from sakuga.render.studio import Studio
from sakuga.spec.job import Job
from sakuga.video.pictures import read_picture

BRANCH: dict[str, Any] = {
    "prompt": "flat colours", "controls": ["tile:0.6"], "motion": "none", "steps": 1, "strength": 0.9,
    "noise": "diffsynth1", "cross_frame": True, "frames_at_once": 8, "window": 8, "stride": 4, "prompt_style": "plain",
}  # fmt: skip
MAIN: dict[str, Any] = {
    "prompt": "ink", "controls": [{"kind": "lineart", "scale": 0.5, "source": "clip"}, "tile:0.5"], "steps": 1,
    "noise": "diffsynth1", "window": 4, "stride": 2, "prompt_style": "plain",
}  # fmt: skip
WAYS = {"main alone": (MAIN,), "branch and main": (BRANCH, MAIN)}


@pytest.fixture
def bundles(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every base that is loaded while a test runs."""
    found: list[Any] = []

    def load(*words: Any) -> Any:
        found.append(load_base(*words))
        return found[-1]

    monkeypatch.setattr(parts, "load_base", load)
    return found


@pytest.fixture
def run(bundles: list[Any], sources: Mapping[str, Path], tmp_path: Path) -> Iterator[Callable[..., np.ndarray]]:
    """Renders Stages, all of them with the same adapters, on a Studio whose base nobody else has had."""
    with Studio(reuse=False) as studio:

        def render(stages: tuple[dict[str, Any], ...], *adapters: tuple[str, float]) -> np.ndarray:
            uses = [{"file": file, "weight": weight} for file, weight in adapters]
            output = tmp_path / "drawn"
            whole = [stage | {"adapters": uses} for stage in stages]
            studio.render(Job(source=sources["pictures"], stages=whole, output=output, frames=(0, 3), overwrite=True))
            return np.stack([read_picture(path) for path in sorted(output.iterdir())])

        yield render


def digest(bundle: Any) -> str:
    found = hashlib.sha256()
    for module in bundle.parts.values():
        for tensor in module.state_dict().values():
            found.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", WAYS)
def test_two_adapters_in_every_stage(run: Callable[..., np.ndarray], bundles: list[Any], name: str) -> None:
    stages = WAYS[name]
    without = run(stages)
    before = digest(bundles[0])
    assert np.array_equal(run(stages, ("celcomic", 0.0), ("ink", 0.0)), without)
    both = run(stages, ("celcomic", 0.7), ("ink", 0.4))
    assert np.array_equal(run(stages, ("ink", 0.4), ("celcomic", 0.7)), both)
    assert not np.array_equal(both, without)
    assert len(bundles) == 1 and digest(bundles[0]) == before


def test_the_branch_says_the_colours_and_the_clip_the_lines(draw: Any, sources: Mapping[str, Path]) -> None:
    branch = BRANCH | {"adapters": ["celcomic:1"]}
    both = draw(sources["pictures"], branch, MAIN, frames=(0, 3))
    assert both.apart(draw(sources["pictures"], MAIN, frames=(0, 3))).max() > 1
    colours = draw(sources["pictures"], branch, frames=(0, 3))
    brought = {"kind": "tile", "scale": 0.5, "source": colours.output}
    by_hand = draw(sources["pictures"], MAIN | {"controls": [MAIN["controls"][0], brought]}, frames=(0, 3))
    assert np.array_equal(by_hand.frames, both.frames)


@pytest.mark.parametrize("size", [(96, 54), (54, 96), (51, 37)])
def test_any_size_comes_back_as_it_was(draw: Any, made: Any, size: tuple[int, int]) -> None:
    """DiffSynth 1.x took multiples of 64 alone: 16:9, 9:16 and odd sizes ended in a tensor error."""
    source, lines = made.pictures(3, "a", size=size), made.pictures(3, "b", size=(2 * size[0], 2 * size[1]))
    other = {"kind": "lineart", "scale": 0.5, "source": lines}
    frames = draw(source, BRANCH | {"size": "32"}, MAIN | {"controls": [other, "tile:0.5"]}).frames
    assert frames.shape == (3, size[1], size[0], 3) and frames.std() > 1
