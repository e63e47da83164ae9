"""A wish to stop ends a run within a step, from Python and by Ctrl-C; what is finished is kept, and that alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import sakuga
from sakuga.errors import OutputExists, Stopped
from sakuga.render.studio import Studio
from sakuga.spec.job import Job
from sakuga.video.read import open_clip

LONG = {"prompt": "ink", "steps": 6, "motion": "none", "controls": ["tile"]}
PATIENCE_SECONDS = 120  # for a process on a busy machine to load and begin
SOURCE = Path(sakuga.__file__).parents[1]
Names = Callable[[Path], list[str]]


@pytest.mark.parametrize("output", ["toon.mp4", "toons"])
@pytest.mark.parametrize(("task", "done"), [("load models", 0), ("look for cuts", 3), ("render", 0), ("render", 12)])
def test_a_stop_leaves_nothing(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path, stopped_at: Any, left_in: Names, output: str,
    task: str, done: int,
) -> None:  # fmt: skip
    progress, told = stopped_at(task, done)
    with pytest.raises(Stopped) as raised:
        studio.render(Job(source=sources["pictures"], stages=[LONG], output=tmp_path / output), progress=progress)
    assert (told[-1].task, told[-1].done) == (task, done) or task == "load models", "no step was taken after the wish"
    assert f"{told[-1].done} of {told[-1].total}" in str(raised.value)
    assert left_in(tmp_path) == []


def test_a_stop_keeps_the_spans_that_are_finished(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path, stopped_at: Any, left_in: Names
) -> None:
    job = Job(source=sources["uneven"], stages=[LONG], output=tmp_path / "toon.mp4", span=3)
    studio = Studio(work=tmp_path.parent / f"{tmp_path.name}-work", reuse=False)
    for name in ("toon-stopped", "toon-stopped-2"):
        progress, told = stopped_at("render", 20)  # of 48: two steps into the second Span
        with pytest.raises(Stopped, match=f"the first 3 frames are kept in {tmp_path / name}.mp4"):
            studio.render(job, progress=progress)
        assert told[-1].total == 48 and told[-1].done < 24
    assert left_in(tmp_path) == [f"toon-stopped{n}{end}" for n in ("-2", "") for end in (".mp4", ".report.json")]
    told = json.loads((tmp_path / "toon-stopped.report.json").read_text(encoding="utf-8"))
    assert (told["status"], told["output"], told["clip"]["frames_done"]) == (
        "stopped",
        str(tmp_path / "toon-stopped.mp4"),
        3,
    )
    assert studio.render(job).status == "rendered", "and the Studio can go on"
    with open_clip(tmp_path / "toon.mp4") as whole, open_clip(tmp_path / "toon-stopped.mp4") as part:
        assert (part.frame_count, part.has_audio) == (3, True)
        for one, other in zip(part.frames(), whole.frames(0, 3), strict=True):
            assert one.time == other.time
            assert abs(one.pixels.astype(int) - other.pixels).mean() < 4


def test_what_a_stop_kept_is_not_taken_for_the_whole(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path, stopped_at: Any
) -> None:
    job = Job(source=sources["pictures"], stages=[LONG], output=tmp_path / "toons", span=3)
    with pytest.raises(Stopped):
        studio.render(job, progress=stopped_at("render", 20)[0])
    assert len(list((tmp_path / "toons-stopped").iterdir())) == 3
    with pytest.raises(OutputExists):
        studio.render(job.model_copy(update={"output": tmp_path / "toons-stopped"}))


def test_a_stop_leaves_an_older_output_as_it_was(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path, stopped_at: Any, left_in: Names
) -> None:
    job = Job(source=sources["picture"], stages=[LONG], output=tmp_path / "toon.png")
    studio.render(job)
    before = {name: (tmp_path / name).read_bytes() for name in left_in(tmp_path)}
    progress, _ = stopped_at("render", 1)
    with pytest.raises(Stopped):
        studio.render(job.model_copy(update={"seed": 1, "overwrite": True}), progress=progress)
    assert {name: (tmp_path / name).read_bytes() for name in left_in(tmp_path)} == before
    assert studio.render(job).status == "there already"


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a single process")
def test_ctrl_c_ends_the_command_with_130(sources: Mapping[str, Path], tmp_path: Path, left_in: Names) -> None:
    words = ["render", str(sources["film"]), "-o", "toon.mp4", "--steps", "1000", "--motion", "none"]
    search = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))
    own_cache = {"SAKUGA_CACHE": str(tmp_path.parent / f"{tmp_path.name}-cache")}  # no test before it has seen the cuts
    with subprocess.Popen(
        [sys.executable, "-m", "sakuga", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": search} | own_cache,
    ) as run:  # fmt: skip
        try:
            assert run.stderr is not None
            lines = []
            deadline = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < deadline and not any(line.startswith("look for cuts: 8 of 8") for line in lines):
                lines.append(run.stderr.readline())
                assert lines[-1], f"it ended by itself: {lines}"
            while not any(name.endswith(".partial") for name in left_in(tmp_path)):
                assert time.monotonic() < deadline, "the output is begun"
                time.sleep(0.05)
            run.send_signal(signal.SIGINT)
            out, told = run.communicate(timeout=PATIENCE_SECONDS)
        finally:
            run.kill()  # a test that fails leaves nothing running
    assert run.returncode == 130, told
    assert out == "" and "Traceback" not in told
    assert "stopping after this step" in told and "Stopped: stopped on request" in told
    assert left_in(tmp_path) == []
