"""Two clips and a broken one between them, really rendered: by one command, by a queue, and one of them alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sakuga.cli.main import main

FLAGS = ["--size", "48x32", "--steps", "2", "--frames", "0:2"]


def test_two_clips_are_rendered_and_the_broken_one_between_them_is_told(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made.film("a.mp4")
    made.film("c.mp4", sound=False)
    Path("b.mp4").write_bytes(Path("a.mp4").read_bytes()[:900])
    clips = ["a.mp4", "b.mp4", "c.mp4"]
    assert main(["render", *clips, *FLAGS, "-o", "out", "--json"]) == 1
    out, told = capsys.readouterr()
    first, broken, last = json.loads(out)
    assert [one["status"] for one in (first, broken, last)] == ["rendered", "failed", "rendered"]
    assert broken["errors"][0]["place"] == "source"
    assert "failed: b.mp4\nClipError: source: b.mp4 is cut off" in told
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a-toon.mp4", "a-toon.report.json", "c-toon.mp4", "c-toon.report.json",
    ]  # fmt: skip

    assert main(["queue", "add", *clips, *FLAGS, "-o", "out"]) == 0
    assert main(["queue", "run", "--json"]) == 1
    again = json.loads(capsys.readouterr().out.partition("renders them\n")[2])
    assert [one["status"] for one in again] == ["there already", "failed", "there already"]
    assert [one.get("output_sha256") for one in again] == [first["output_sha256"], None, last["output_sha256"]]

    assert main(["render", "c.mp4", *FLAGS, "-o", "alone.mp4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output_sha256"] == last["output_sha256"]
