"""``sakuga queue`` as it is typed: what goes in, what is listed, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.recorded import in_the_place_of_the_studio

from sakuga.cli.main import main
from sakuga.spec.job import Job


@pytest.fixture(autouse=True)
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What a Studio that draws nothing is asked for; an empty queue beside it."""
    monkeypatch.setenv("SAKUGA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return in_the_place_of_the_studio(monkeypatch).jobs


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert main(["queue", *words]) == status
    out, told = capsys.readouterr()
    return out if status == 0 else out + told


def test_what_is_added_is_listed_rendered_and_tried_again(
    drawn: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added = said(capsys, "add", "a.mp4", "--seed", "5", "bad.mp4", "-o", "out")
    assert added.count("added: ") == 2
    assert "2 waiting" in said(capsys, "list")
    told = said(capsys, "run", status=1)
    assert ["rendered: " in told, "2 clips: 1 rendered, 1 failed" in told, "ClipError: source: cut off" in told] == [
        True, True, True,
    ]  # fmt: skip
    assert [(job.source, job.output, job.seed) for job in drawn] == [
        (tmp_path / f"{name}.mp4", tmp_path / f"out/{name}-toon.mp4", 5) for name in ("a", "bad")
    ]
    listed = json.loads(said(capsys, "list", "--state", "failed", "--json"))
    [row] = listed["jobs"]
    assert (listed["schema"], row["number"], row["errors"][0]["title"], row["tries"]) == (1, 2, "cut off", 1)
    assert "failed: 2 " in said(capsys, "list")
    assert "waiting" in said(capsys, "retry")
    assert "cancelled" in said(capsys, "cancel", "bad.mp4")
    assert "waiting" in said(capsys, "retry", "2")
    said(capsys, "run", status=2)
    assert [job.source.stem for job in drawn] == ["a", "bad", "bad"]


def test_relative_paths_are_those_of_the_place_where_the_job_was_added(
    drawn: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("models", "elsewhere", "loras"):
        Path(folder).mkdir()
    Path("loras/ink.safetensors").touch()
    words = ["--lora", "loras/ink.safetensors:0.5", "--lora", "celcomic", "--pictures", "frames"]
    said(capsys, "add", "a.mp4", *words)
    said(capsys, "add", "demo", "-o", "demo.mp4")
    monkeypatch.chdir("elsewhere")
    said(capsys, "run")
    job = drawn[0]
    assert (job.source, job.output, job.pictures, job.models) == (
        tmp_path / "a.mp4", tmp_path / "a-toon.mp4", tmp_path / "frames", (tmp_path / "models",),
    )  # fmt: skip
    assert [use.file for use in job.stages[0].adapters] == [str(tmp_path / "loras/ink.safetensors"), "celcomic"]
    assert (drawn[1].source, drawn[1].output) == (Path("demo"), tmp_path / "demo.mp4")


def test_a_file_of_many_jobs_goes_into_a_queue_of_its_own(drawn: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.yaml").write_text("base: {seed: 2}\nclips: [a.mp4, {source: b.mp4, seed: 3}]")
    assert "--queue own.sqlite3" in said(capsys, "add", "--jobs", "jobs.yaml", "--queue", "own.sqlite3")
    assert "0 in " in said(capsys, "list")
    said(capsys, "run", "--queue", "own.sqlite3")
    assert [job.seed for job in drawn] == [2, 3]


def test_a_queue_with_nothing_in_it_is_done_at_once(drawn: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "run") == ""
    assert said(capsys, "run", "--json") == "[]\n"
    assert "nothing to change" in said(capsys, "retry")
    assert said(capsys).startswith("usage: sakuga queue")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add"], "the following arguments are required: INPUT"),
        (["add", "a.mp4", "--stepz", "3"], "--steps"),
        (["cancel"], "it is not clear which jobs are meant"),
        (["cancel", "1", "--all"], "it is not clear which jobs are meant"),
        (["cancel", "1"], "the queue has no such job"),
        (["list", "--state", "don"], "done"),
        (["rnu"], "run"),
        (["list", "--queue", "jobs.yaml"], "is no queue"),
    ],
)
def test_mistakes_are_told(capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    Path("jobs.yaml").write_text("base: {seed: 2}\nclips: [a.mp4, {source: b.mp4, seed: 3}]\n" * 9)
    error = said(capsys, *words, status=2)
    assert told in error
    assert "Traceback" not in error
