"""A frame comes out alike wherever and whenever it is rendered: alone, in a part, in short or long Spans, again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ALONE: dict[str, Any] = {
    "motion": "none", "prompt": "ink", "noise": "frame", "steps": 2, "strength": 0.8, "controls": ["tile:0.6"],
}  # fmt: skip
ROUNDING = 1  # grey level: batches of another size add up in another order


@pytest.fixture(scope="module")
def whole(draw: Any, sources: Mapping[str, Path]) -> Any:
    return draw(sources["pictures"], ALONE)


def test_a_part_is_what_it_is_in_the_whole(draw: Any, sources: Mapping[str, Path], whole: Any) -> None:
    part = draw(sources["pictures"], ALONE, frames=(3, 6))
    assert sorted(path.name for path in part.output.iterdir()) == ["000003.png", "000004.png", "000005.png"]
    assert part.apart(whole.frames[3:6]).max() <= ROUNDING
    assert whole.apart(np.roll(whole.frames, 1, axis=0)).max() > ROUNDING, "frames differ, or this would prove nothing"


@pytest.mark.parametrize("span", [1, 3, 4])
def test_short_spans_are_the_long_one(draw: Any, sources: Mapping[str, Path], whole: Any, span: int) -> None:
    short = draw(sources["pictures"], ALONE, span=span)
    assert short.apart(whole).max() <= ROUNDING
    assert (short.report.clip["spans"], whole.report.clip["spans"]) == (-(-6 // span), 1)


def test_the_same_job_gives_the_same_bits(draw: Any, sources: Mapping[str, Path], whole: Any) -> None:
    again = draw(sources["pictures"], ALONE)
    assert np.array_equal(again.frames, whole.frames)
    assert again.report.key == whole.report.key
    assert again.report.output_sha256 == whole.report.output_sha256


def test_another_seed_is_another_picture(draw: Any, sources: Mapping[str, Path], whole: Any) -> None:
    other = draw(sources["pictures"], ALONE, seed=1)
    assert other.apart(whole).mean() > 0
    assert other.report.key != whole.report.key


@pytest.mark.parametrize(("noise", "alike"), [("frame", False), ("shared", True), ("zero", True)])
def test_frames_that_are_one_picture_differ_by_their_noise_alone(draw: Any, made: Any, noise: str, alike: bool) -> None:
    still = made.picture("000.png").read_bytes()
    folder = made.folder / "one picture"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(still)
    frames = draw(folder, ALONE | {"noise": noise}, held="each").frames
    apart = np.abs(frames[1:] - frames[:-1])
    assert (apart.max() <= ROUNDING) == alike


def test_cuts_are_found_and_never_crossed(draw: Any, sources: Mapping[str, Path], motion_file: Path) -> None:
    moving = {"motion": str(motion_file), "noise": "zero"}
    whole = draw(sources["two shots"], moving)
    assert (whole.report.clip["cuts"], whole.report.clip["spans"]) == ([5], 2)
    first, second = (draw(sources["two shots"], moving, frames=frames) for frames in ((0, 5), (5, 8)))
    assert whole.apart(np.concatenate([first.frames, second.frames])).max() <= ROUNDING


def test_the_motion_module_looks_at_the_neighbours(draw: Any, sources: Mapping[str, Path], motion_file: Path) -> None:
    moving = {"motion": str(motion_file), "noise": "zero", "window": 4, "stride": 2}
    whole = draw(sources["pictures"], moving)
    alone = draw(sources["pictures"], moving, frames=(0, 1))
    without = draw(sources["pictures"], moving | {"motion": "none"})
    assert whole.apart(without).any(), "it changes something"
    assert np.abs(whole.frames[:1] - alone.frames).any(), "a frame depends on those around it"
    assert whole.report.stages[0]["motion"] == str(motion_file)


def test_spans_with_motion_overlap_and_cover_every_frame_once(draw: Any, made: Any) -> None:
    source = made.pictures(10, "ten", size=(32, 32))
    moving = {"motion": "auto", "noise": "zero", "window": 4, "stride": 2}
    drawn = draw(source, moving, span=6)
    assert drawn.frames.shape == (10, 32, 32, 3)
    assert drawn.report.clip["spans"] == 2


def test_a_curve_over_frames_runs_over_the_clip(draw: Any, sources: Mapping[str, Path]) -> None:
    fading = ALONE | {"controls": ["lineart:0->1@frames"]}
    whole = draw(sources["pictures"], fading)
    part = draw(sources["pictures"], fading, frames=(5, 6))
    full = draw(sources["pictures"], ALONE | {"controls": ["lineart:1"]}, frames=(5, 6))
    assert part.apart(whole.frames[5:6]).max() <= ROUNDING
    assert part.apart(full).max() <= ROUNDING
