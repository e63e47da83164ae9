"""What appears whole or not at all; what a run that was killed has left is cleared away by the next one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sakuga.errors import OutputError, OutputExists
from sakuga.whole import appearing_whole, check_place, writing

WEIGHTS = "weights".__eq__
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


def test_an_error_leaves_nothing_and_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("old")
    with pytest.raises(ZeroDivisionError), appearing_whole(tmp_path / "x.safetensors", overwrite=True) as new:
        new.hidden.write_text("new")
        raise ZeroDivisionError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.safetensors", "old")]
    with appearing_whole(tmp_path / "x.safetensors", overwrite=True) as new:
        new.hidden.write_text("new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.safetensors", "new")]


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    check_place(tmp_path / "x", overwrite=False, ours=WEIGHTS)  # an empty folder is in nobody's way
    with pytest.raises(OutputError, match="not ours to replace"):
        check_place(tmp_path / "x", overwrite=True)  # but a file does not take the place of a folder
    (tmp_path / "x" / "weights").touch()
    with pytest.raises(OutputExists):
        check_place(tmp_path / "x", overwrite=False, ours=WEIGHTS)
    check_place(tmp_path / "x", overwrite=True, ours=WEIGHTS)
    (tmp_path / "x" / "mine").touch()
    with pytest.raises(OutputError, match="not ours to replace"):
        check_place(tmp_path / "x", overwrite=True, ours=WEIGHTS)
    with pytest.raises(OutputError, match="there is no folder"):
        check_place(tmp_path / "nowhere" / "x", overwrite=True)
    with pytest.raises(OutputExists), appearing_whole(tmp_path / "y", overwrite=False) as new:
        new.hidden.write_text("new")
        (tmp_path / "y").write_text("somebody was quicker")
    assert (tmp_path / "y").read_text() == "somebody was quicker"


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "there is no room"), (errno.EACCES, "no right"), (errno.EIO, "could not be")]
)
def test_what_the_system_says_is_told_in_four_parts(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(OutputError, match=words) as caught, writing(tmp_path / "x"):
        raise OSError(number, "it says no")
    assert "it says no" in str(caught.value) and "nothing half-written" in str(caught.value)


@pytest.mark.parametrize("name", [".", "/", "..", "a/.."])
def test_a_place_without_a_name_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="no name of its own") as caught:
        check_place(Path(name), overwrite=True)
    assert caught.value.given == name and caught.value.do
