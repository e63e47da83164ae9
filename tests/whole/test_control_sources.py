"""What a control is drawn from: what the stage works on, the job's own clip, or another clip that has to go with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sakuga.errors import JobError, OutputError, Several
from sakuga.render.studio import Studio
from sakuga.spec.job import Job

QUICK: dict[str, Any] = {"motion": "none", "noise": "zero", "steps": 1}


def tile(**fields: Any) -> dict[str, Any]:
    return QUICK | {"controls": [{"kind": "tile", **fields}]}


@pytest.fixture
def other(made: Any) -> Path:
    """Ten frames of another scene, of another size and the same shape as ``sources``."""
    folder: Path = made.pictures(10, "other", size=(128, 96), cut=0)
    return folder


def findings(studio: Studio, source: Path, control: dict[str, Any], **job: Any) -> str:
    with pytest.raises((JobError, Several)) as caught:
        studio.check(Job(source=source, stages=[tile(**control)], output="never", **job))
    return str(caught.value)


def test_a_control_is_drawn_from_its_own_clip_frame_by_frame(
    draw: Any, sources: Mapping[str, Path], other: Path
) -> None:
    own = draw(sources["pictures"], tile())
    drawn = draw(sources["pictures"], tile(source=other, frames="2:8"))
    assert own.apart(drawn).max() > 10
    exchanged = draw(other, tile(source=sources["pictures"]), frames=(2, 8), size="64x48")
    assert exchanged.apart(own).max() <= 1, "at strength 1 nothing else comes from the source"
    assert drawn.report.clip["controls"][0]["first_frame"] == 2


def test_frames_go_together_from_the_first_of_each(draw: Any, sources: Mapping[str, Path], other: Path) -> None:
    whole = draw(sources["pictures"], tile(source=other, frames="4:10"))
    part = draw(sources["pictures"], tile(source=other, frames="6:8"), frames=(2, 4))
    assert part.apart(whole.frames[2:4]).max() <= 1
    spans = draw(sources["pictures"], tile(source=other, frames="4:10"), span=2)
    assert spans.apart(whole).max() <= 1


def test_a_second_stage_may_look_at_the_clip_or_at_the_first_stage(draw: Any, sources: Mapping[str, Path]) -> None:
    first = tile() | {"adapters": ["celcomic:1"]}
    stage, clip = (draw(sources["pictures"], first, tile(source=source)) for source in ("stage", "clip"))
    alone = draw(sources["pictures"], tile())
    assert clip.apart(alone).max() <= 1, "as if there were no first stage"
    assert stage.apart(clip).max() > 3
    branch = draw(sources["pictures"], first)
    assert draw(sources["pictures"], tile(source=branch.output)).apart(stage).max() <= 1


def test_a_count_that_differs_is_told_with_the_frames_to_choose(
    studio: Studio, sources: Mapping[str, Path], other: Path
) -> None:
    told = findings(studio, sources["pictures"], {"source": other})
    assert "10 frames of other" in told and "6 of the source" in told
    assert "stages.0.controls.0.frames" in told and "nearest   frames: 0:6" in told
    told = findings(studio, sources["pictures"], {"source": other}, frames=(2, 5))
    assert "nearest   frames: 2:5" in told


def test_frames_that_are_not_there_are_told_at_the_control(
    studio: Studio, sources: Mapping[str, Path], other: Path
) -> None:
    told = findings(studio, sources["pictures"], {"source": other, "frames": "6:12"})
    assert "stages.0.controls.0.frames: the clip does not have these frames" in told and "0:10" in told


def test_another_shape_is_told_with_the_way_to_cut_it(draw: Any, studio: Studio, made: Any) -> None:
    """Unequal sizes of the two clips ended in a tensor error in the middle of a run."""
    source, wide = made.pictures(2, "a", size=(64, 48)), made.pictures(2, "b", size=(96, 48))
    told = findings(studio, source, {"source": wide})
    assert "stages.0.controls.0.source" in told and "b is 96x48, the job 64x48" in told and "crop" in told
    assert draw(source, tile(source=wide), size="64x48", crop=True).frames.shape == (2, 48, 64, 3)


def test_a_clip_that_is_missing_is_told_beside_everything_else(studio: Studio, sources: Mapping[str, Path]) -> None:
    with pytest.raises(Several) as caught:
        studio.check(Job(source=sources["pictures"], stages=[tile(source="nowhere.mp4") | {"vae": "none such"}]))
    assert "stages.0.controls.0: there is no file nowhere.mp4" in str(caught.value)
    assert "stages.0.vae" in str(caught.value)


def test_frames_of_a_control_without_a_clip_of_its_own_are_refused() -> None:
    with pytest.raises(JobError, match="takes the frames that the job takes"):
        Job(source="clip.mp4", stages=[tile(frames="0:4")])


def test_no_output_may_be_a_clip_that_the_job_reads(studio: Studio, sources: Mapping[str, Path], other: Path) -> None:
    job = Job(source=sources["pictures"], stages=[tile(source=other, frames="0:6")], output=other, overwrite=True)
    with pytest.raises((JobError, OutputError)):
        studio.render(job)
    for folder in (sources["pictures"], other):
        beside = job.model_copy(update={"output": other.with_name("toon.mp4"), "pictures": folder})
        with pytest.raises(OutputError, match=r"the source itself|files that the job reads"):
            studio.render(beside)
    assert len(list(other.iterdir())) == 10


def test_another_clip_for_a_control_is_another_result(draw: Any, sources: Mapping[str, Path], made: Any) -> None:
    """The file's name is the same, its frames are not: what was rendered before must not count as finished."""
    clip = made.pictures(6, "colours")
    before = draw(sources["pictures"], tile(source=clip))
    (clip / "000.png").write_bytes((clip / "005.png").read_bytes())
    after = draw(sources["pictures"], tile(source=clip))
    assert before.report.key != after.report.key


def test_demo_may_be_the_source_of_a_control(studio: Studio) -> None:
    report = studio.check(
        Job(source="demo", stages=[tile(source="demo", frames="0:4")], frames=(4, 8), output="never.mp4")
    )
    assert report.clip["controls"][0]["path"].endswith("demo.mp4")


def test_odd_sizes_of_both_clips_come_back_at_the_user_s(draw: Any, made: Any) -> None:
    """DiffSynth 1.x took multiples of 64 alone, and padded the latents but no picture."""
    source, other = made.pictures(2, "a", size=(50, 38)), made.pictures(2, "b", size=(100, 76))
    frames = draw(source, tile(source=other)).frames
    assert frames.shape == (2, 38, 50, 3) and np.ptp(frames) > 0
