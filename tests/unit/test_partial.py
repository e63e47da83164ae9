"""What a run that was killed has left is cleared away by the next one, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

KILLED = """
import sys, time
from pathlib import Path
from sakuga.video.read import open_clip
from sakuga.video.write import ClipWriter
with open_clip(Path(sys.argv[1])) as clip, ClipWriter(Path(sys.argv[2]), clip, 32, 24) as writer:
    writer.write(next(clip.frames()))
    print("begun", flush=True)
    time.sleep(600)
"""
Copied = Callable[..., tuple[str, ...]]


@pytest.mark.skipif(os.name == "nt", reason="whether a process lives cannot be asked there")
def test_what_a_killed_run_left_is_removed_and_named(tmp_path: Path, film: Callable[..., Path], copied: Copied) -> None:
    source, output = film(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    words = [sys.executable, "-c", KILLED, str(source), str(output)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None and run.stdout.readline() == "begun\n"
        run.kill()
    (stale,) = (path.name for path in tmp_path.glob(".*"))
    mine = f"-{run.pid}."
    assert mine in stale
    kept = {stale.replace(mine, f"-{os.getppid()}."), stale.replace(".b.mp4.", ".b.mp4.far-"), f".c{stale[2:]}"}
    for name in kept:
        (tmp_path / name).write_text("of a run that goes on, of another machine, of another output")
    pictures = stale.replace(mine, f"{mine[:-1]}0000000.")
    (tmp_path / pictures).mkdir()
    (tmp_path / pictures / "000000.png").write_text("a folder of pictures leaves a folder")
    reason = "which a run that was killed had left, is removed"
    assert copied(source, output) == (f"{stale}, {reason}", f"{pictures}, {reason}")
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4", *kept}


def test_a_long_name_in_any_script_can_be_written(tmp_path: Path, film: Callable[..., Path], copied: Copied) -> None:
    name = "漫" * 80 + ".mp4"
    copied(film(tmp_path / "a.mp4"), tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", name}
