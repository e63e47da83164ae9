"""The Store and the work folders: whole or not there, one run for each output, and nothing removed that is in use."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sakuga.cli.main import main
from sakuga.cli.work import size
from sakuga.errors import ClipError, InUse, OutputError
from sakuga.render.store import Store
from sakuga.render.work import Record, collect, held, records, writable

FRAMES = [np.full((4, 6, 3), level, np.uint8) for level in (0, 17, 255)]


def fill(store: Store, key: str) -> Path:
    with store.writing(key) as writer:
        for frame in FRAMES:
            writer.write(frame)
    return store.path(key)


def test_a_span_comes_back_bit_by_bit(tmp_path: Path) -> None:
    store = Store(root=tmp_path)
    assert store.find("ab", 3) is None
    first = fill(store, "ab").read_bytes()
    found = store.find("ab", 3)
    assert found is not None and all(map(np.array_equal, found.frames(), FRAMES)) and len(found) == 3
    assert fill(store, "ab").read_bytes() == first, "the same frames are the same bytes"


def test_a_span_that_is_not_whole_is_not_there(tmp_path: Path) -> None:
    store = Store(root=tmp_path)
    for damage in (
        lambda b: b[:-5],
        lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:],
        lambda b: b"",
        lambda b: b"x" * 99,
    ):
        path = fill(store, "cd")
        path.write_bytes(damage(path.read_bytes()))
        assert store.find("cd", 3) is None and not path.exists()
    fill(store, "cd")
    assert store.find("cd", 4) is None, "of another length"


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    store = Store(root=tmp_path)

    def broken() -> None:
        with store.writing("ef") as writer:
            writer.write(FRAMES[0])
            raise KeyError("broken")

    with pytest.raises(KeyError):
        broken()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_refuses_is_told_in_four_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError) as caught:
        fill(Store(root=tmp_path), "ab")
    assert caught.value.given and caught.value.do
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_store_that_does_not_read_finds_its_own_alone(tmp_path: Path) -> None:
    fill(Store(root=tmp_path), "ab")
    store = Store(root=tmp_path, reads=False)
    assert store.find("ab", 3) is None and store.fact("x") is None
    fill(store, "ab")
    assert store.find("ab", 3) is not None


def test_facts_are_kept(tmp_path: Path) -> None:
    store = Store(root=tmp_path)
    store.remember("x", [1, 2])
    assert store.fact("x") == [1, 2] and store.fact("y") is None
    (tmp_path / "facts" / "x.json").write_text("[1,")
    assert store.fact("x") is None


def test_a_frame_that_rots_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    store = Store(root=tmp_path)
    path = fill(store, "ab")
    found = store.find("ab", 3)
    assert found is not None
    path.write_bytes(path.read_bytes().replace(b"IDAT", b"JDAT"))
    with pytest.raises(ClipError):
        list(found.frames())


def test_two_runs_on_one_output(tmp_path: Path) -> None:
    output = tmp_path / "toon.mp4"
    with held(tmp_path / "work", output) as work:
        work.begin(tmp_path / "clip.mp4", {}, [["ab"]])
        with pytest.raises(InUse, match=str(os.getpid())), held(tmp_path / "work", output):
            pass
        with held(tmp_path / "work", tmp_path / "other.mp4"):
            pass
        waited: list[Record | None] = []

        def wait(record: Record | None) -> None:
            waited.append(record)
            if len(waited) == 2:
                raise TimeoutError

        with pytest.raises(TimeoutError), held(tmp_path / "work", output, wait=wait):
            pass
        assert waited[0] is not None and waited[0].output == str(output) and waited[0].running
    with held(tmp_path / "work", output):
        pass


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sakuga.render.work import held\n"
        "with held(Path(sys.argv[1]), Path(sys.argv[2])): print('held', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "work"), str(tmp_path / "toon.mp4")]
    env = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as run:
        assert run.stdout is not None and run.stdout.readline() == "held\n"
        with pytest.raises(InUse), held(tmp_path / "work", tmp_path / "toon.mp4"):
            pass
        run.kill()
    with held(tmp_path / "work", tmp_path / "toon.mp4"):
        pass


def kept(root: Path, name: str, keys: list[str], *, done: bool) -> None:
    with held(root, root.parent / name) as work:
        work.begin(root.parent / "clip.mp4", {"seed": 1}, [[key] for key in keys])
        for key in keys:
            path = fill(Store(root=root), key)
            os.utime(path, (1000, 1000 + int(key, 16)))
        if done:
            work.done()


def test_gc_takes_the_oldest_and_leaves_what_is_needed(tmp_path: Path) -> None:
    root = tmp_path / "work"
    kept(root, "done.mp4", ["a1", "a2", "a3"], done=True)
    kept(root, "broken.mp4", ["a0"], done=False)
    one = Store(root=root).path("a1").stat().st_size
    assert collect(root, 2 * one).spans == 1
    left = {path.name for path, _ in Store(root=root).spans()}
    assert left == {"a0.span", "a2.span", "a3.span"}
    with held(root, tmp_path / "done.mp4"):
        assert collect(root, 0, unfinished=True).in_use == 1
        assert {path.name for path, _ in Store(root=root).spans()} == {"a2.span", "a3.span"}
    assert collect(root, 0).spans == 2 and records(root) == []


def test_a_folder_that_cannot_be_written_is_told_and_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notes: list[str] = []
    with writable(tmp_path / "file" / "work", notes.append) as root:
        fill(Store(root=root), "ab")
    assert "a stop loses" in notes[0] and not root.exists()


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "work"
    kept(root, "toon.mp4", ["a1", "a2"], done=False)
    told = ["--work", str(root)]
    assert main(["work", "list", *told]) == 0
    assert "broken off  2 of 2 spans" in capsys.readouterr().out
    assert main(["work", "show", str(tmp_path / "toon.mp4"), *told]) == 0
    assert '"seed": 1' in capsys.readouterr().out
    assert main(["work", "show", str(tmp_path / "tune.mp4"), *told]) == 2
    assert "toon.mp4" in capsys.readouterr().err, "the nearest"
    assert main(["work", "gc", *told]) == 0
    assert "removed 0 spans" in capsys.readouterr().out
    assert main(["work", "gc", "--unfinished", *told]) == 0
    assert "removed 2 spans" in capsys.readouterr().out
    assert main(["work", "list", "--json", *told]) == 0
    assert '"runs": []' in capsys.readouterr().out
    assert main(["work"]) == 0


def test_sizes() -> None:
    assert [size(text) for text in ("0", "5b", "2 kB", "1.5G", "3TB")] == [0, 5, 2000, 1_500_000_000, 3 * 10**12]
    for text in ("", "x", "-1", "nan", "1e999", "5 XB"):
        with pytest.raises(Exception, match="is no size"):
            size(text)


def test_the_clock_may_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path / "work", "toon.mp4", ["a1"], done=True)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert main(["work", "list", "--work", str(tmp_path / "work")]) == 0
