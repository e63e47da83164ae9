"""What may be written where; and that an output is whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from sakuga.errors import OutputError, OutputExists
from sakuga.video.outputs import check_output
from sakuga.video.read import open_clip
from sakuga.video.write import ClipWriter

av = pytest.importorskip("av")


def times(path: Path) -> list[Fraction]:
    with open_clip(path) as clip:
        return [frame.time for frame in clip.frames()]


def left_behind(folder: Path, *expected: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) != sorted(expected)


@pytest.mark.parametrize(
    ("name", "words", "nearest"),
    [
        ("a.mp5", "not known", ".mp4"),
        ("a.pgn", "not known", ".png"),
        ("a.avi", "not known", None),
        ("frames-%05d.png", "folder", None),
        ("%d", "folder", None),
        ("nowhere/a.mp4", "no folder", None),
        ("folder.mp4", "is a folder", None),
        (".mp4", "no name of its own", "toon.mp4"),
        (".frames", "no name of its own", None),
        ("-", "no name of its own", None),
        ("/", "no name of its own", None),
        ("folder.mp4/..", "no name of its own", None),
    ],
)
def test_a_name_that_cannot_be_written_is_refused_with_advice(
    tmp_path: Path, name: str, words: str, nearest: str | None
) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match=words) as caught:
        check_output(tmp_path / name)
    assert caught.value.given and caught.value.do
    assert nearest is None or caught.value.nearest == nearest
    assert not left_behind(tmp_path, "folder.mp4")


def test_more_frames_than_a_picture_holds_are_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    check_output(tmp_path / "a.png", frames=1)
    with pytest.raises(OutputError, match="one frame"):
        check_output(tmp_path / "a.png", frames=2)


def test_an_existing_output_is_not_overwritten_unasked(tmp_path: Path, film: Callable[..., Path]) -> None:
    source, target = film(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    target.write_text("mine")
    with open_clip(source) as clip:
        with pytest.raises(OutputExists) as caught:
            ClipWriter(target, clip, 32, 24)
        assert "--overwrite" in str(caught.value.do)
        assert target.read_text() == "mine"
        with ClipWriter(target, clip, 32, 24, overwrite=True) as writer:
            for frame in clip.frames():
                writer.write(frame)
                assert target.read_text() == "mine", "not before all is written"
    assert times(target) == times(source)
    assert not left_behind(tmp_path, "a.mp4", "b.mp4")


def test_an_output_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, film: Callable[..., Path]) -> None:
    source, target = film(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    with open_clip(source) as clip, pytest.raises(OutputExists), ClipWriter(target, clip, 32, 24) as writer:
        writer.write(next(clip.frames()))
        target.write_text("another's")
    assert target.read_text() == "another's"
    assert not left_behind(tmp_path, "a.mp4", "b.mp4")


def test_what_is_finished_may_be_kept_under_another_name(tmp_path: Path, film: Callable[..., Path]) -> None:
    source, target, part = film(tmp_path / "a.mp4"), tmp_path / "b.mp4", tmp_path / "b-part.mp4"
    target.write_text("of another day")
    with open_clip(source) as clip, ClipWriter(target, clip, 32, 24, overwrite=True) as writer:
        for frame in clip.frames(0, 5):
            writer.write(frame)
        writer.keep_as(part)
    assert times(part) == times(source)[:5]
    assert target.read_text() == "of another day"
    assert not left_behind(tmp_path, "a.mp4", "b.mp4", "b-part.mp4")


def test_the_source_is_never_the_output(tmp_path: Path, film: Callable[..., Path]) -> None:
    source = film(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").symlink_to(source)
    with open_clip(source) as clip:
        for name in ("a.mp4", "b.mp4"):
            with pytest.raises(OutputError, match="the source itself"):
                ClipWriter(tmp_path / name, clip, 32, 24, overwrite=True)


def open_below(folder: Path) -> list[str]:
    """The files below ``folder`` that this process holds open."""
    here = Path("/proc/self/fd")
    if not here.is_dir():
        pytest.skip("no /proc to look into")
    targets = [os.readlink(link) for link in here.iterdir() if link.exists()]
    return [target for target in targets if target.startswith(str(folder))]


@pytest.mark.parametrize("fails", [False, True])
def test_no_file_stays_open(tmp_path: Path, fails: bool, film: Callable[..., Path]) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")
    with open_clip(source) as clip:
        writer = ClipWriter(tmp_path / "b.mp4", clip, 32, 24)
        with contextlib.suppress(KeyboardInterrupt), writer:
            for frame in clip.frames():
                writer.write(frame)
            assert len(open_below(tmp_path)) == 2, "the source for its sound, and the output"
            if fails:
                raise KeyboardInterrupt
        assert open_below(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.png", "b"])
@pytest.mark.parametrize("written", [0, 1])
def test_an_error_leaves_nothing_behind(
    tmp_path: Path, error: type[BaseException], name: str, written: int, film: Callable[..., Path]
) -> None:
    source = film(tmp_path / "a.mp4", sound="aac", times=[0, 1024, 2048])
    with open_clip(source) as clip, pytest.raises(error), ClipWriter(tmp_path / name, clip, 32, 24) as writer:
        for frame in clip.frames(0, written):
            writer.write(frame)
        raise error
    assert not left_behind(tmp_path, "a.mp4")


def test_other_peoples_errors_stay_what_they_are(tmp_path: Path, film: Callable[..., Path]) -> None:
    source = film(tmp_path / "a.mp4")
    with open_clip(source) as clip, pytest.raises(FileNotFoundError), ClipWriter(tmp_path / "b.mp4", clip, 32, 24):
        (tmp_path / "weights").read_bytes()


def test_nothing_written_is_an_error(tmp_path: Path, film: Callable[..., Path]) -> None:
    source = film(tmp_path / "a.mp4")
    with (
        open_clip(source) as clip,
        pytest.raises(OutputError, match="no frame"),
        ClipWriter(tmp_path / "b.mp4", clip, 32, 24),
    ):
        pass
    assert not left_behind(tmp_path, "a.mp4")


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from sakuga.errors import OutputError
from sakuga.video.clip import Frame
from sakuga.video.read import open_clip
from sakuga.video.write import ClipWriter
source, target, limit, side = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), 96
random = np.random.default_rng(0)
with open_clip(source) as clip:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with ClipWriter(target, clip, side, side) as writer:
            for frame in clip.frames():
                pixels = random.integers(0, 256, (side, side, 3)).astype(np.uint8)
                writer.write(Frame(index=frame.index, pts=frame.pts, time_base=frame.time_base, pixels=pixels))
    except OutputError as error:
        print(error.told())
        sys.exit(2)
"""


@pytest.mark.parametrize("limit", [1_000, 60_000])
@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "frames"])
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, name: str, limit: int, film: Callable[..., Path]
) -> None:
    if sys.platform == "win32":
        pytest.skip("no limit on the size of files here")
    source = film(tmp_path / "a.mp4", sound="aac")
    limit = min(limit, 20_000) if name == "frames" else limit
    command = [sys.executable, "-c", FULL_DISK, str(source), str(tmp_path / name), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "no room" in done.stdout and "do " in done.stdout
    assert done.stderr == ""
    assert not left_behind(tmp_path, "a.mp4")


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "no room"), (errno.EACCES, "no right"), (errno.EIO, "could not")]
)
@pytest.mark.parametrize("name", ["b.mp4", "b.png", "b"])
def test_what_the_system_says_on_the_way_to_the_disk_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
    words: str,
    film: Callable[..., Path],
    copied: Callable[..., tuple[str, ...]],
) -> None:
    source = film(tmp_path / "a.mp4")

    def fails(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OutputError, match=words):
        copied(source, tmp_path / name, 0, 1)
    assert not left_behind(tmp_path, "a.mp4")


def test_a_folder_without_the_right_to_write_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(OutputError, match="cannot be written to"):
        check_output(tmp_path / "a.mp4")


def test_wrong_use_is_our_own_mistake(tmp_path: Path, film: Callable[..., Path]) -> None:
    source = film(tmp_path / "a.mp4")
    with open_clip(source) as clip:
        first, second = clip.frames(0, 2)
        with pytest.raises(AssertionError), ClipWriter(tmp_path / "b.mp4", clip, 16, 16) as writer:
            writer.write(first)
        with pytest.raises(AssertionError), ClipWriter(tmp_path / "b.mp4", clip, 32, 24) as writer:
            writer.write(second)
            writer.write(first)
        with pytest.raises(AssertionError):
            ClipWriter(tmp_path / "b.mp4", clip, 32, 24).write(first)
    assert not left_behind(tmp_path, "a.mp4")
