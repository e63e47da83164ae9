"""What looks at more than one frame: noise for a whole clip, cross-frame attention and smoothers; tiles beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sakuga.errors import JobError
from sakuga.render.studio import Studio
from sakuga.spec.job import Job

QUICK: dict[str, Any] = {"motion": "none", "controls": ["tile:0.6"], "steps": 2, "strength": 0.8}
WHOLE = QUICK | {"noise": "diffsynth1"}


def test_noise_of_the_whole_clip_crosses_cuts_and_says_so(draw: Any, sources: Mapping[str, Path]) -> None:
    drawn = draw(sources["two shots"], WHOLE)
    assert (drawn.report.clip["cuts"], drawn.report.clip["spans"]) == ([], 1)
    assert any("across any cuts" in note.reason for note in drawn.report.notes if note.what == "clip")
    assert draw(sources["two shots"], QUICK | {"noise": "frame"}).report.clip["spans"] == 2


def test_noise_of_the_whole_clip_is_refused_for_a_longer_one_at_check(
    studio: Studio, sources: Mapping[str, Path]
) -> None:
    job = Job(source=sources["pictures"], stages=[WHOLE], span=5, output="never")
    with pytest.raises(JobError) as caught:
        studio.check(job)
    told = str(caught.value)
    assert told.startswith("stages.0.noise:") and "6 frames, span 5" in told and "span: 6" in told
    assert studio.check(job.model_copy(update={"frames": (1, 6)})).stages[0]["noise"] == "diffsynth1"


def test_without_motion_all_frames_start_from_one_noise(draw: Any, made: Any) -> None:
    still = made.picture("000.png").read_bytes()
    folder = made.folder / "one picture"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(still)
    frames = draw(folder, WHOLE).frames
    assert np.abs(frames[1:] - frames[:-1]).max() <= 1


def test_frames_that_look_at_each_other_come_out_otherwise(draw: Any, sources: Mapping[str, Path]) -> None:
    cross = WHOLE | {"cross_frame": True, "window": 4, "stride": 2}
    source = sources["two shots"]
    plain, whole, alone = (draw(source, stage) for stage in (WHOLE, cross, cross | {"frames_at_once": 1}))
    assert alone.apart(plain).max() <= 1, "one at a time there is nobody to look at"
    assert whole.apart(plain).mean() > 10 * alone.apart(plain).mean(), "more than rounding, however the weights are"
    assert whole.apart(plain).any()


def test_tiles_cover_a_picture_of_any_shape(draw: Any, made: Any) -> None:
    source = made.pictures(2, "large", size=(150, 90))
    whole = draw(source, QUICK | {"noise": "frame"})
    tiled = draw(source, QUICK | {"noise": "frame", "tile": 8, "tile_stride": 5})
    assert tiled.frames.shape == whole.frames.shape and tiled.apart(whole).max() > 1
    assert tiled.apart(whole).mean() < 40


def test_a_tile_larger_than_the_picture_changes_no_bit_and_is_told(draw: Any, sources: Mapping[str, Path]) -> None:
    fields = QUICK | {"noise": "frame"}
    whole, tiled = draw(sources["pictures"], fields), draw(sources["pictures"], fields | {"tile": 64})
    assert np.array_equal(whole.frames, tiled.frames)
    assert any(note.what == "stages.0.tile" for note in tiled.report.notes)


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Darkens every frame by a half, and keeps what it was given."""

    seen: list[Any]
    name: str = "halving"

    def read(self, given: Iterable[tuple[str, Any]], place: str) -> SimpleNamespace:
        return SimpleNamespace(**dict(given))

    def hint(self) -> str | None:
        return None

    def smooth(
        self, frames: Sequence[Any], guides: Sequence[Any], options: SimpleNamespace, seed: int, device: object
    ) -> Iterator[Any]:
        self.seen.append((list(frames), list(guides), vars(options), seed))
        yield from (frame // 2 for frame in frames)


@pytest.fixture
def halving(monkeypatch: pytest.MonkeyPatch) -> Halving:
    smoother = Halving(seen=[])
    monkeypatch.setattr("sakuga.render.check.find_smoother", lambda name: smoother)
    return smoother


SMOOTH = QUICK | {"noise": "frame", "smoothers": ["halving:by=2"]}


def test_finished_frames_are_smoothed_with_the_source_as_guide(
    draw: Any, sources: Mapping[str, Path], halving: Halving
) -> None:
    plain = draw(sources["pictures"], QUICK | {"noise": "frame"})
    drawn = draw(sources["pictures"], SMOOTH | {"smooth_at": [-1]}, seed=0)
    assert np.array_equal(drawn.frames, plain.frames // 2)
    ((frames, guides, options, seed),) = halving.seen
    assert options == {"by": 2} and seed == 0
    assert np.array_equal(np.stack(frames), plain.frames)
    assert guides[0].shape == frames[0].shape and len(guides) == 6


def test_several_smoothers_run_one_after_the_other(draw: Any, sources: Mapping[str, Path], halving: Halving) -> None:
    plain = draw(sources["pictures"], QUICK | {"noise": "frame"})
    twice = draw(sources["pictures"], SMOOTH | {"smooth_at": [-1], "smoothers": ["halving", "halving"]})
    assert np.array_equal(twice.frames, plain.frames // 4)


def test_the_clean_estimate_of_a_step_is_smoothed(draw: Any, sources: Mapping[str, Path], halving: Halving) -> None:
    plain = draw(sources["pictures"], QUICK | {"noise": "frame"})
    drawn = draw(sources["pictures"], SMOOTH | {"smooth_at": [0]})
    assert drawn.frames.mean() < plain.frames.mean() - 1
    ((frames, guides, _, _),) = halving.seen
    assert len(frames) == len(guides) == 6 and frames[0].shape == guides[0].shape


def test_the_guides_of_a_second_stage_are_the_clip_s_own_frames(
    draw: Any, sources: Mapping[str, Path], halving: Halving
) -> None:
    first, second = QUICK | {"noise": "frame", "adapters": ["celcomic:1"]}, SMOOTH | {"smooth_at": [-1]}
    draw(sources["pictures"], second)
    draw(sources["pictures"], first, second)
    assert all(np.array_equal(a, b) for a, b in zip(halving.seen[0][1], halving.seen[1][1], strict=True))


def test_smoothers_that_have_no_time_to_run_change_nothing(
    draw: Any, sources: Mapping[str, Path], halving: Halving
) -> None:
    drawn, plain = draw(sources["pictures"], SMOOTH), draw(sources["pictures"], QUICK | {"noise": "frame"})
    assert np.array_equal(drawn.frames, plain.frames) and not halving.seen
    assert any(note.what == "stages.0.smoothers" for note in drawn.report.notes)
    late = draw(sources["pictures"], SMOOTH | {"smooth_at": [2]})
    assert np.array_equal(late.frames, plain.frames) and not halving.seen


def test_spans_that_are_smoothed_share_frames(draw: Any, sources: Mapping[str, Path], halving: Halving) -> None:
    draw(sources["pictures"], SMOOTH | {"smooth_at": [-1]}, span=4)
    assert [len(frames) for frames, *_ in halving.seen] == [4, 3]


@pytest.mark.parametrize("smoother", ["light", "fastblend:mode=balanced:window=1:iterations=2"])
def test_the_smoothers_of_the_package_run_at_steps_and_on_finished_frames(
    draw: Any, sources: Mapping[str, Path], smoother: str
) -> None:
    fields = QUICK | {"noise": "frame"}
    plain = draw(sources["pictures"], fields, frames=(0, 3))
    runs = [
        draw(sources["pictures"], fields | {"smoothers": [smoother], "smooth_at": times}, frames=(0, 3))
        for times in ([-1], [0], [0, -1], [0, -1])
    ]
    finished, step, both, again = (run.frames for run in runs)
    assert np.array_equal(both, again)
    assert all(run.apart(plain).max() > 1 for run in runs)
    assert not np.array_equal(finished, both) and not np.array_equal(step, both)
