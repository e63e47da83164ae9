"""Many clips as they are typed: which are rendered, what is told of each, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.recorded import Drawn, in_the_place_of_the_studio

from sakuga.cli.main import main
from sakuga.spec.job import Job

JOBS = """\
base:
  seed: 7
  stages: [{steps: 4, adapters: [ink]}]
  output: out
clips:
  - a.mp4
  - {source: b.mp4, seed: 3, stages.0.prompt: flat colours}
  - source: c.mp4
    stages: [{steps: 9}]
    output: special.mov
"""


@pytest.fixture(autouse=True)
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    monkeypatch.chdir(tmp_path)
    return in_the_place_of_the_studio(monkeypatch)


def test_clips_before_and_behind_flags_are_all_rendered_by_one_studio(studio: Drawn) -> None:
    assert main(["render", "--steps", "3", "a.mp4", "b.png", "-o", "out", "c.mp4", "--seed", "5", "d.mp4"]) == 0
    assert [str(job.output) for job in studio.jobs] == ["out/a-toon.mp4", "out/b-toon.png", *(
        f"out/{name}-toon.mp4" for name in "cd"
    )]  # fmt: skip
    assert {(job.seed, job.stages[0].steps) for job in studio.jobs} == {(5, 3)}
    assert studio.opened == 1


def test_one_clip_is_rendered_as_ever(studio: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "a.mp4", "-o", "out.mov"]) == 0
    assert studio.jobs == [Job(source="a.mp4", output="out.mov")]
    assert capsys.readouterr().out == "rendered: out.mov\n"


def test_a_folder_of_videos_is_rendered_clip_by_clip(studio: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    Path("clips").mkdir()
    for name in ("2.mp4", "10.mkv"):
        Path("clips", name).touch()
    assert main(["render", "clips", "x.mp4", "-o", "clips"]) == 0
    assert [job.source.name for job in studio.jobs] == ["2.mp4", "10.mkv", "x.mp4"]
    Path("clips/2-toon.mp4").touch()
    assert main(["render", "clips/", "-o", "clips"]) == 0
    assert [job.source.name for job in studio.jobs[3:]] == ["2.mp4", "10.mkv"]
    assert "clips/2-toon.mp4 is left out" in capsys.readouterr().err


@pytest.mark.parametrize(("bad", "status"), [((), 0), (("b",), 1), (("a", "b", "c"), 2)])
def test_the_exit_status_says_whether_some_or_all_failed(
    studio: Drawn, capsys: pytest.CaptureFixture[str], bad: tuple[str, ...], status: int
) -> None:
    studio.bad = bad
    assert main(["render", "a.mp4", "b.mp4", "c.mp4"]) == status
    out, told = capsys.readouterr()
    assert out.count("failed: ") == len(bad)
    assert told.count("ClipError: source: cut off") == len(bad)
    assert f"3 clips: {3 - len(bad)} rendered" in told or len(bad) == 3


def test_many_clips_as_json_are_a_list_of_reports_and_errors(studio: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    studio.bad = ("b",)
    assert main(["render", "a.mp4", "b.mp4", "--json"]) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert (good["status"], good["output"]) == ("rendered", "a-toon.mp4")
    assert (bad["status"], bad["source"], bad["output"]) == ("failed", "b.mp4", "b-toon.mp4")
    assert bad["errors"][0] == {
        "kind": "ClipError", "title": "cut off", "place": "source", "given": "b.mp4", "expected": None, "nearest": None,
        "do": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["render"], "the following arguments are required: INPUT"),
        (["render", "--jobs", "jobs.yaml", "a.mp4"], "clips are named in two places"),
        (["render", "a.mp4", "b.mp4", "-o", "x.mp4"], "many clips have no place in one file"),
        (["render", "a.mp4", "b.mp4", "--steps", "0"], "outside its range"),
        (["render", "a.mp4", "--stepz", "4", "b.mp4"], "there is no option --stepz"),
        (["render", "", "a.mp4"], "source"),
        (["render", "a.mp4", "a.mp4"], "two clips would write to one place"),
    ],
)
def test_mistakes_are_told_before_any_work(
    studio: Drawn, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count(told) == 1
    assert studio.jobs == []


def test_jobs_of_a_file_are_rendered(studio: Drawn) -> None:
    Path("jobs.yaml").write_text(JOBS)
    assert main(["render", "--jobs", "jobs.yaml", "--steps", "2"]) == 0
    assert [(job.source.name, job.seed, job.stages[0].steps) for job in studio.jobs] == [
        ("a.mp4", 7, 2), ("b.mp4", 3, 2), ("c.mp4", 7, 2),
    ]  # fmt: skip
