"""Many clips: folders and lists of them, files of many jobs, names of results, and what stops and what does not."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from sakuga.cli.main import main
from sakuga.errors import ClipError, JobError, SakugaError, Several, error_of
from sakuga.progress import Progress
from sakuga.render.many import VIDEO_SUFFIXES, alike, each, placed, videos_in, without_results
from sakuga.report import Report
from sakuga.spec.job import Job
from sakuga.spec.load import Written, make_job
from sakuga.spec.many import Listed, read_jobs

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
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def jobs_of(text: str, *flags: str) -> list[Job]:
    Path("jobs.yaml").write_text(text)
    return [written.job for written in placed(read_jobs(Path("jobs.yaml"), flags))]


def refused(text: str, *flags: str) -> SakugaError:
    with pytest.raises(SakugaError) as caught:
        jobs_of(text, *flags)
    return caught.value


def test_a_file_of_many_jobs_is_a_base_and_what_differs() -> None:
    first, second, third = jobs_of(JOBS)
    same = {"seed": 7, "stages": [{"steps": 4, "adapters": ["ink"]}]}
    assert first == Job(source="a.mp4", output="out/a-toon.mp4", **same)
    stage = {"steps": 4, "adapters": ["ink"], "prompt": "flat colours"}
    assert second == Job(source="b.mp4", output="out/b-toon.mp4", seed=3, stages=[stage])
    assert third == Job(source="c.mp4", output="special.mov", seed=7, stages=[{"steps": 9}])
    assert Path("out").is_dir()


def test_flags_come_over_all_of_them() -> None:
    jobs = jobs_of(JOBS, "stages.0.steps=2", "output=elsewhere")
    assert [job.stages[0].steps for job in jobs] == [2, 2, 2]
    assert [str(job.output) for job in jobs] == [f"elsewhere/{name}-toon.mp4" for name in "abc"]


def test_a_path_is_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    Path("sub").mkdir()
    Path("sub/a.mp4").touch()
    Path("sub/jobs.json").write_text('{"clips": ["a.mp4", "b.mp4"]}')
    found = [str(one.written.job.source) for one in read_jobs(Path("sub/jobs.json"))]
    assert found == ["sub/a.mp4", "b.mp4"]


def test_the_second_stage_of_a_preset_can_be_changed_for_one_clip() -> None:
    text = "base: {preset: diffutoon-edit, base: starter}\nclips: [a.mp4, {source: b.mp4, stages.1.steps: 3}]"
    plain, changed = jobs_of(text)
    assert len(plain.stages) == len(changed.stages) == 2
    assert changed.stages[1].steps == 3 != plain.stages[1].steps


@pytest.mark.parametrize(
    ("text", "title", "where", "nearest"),
    [
        ("clips: [a.mp4]\nbse: {}", "there is no 'bse' here", "jobs.yaml, line 2", "base"),
        ("clips: [a.mp4]\nseed: 3", "'seed' belongs into base", "jobs.yaml, line 2", None),
        ("source: a.mp4", "'source' belongs into base", "jobs.yaml, line 1", None),
        ("base: {}", "there are no clips", "jobs.yaml, line 1", None),
        ("clips: []", "there are no clips", "jobs.yaml, line 1", None),
        ("base: 3\nclips: [a.mp4]", "base is not a job", "jobs.yaml, line 1", None),
        ("clips:\n - a.mp4\n - 3", "this is no clip", "jobs.yaml, line 3", None),
        ("clips:\n - a.mp4\n - seed: 3", "this is needed and not there", "jobs.yaml, line 3", None),
        ("clips:\n - {source: a.mp4,\n    sed: 3}", "no field is called sed", "jobs.yaml, line 3", "seed"),
        ("clips:\n - source: a.mp4\n   seed: -3", "outside its range", "jobs.yaml, line 3", None),
        ("base: {sed: 3}\nclips: [a.mp4, b.mp4]", "there is no 'sed' here", "jobs.yaml, line 1", "seed"),
        ("base: {output: x.mp4}\nclips: [a.mp4, b.mp4]", "many clips have no place in one file", "line 1", "x"),
    ],
)
def test_what_is_wrong_in_it_is_told_once_with_its_line(text: str, title: str, where: str, nearest: str | None) -> None:
    error = refused(text)
    assert not isinstance(error, Several), error
    assert error.title == title
    assert where in f"{error.given} {error.do}"
    assert error.nearest == nearest


def test_mistakes_of_several_clips_are_told_together() -> None:
    error = refused("clips:\n - {source: a.mp4, seed: -1}\n - {source: b.mp4, stages.0.steps: 0}")
    assert isinstance(error, Several)
    assert [finding.place for finding in error.findings] == ["seed", "stages.0.steps"]
    error = refused("clips:\n - {source: a.mp4, sed: 1, stages.0.stepz: 3, size: 0}")
    assert isinstance(error, Several)
    assert [finding.nearest for finding in error.findings] == ["seed", "stages.0.steps", None]


def test_a_file_of_many_jobs_in_the_place_of_a_job_says_how_to_give_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.yaml").write_text("clips: [a.mp4]")
    assert main(["render", "jobs.yaml"]) == 2
    assert "sakuga render --jobs jobs.yaml" in capsys.readouterr().err


def listed(*sources: str, output: str | None = "out") -> list[Listed]:
    flags = [f"output={output}"] if output else []
    shared = frozenset({"output", "pictures"})
    return [Listed(written=make_job(source, flags), shared=shared) for source in sources]


def test_two_clips_of_one_name_are_told() -> None:
    with pytest.raises(JobError, match=r"two clips would write to one place: out/x-toon\.mp4") as caught:
        placed(listed("a/x.mp4", "b/x.mp4"))
    assert caught.value.given == "a/x.mp4 and b/x.mp4"


def test_a_picture_and_a_video_of_one_name_would_share_their_report() -> None:
    with pytest.raises(JobError, match="two clips would write to one place"):
        placed(listed("x.mp4", "x.png"))


def test_each_clip_has_its_own_folder_of_pictures() -> None:
    given = [make_job(f"{name}.mp4", ["pictures=frames"]) for name in "ab"]
    done = placed([Listed(written=one, shared=frozenset({"pictures"})) for one in given])
    assert [str(one.job.pictures) for one in done] == ["frames/a-toon", "frames/b-toon"]
    assert Path("frames").is_dir()


def test_a_folder_holds_videos_only_if_it_holds_no_pictures() -> None:
    for name in ("clips", "mixed"):
        Path(name).mkdir()
        for file in ("c10.mp4", "c2.MOV", "notes.txt", ".hidden.mp4"):
            Path(name, file).touch()
    Path("mixed/0.png").touch()
    assert [path.name for path in videos_in(Path("clips"))] == ["c2.MOV", "c10.mp4"]
    assert videos_in(Path("mixed")) == videos_in(Path("clips/c2.MOV")) == videos_in(Path("nowhere")) == []
    assert len(set(VIDEO_SUFFIXES)) == len(VIDEO_SUFFIXES)


def test_rendering_a_folder_into_itself_twice_does_not_render_the_results() -> None:
    given = listed("d/a.mp4", "d/a-toon.mp4", "d/a-toon-stopped-2.mp4", "d/b.mp4", output="d")
    kept, left = without_results(given)
    assert [str(one.written.job.source) for one in kept] == ["d/a.mp4", "d/b.mp4"]
    assert [str(path) for path in left] == ["d/a-toon.mp4", "d/a-toon-stopped-2.mp4"]


def written(*names: str) -> list[Written]:
    return placed(listed(*(f"{name}.mp4" for name in names)))


def test_a_failure_stops_none_of_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    errors = {"b": ClipError("cut off"), "c": PermissionError(13, "Permission denied", "x"), "d": RuntimeError("bug")}

    def draw(one: Written, progress: Progress) -> Report:
        if one.job.source.stem in errors:
            raise errors[one.job.source.stem]
        return Report(status="rendered")

    found = list(each(written(*"abcde"), draw, Progress(), lambda: nullcontext(lambda moment: None)))
    assert [one.status for one in found] == ["rendered", "failed", "failed", "failed", "rendered"]
    told = [str(one.error) for one in found[1:4]]
    assert ["cut off" in told[0], "the system refuses" in told[1], "RuntimeError: bug" in told[2]] == [True] * 3
    assert "Traceback" in capsys.readouterr().err


def test_after_a_stop_the_rest_is_named_as_not_begun() -> None:
    progress = Progress()

    def draw(one: Written, progress: Progress) -> Report:
        if one.job.source.stem == "b":
            progress.stop()
            progress.check()
        return Report(status="rendered")

    found = list(each(written(*"abcd"), draw, progress, lambda: nullcontext(lambda moment: None)))
    assert [one.status for one in found] == ["rendered", "stopped", "not begun", "not begun"]
    assert found[3].as_json()["source"] == "d.mp4"


def test_an_error_goes_into_json_and_back() -> None:
    one = ClipError("cut off", given="2 bytes", do="copy it again").at("source")
    both = Several([one, JobError("no")])
    for error in (one, both):
        again = error_of(json.loads(json.dumps(error.parts())))
        assert (type(again), again.told()) == (type(error), error.told())
    assert error_of([{"kind": "FromTheFuture", "title": "x"}]).told() == "SakugaError: x"


def test_errors_that_say_the_same_are_told_once() -> None:
    found = alike([("a", JobError("x")), ("b", JobError("y")), ("c", JobError("x"))])
    assert [(names, error.title) for names, error in found] == [(["a", "c"], "x"), (["b"], "y")]
