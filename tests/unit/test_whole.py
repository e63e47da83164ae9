"""What appears whole or not at all; what a run that was killed has left is cleared away by the next one."""

from __future__ import annotations

import errno
import os
import platform
import re
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
KILLED_WITH_FOLDER = """
import os, sys
from pathlib import Path
from sakuga.whole import appearing_whole
final, last = Path(sys.argv[1]), int(sys.argv[2])
replace, done = Path.replace, []
def killed(self, to):
    replace(self, to)
    done.append(to)
    if len(done) == last:
        os._exit(9)
Path.replace = killed
with appearing_whole(final, overwrite=True, ours="weights".__eq__) as new:
    new.hidden.mkdir()
    (new.hidden / "weights").write_text("new")
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
    (tmp_path / "x" / "deeper").mkdir()
    (tmp_path / "x" / "deeper" / "weights").touch()
    with pytest.raises(OutputError, match="not ours to replace") as told:
        check_place(tmp_path / "x", overwrite=True, ours=WEIGHTS)
    assert "deeper/weights" in told.value.told()
    (tmp_path / "x" / "deeper" / "weights").unlink()
    (tmp_path / "x" / "mine").touch()
    with pytest.raises(OutputError, match="not ours to replace"):
        check_place(tmp_path / "x", overwrite=True, ours=WEIGHTS)
    with pytest.raises(OutputError, match="mine is a file"):
        check_place(tmp_path / "x" / "mine" / "y", overwrite=True)
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
    assert ("MB are free now" in str(caught.value)) == (number == errno.ENOSPC)
    assert "it says no" in str(caught.value) and "nothing half-written" in str(caught.value)


@pytest.mark.parametrize("name", [".", "/", "..", "a/.."])
def test_a_place_without_a_name_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="no name of its own") as caught:
        check_place(Path(name), overwrite=True)
    assert caught.value.given == name and caught.value.do


@pytest.mark.skipif(os.name == "nt", reason="whether a process lives cannot be asked there")
@pytest.mark.parametrize("when", ["the old one is aside", "the new one is in place"])
def test_a_folder_is_not_lost_when_the_run_that_replaces_it_is_killed(tmp_path: Path, when: str) -> None:
    """Killed at either rename, the folder is there again after the next run, or the new one is."""
    words = [sys.executable, "-c", KILLED_WITH_FOLDER, str(tmp_path / "model"), str(1 + when.startswith("the new"))]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    assert subprocess.run(words, check=False).returncode == 9
    assert (tmp_path / "model").exists() == when.startswith("the new")
    if when.startswith("the old"):
        with pytest.raises(OutputExists), appearing_whole(tmp_path / "model", overwrite=False, ours=WEIGHTS):
            pytest.fail("the old one was not seen")
        assert (tmp_path / "model" / "weights").read_text() == "old"
    with appearing_whole(tmp_path / "model", overwrite=True, ours=WEIGHTS) as new:
        new.hidden.mkdir()
        (new.hidden / "weights").write_text("newer")
    assert (tmp_path / "model" / "weights").read_text() == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_run_with_the_number_of_the_killed_one_puts_its_folder_back_too(tmp_path: Path) -> None:
    """In a container every run may have the same number."""
    aside = tmp_path / f".model.{re.sub('[^A-Za-z0-9-]', '-', platform.node())[:40]}-{os.getpid()}.old"
    aside.mkdir()
    (aside / "weights").write_text("old")
    with appearing_whole(tmp_path / "model", overwrite=True, ours=WEIGHTS) as new:
        new.hidden.mkdir()
        (new.hidden / "weights").write_text((tmp_path / "model" / "weights").read_text() + " and newer")
    assert (tmp_path / "model" / "weights").read_text() == "old and newer" and "is put back" in new.notes[0]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_stays_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    with pytest.raises(OutputError), appearing_whole(tmp_path / "model", overwrite=True, ours=WEIGHTS):
        pass  # nothing was written, so there is nothing to rename
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_name_that_no_file_system_takes_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        check_place(tmp_path / ("漫" * 90), overwrite=False)


@pytest.mark.skipif(os.name == "nt", reason="there is no limit of file sizes there")
def test_a_limit_of_file_sizes_is_told_when_what_was_spooled_does_not_fit(tmp_path: Path) -> None:
    """A small tensor waits in the buffer and meets the limit only when the file is closed."""
    program = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from sakuga.errors import OutputError\n"
        "from sakuga.tensors.write import Spool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "try:\n"
        "    with Spool(Path(sys.argv[1]) / 'x.safetensors') as spool:\n"
        "        spool.add('a', torch.zeros(1000))\n"
        "        spool.save(Path(sys.argv[1]) / 'x.safetensors', {})\n"
        "except OutputError as error:\n"
        "    print(error.told())\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "x.safetensors: there is no room for a file of that size" in done.stdout, done.stderr
    assert "a file of 0.0 MB" in done.stdout and "ulimit" in done.stdout
