"""kill -9 in every stage of a render, then the same command again: the very file of an uninterrupted run."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.whole.forked import killed_at, no_trace, rendered

from sakuga.render.studio import Studio
from sakuga.spec.job import Job

STAGE: dict[str, Any] = {
    "prompt": "ink", "steps": 2, "strength": 0.6, "motion": "none", "controls": ["tile"], "smoothers": ["light"],
    "smooth_at": [-1],
}  # fmt: skip
SPANS = 4

# what a run does, the function that does it, the call at which it is killed, and how many Spans are kept by then
PLACES = {
    "decode": ("sakuga.render.reads:Reader.sized", 7, 1),
    "annotate": ("sakuga.render.stage:_control", 2, 1),
    "denoise": ("sakuga.render.stage:predict", 2, 1),
    "smooth": ("sakuga.render.smoothing:Smoothed.pictures", 3, 2),
    "store": ("sakuga.render.store:SpanWriter.write", 3, 1),
    "store, at its end": ("sakuga.whole:_take_place", 6, 2),
    "encode": ("sakuga.video.encode:VideoSink.write", 4, 2),
    "mux": ("sakuga.video.encode:VideoSink._mux_last", 1, SPANS),
    "report": ("sakuga.report:Report.save", 1, SPANS),
    "the last word": ("sakuga.render.work:WorkFolder.done", 1, SPANS),
}


@pytest.fixture(scope="module")
def warm(studio: Studio, film: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, bytes]:
    """A Job, and the bytes that it gives when nobody disturbs it; models are loaded then."""
    folder = tmp_path_factory.mktemp("twin")
    job = Job(source=film, stages=[STAGE], output=folder / "toon.mp4", span=2)
    studio.render(job.model_copy(update={"output": folder / "warm.mp4"}))
    assert rendered(studio, job) == 0
    return job, (folder / "toon.mp4").read_bytes()


@pytest.fixture(scope="module")
def film(sources: Any) -> Path:
    path: Path = sources["uneven"]
    return path


@pytest.mark.parametrize("place", PLACES)
def test_killed_and_run_again(
    warm: tuple[Job, bytes], studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    whole, twin = warm
    monkeypatch.setattr(studio, "_work", tmp_path / "work")
    monkeypatch.setattr(studio, "_reuse", True)
    (tmp_path / "out").mkdir()
    job = whole.model_copy(update={"output": tmp_path / "out" / "toon.mp4"})
    function, call, least = PLACES[place]
    assert killed_at(function, call, studio, job) == -signal.SIGKILL
    if place not in ("report", "the last word"):
        assert no_trace(tmp_path / "out", tmp_path / "out" / "toon.mp4")
    report = studio.check(job.model_copy(update={"overwrite": True}))
    assert report.status == "checked"
    done = studio.render(job)
    if place in ("report", "the last word"):
        assert done.status == "there already", "the output was whole when the run was killed"
    else:
        assert done.work["spans"] == SPANS and least <= done.work["found"] <= SPANS
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["toon.mp4", "toon.report.json"]
    assert hashlib.sha256((tmp_path / "out" / "toon.mp4").read_bytes()).digest() == hashlib.sha256(twin).digest()


def test_a_changed_job_draws_only_what_the_change_touches(
    studio: Studio, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio, "_work", tmp_path / "work")
    monkeypatch.setattr(studio, "_reuse", True)
    stages = [STAGE | {"smoothers": []}, {"prompt": "ink", "steps": 1, "motion": "none", "controls": ["tile"]}]
    job = Job(source=film, stages=stages, output=tmp_path / "a.mp4", span=4)
    calls: list[str] = []
    import sakuga.render.run as run

    before = run.render_span

    def counted(stage: Any, *words: Any, **named: Any) -> Any:
        calls.append(stage.settings.prompt)
        return before(stage, *words, **named)

    monkeypatch.setattr(run, "render_span", counted)

    def drawn(**changes: Any) -> list[str]:
        calls.clear()
        studio.render(job.model_copy(update={"output": tmp_path / f"{len(list(tmp_path.iterdir()))}.mp4"} | changes))
        return list(calls)

    assert drawn() == ["ink"] * 4
    assert drawn() == [], "nothing changed but the name"
    other = job.stages[1].model_copy(update={"prompt": "red"})
    assert drawn(stages=(job.stages[0], other)) == ["red"] * 2, "the second stage alone"
    assert drawn(frames=(0, 4)) == [], "a part of what is there"
    assert drawn(fps=6.0) == [], "shown slower"
    assert drawn(seed=1) == ["ink"] * 4
    assert drawn() == [], "and what was there is still there"


def test_a_job_without_stages_gives_the_frames_as_they_are(draw: Any, sources: Any, made: Any, tmp_path: Path) -> None:
    from sakuga.video.pictures import read_picture

    source = sources["pictures"]
    with Studio(work=tmp_path / "work") as studio:
        report = studio.render(Job(source=source, stages=[], output=tmp_path / "same"))
    assert [read_picture(path).tolist() for path in sorted((tmp_path / "same").iterdir())] == [
        read_picture(path).tolist() for path in sorted(source.iterdir())
    ]
    assert report.models == [] and any("no model is used" in note.reason for note in report.notes)


def test_killed_between_the_output_and_the_folder_of_its_pictures(
    warm: tuple[Job, bytes], studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, twin = warm
    monkeypatch.setattr(studio, "_work", tmp_path / "work")
    monkeypatch.setattr(studio, "_reuse", True)
    job = whole.model_copy(update={"output": tmp_path / "toon.mp4", "pictures": tmp_path / "frames"})
    assert killed_at("sakuga.video.stills:NumberedPictures.__exit__", 1, studio, job) == -signal.SIGKILL
    assert (tmp_path / "toon.mp4").exists() and not (tmp_path / "frames").exists()
    assert studio.render(job).status == "rendered"
    assert len(list((tmp_path / "frames").iterdir())) == 8 and (tmp_path / "toon.mp4").read_bytes() == twin
