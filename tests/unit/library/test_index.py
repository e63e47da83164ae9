"""The index of adapters: read once, then by size and time; broken files, two processes at once, foreign files."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sakuga.errors import FileProblem, OutputError, Stopped
from sakuga.lora.library import readers
from sakuga.lora.library.ask import with_words
from sakuga.lora.library.folders import scan
from sakuga.lora.library.index import FILE_NAME, open_index, usual_place
from sakuga.lora.library.listings import Listings
from sakuga.lora.library.readers import read_rows
from sakuga.lora.library.row import Row
from sakuga.progress import Progress

Write = Callable[..., Path]
Asked = Callable[[Path], list[Row]]
SOURCE = Path(__file__).resolve().parents[3] / "src"


def read_again(folder: Path) -> list[str]:
    """The names of the files that the index would read now."""
    with open_index(folder / FILE_NAME) as index:
        return [Path(one.path).name for one in index.rows(scan([folder]))[1]]


def test_a_row_says_what_the_header_says(write: Write, asked: Asked, tmp_path: Path) -> None:
    metadata = {
        "ss_output_name": "ink_v2",
        "ss_base_model_version": "sd_v1",
        "modelspec.trigger_phrase": "inkstyle",
        "ss_tag_frequency": json.dumps({"a": {"tag": 3}}),
    }
    write(tmp_path / "deep" / "ink.safetensors", rank=8, metadata=metadata)
    (tmp_path / "deep" / "ink.json").write_text('{"activation text": "lines"}')
    (tmp_path / "deep" / "ink.preview.png").write_bytes(b"")
    (row,) = asked(tmp_path)
    told = row.told()
    assert json.loads(json.dumps(told)) == told
    assert {key: told[key] for key in ("name", "kind", "family", "layout", "alias", "base", "preview", "error")} == {
        "name": "ink",
        "kind": "adapter",
        "family": "sd15",
        "layout": "kohya",
        "alias": "ink_v2",
        "base": "sd_v1",
        "preview": "ink.preview.png",
        "error": None,
    }
    assert (told["algorithms"], told["ranks"], told["modules"]) == ({"LoRA": 2}, {"8": 2}, 2)
    assert told["trigger_words"] == ["inkstyle", "lines"]
    assert told["file"] == str(tmp_path / "deep" / "ink.safetensors")


def test_the_tags_of_the_training_stand_in_for_trigger_words(write: Write, asked: Asked, tmp_path: Path) -> None:
    write(tmp_path / "ink.safetensors", metadata={"ss_tag_frequency": json.dumps({"a": {"lines": 3, "ink": 9}})})
    assert asked(tmp_path)[0].told()["trigger_words"] == ["ink", "lines"]


def test_only_what_changed_is_read_again(write: Write, asked: Asked, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.safetensors")
    asked(tmp_path)
    assert read_again(tmp_path) == []
    write(tmp_path / "b.safetensors", rank=16)
    (tmp_path / "c.json").write_text('{"activation text": "see"}')
    write(tmp_path / "d.safetensors")
    assert read_again(tmp_path) == ["b.safetensors", "c.safetensors", "d.safetensors"]
    ranks = {row.name: json.loads(row.ranks) for row in asked(tmp_path)}
    assert ranks == {"a": {"4": 2}, "b": {"16": 2}, "c": {"4": 2}, "d": {"4": 2}}


def test_a_broken_file_is_listed_with_its_reason_and_stops_nothing(write: Write, asked: Asked, tmp_path: Path) -> None:
    good = write(tmp_path / "good.safetensors")
    raw = good.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(raw[:-5])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "page.safetensors").write_bytes(b"<!DOCTYPE html><p>404")
    (tmp_path / "padded.safetensors").write_bytes(raw + b"\0")
    (tmp_path / "pickle.pt").write_bytes(b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R.")
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    rows = {row.name: row for row in asked(tmp_path)}
    assert {name for name, row in rows.items() if row.kind == "adapter"} == {"good"}
    assert {name for name, row in rows.items() if row.kind == "broken"} == {"cut", "empty", "page", "padded", "pickle"}
    assert "cut off" in rows["cut"].error
    assert "a web page" in rows["page"].error
    assert all(row.error for name, row in rows.items() if name != "good")


def test_a_cut_file_is_not_taken_for_the_whole_one_of_its_list(write: Write, asked: Asked, tmp_path: Path) -> None:
    raw = write(tmp_path / "whole.safetensors", metadata={"a": "b"}).read_bytes()
    for name, content in (("cut", raw[:-1]), ("long", raw + b"x")):
        (tmp_path / f"z{name}.safetensors").write_bytes(content)
    assert [row.kind for row in asked(tmp_path)] == ["adapter", "broken", "broken"]


@pytest.mark.parametrize(
    "metadata", ['{"a": "1", "a": "2"}', '{"a": 5}', "null", "[]", '{"a": {"b": 1}}', '{"a": "\\ud800"}', "{}"]
)
def test_a_list_that_is_known_hides_nothing_odd_in_the_metadata(write: Write, tmp_path: Path, metadata: str) -> None:
    raw = write(tmp_path / "a.safetensors", metadata={"a": "b"}).read_bytes()
    head = raw[8 : 8 + int.from_bytes(raw[:8], "little")].replace(b'{"a": "b"}', metadata.encode())
    odd = len(head).to_bytes(8, "little") + head + raw[8 + int.from_bytes(raw[:8], "little") :]
    (tmp_path / "b.safetensors").write_bytes(odd)

    def read(listings: Listings) -> object:
        try:
            return listings.glimpse(tmp_path / "b.safetensors")
        except FileProblem as problem:
            return str(problem)

    knowing = Listings()
    knowing.glimpse(tmp_path / "a.safetensors")
    assert read(knowing) == read(Listings())


def test_files_that_are_no_adapters_are_known_and_not_listed(asked: Asked, tmp_path: Path) -> None:
    raw = json.dumps({"conv_in.weight": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "unet.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + b"\0" * 8)
    (row,) = asked(tmp_path)
    assert (row.kind, bool(row.error)) == ("other", True)
    assert with_words(["unet"], [row]) == []


def test_gc_forgets_what_is_gone_and_touches_no_adapter(write: Write, asked: Asked, tmp_path: Path) -> None:
    kept, gone = write(tmp_path / "kept.safetensors"), write(tmp_path / "gone.safetensors")
    asked(tmp_path)
    gone.unlink()
    assert [row.name for row in asked(tmp_path)] == ["kept"]
    with open_index(tmp_path / FILE_NAME) as index:
        assert index.sweep() == (1, 1)
        assert index.sweep() == (0, 1)
    assert kept.exists()


def test_an_index_is_never_made_of_another_programs_file(tmp_path: Path) -> None:
    text, foreign = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("my notes " * 500)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    for path in (text, foreign):
        before = path.read_bytes()
        with pytest.raises(FileProblem, match="is no index of adapters"), open_index(path):
            raise AssertionError
        assert path.read_bytes() == before


def test_an_index_of_another_version_is_made_anew(write: Write, asked: Asked, tmp_path: Path) -> None:
    write(tmp_path / "ink.safetensors")
    asked(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert read_again(tmp_path) == ["ink.safetensors"]
    assert len(asked(tmp_path)) == 1


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be used"), open_index(tmp_path / "file" / "index"):
        raise AssertionError


def test_what_was_read_before_a_stop_is_kept(write: Write, tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / f"{number}.safetensors")
    progress = Progress()
    progress.listener = lambda moment: progress.stop() if moment.done == 3 else None
    with open_index(tmp_path / FILE_NAME) as index, pytest.raises(Stopped):
        index.refresh(index.rows(scan([tmp_path]))[1], progress)
    assert read_again(tmp_path) == ["3.safetensors", "4.safetensors"]


def test_the_usual_place_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_CACHE", str(tmp_path / "own"))
    assert usual_place() == tmp_path / "own" / FILE_NAME
    monkeypatch.delenv("SAKUGA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert usual_place() == tmp_path / "sakuga" / FILE_NAME
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert usual_place() == Path.home() / ".cache" / "sakuga" / FILE_NAME


def test_names_that_are_no_text_are_indexed(write: Write, asked: Asked, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe \x1b[2J.safetensors"))
    shutil.copy(write(tmp_path / "墨絵.safetensors"), odd)
    rows = asked(tmp_path)
    assert {row.file for row in rows} == {odd, tmp_path / "墨絵.safetensors"}
    json.dumps([row.told() for row in rows]).encode()


def test_two_processes_index_the_same_folder_at_once(write: Write, tmp_path: Path) -> None:
    for number in range(60):
        write(tmp_path / "loras" / f"{number}.safetensors", rank=1 + number % 7)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH")))),
        "SAKUGA_CACHE": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", "sakuga", "lora", "list", "--json", "--models", str(tmp_path / "loras")]
    running = [
        subprocess.Popen(
            words, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in running:
        out, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        names = {row["name"] for row in json.loads(out)["adapters"]}
        assert {str(number) for number in range(60)} <= names
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_two_thousand_files_are_indexed(write: Write, asked: Asked, tmp_path: Path) -> None:
    for number in range(2000):
        write(tmp_path / str(number // 100) / f"{number}.safetensors", rank=1 + number % 9, metadata={"n": str(number)})
    rows = asked(tmp_path)
    assert len(rows) == 2000
    assert {row.kind for row in rows} == {"adapter"}
    assert read_again(tmp_path) == []


def test_readers_give_the_same_rows(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processes read, and whatever happens to them."""
    for number in range(12):
        write(tmp_path / f"{number}.safetensors", rank=1 + number % 5, metadata={"ss_output_name": f"n{number}"})
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "1.safetensors").read_bytes()[:-5])
    (tmp_path / "3.json").write_text('{"activation text": "Ä"}')
    shutil.copy(tmp_path / "2.safetensors", os.fsdecode(os.fsencode(tmp_path) + b"/\xff.safetensors"))
    monkeypatch.setattr(readers, "ERRAND", 4)
    found = scan([tmp_path]).found
    alone, two = sorted(read_rows(found, 0)), sorted(read_rows(found, 2))
    assert two == alone and len(alone) == 14 and all(type(row) is Row for row in two)
    monkeypatch.setattr(readers, "_CODE", "import sys; sys.stdin.readline(); print('no rows')")
    assert sorted(read_rows(found, 2)) == alone, "those that fail"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    assert sorted(read_rows(found, 2)) == alone, "those that cannot start"


def test_readers_end_when_nobody_takes_their_rows(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        write(tmp_path / f"{number}.safetensors")
    monkeypatch.setattr(readers, "ERRAND", 2)
    made: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **more: made.append(popen(*words, **more)) or made[-1])
    progress = Progress(listener=lambda moment: progress.stop() if moment.done else None)
    with open_index(tmp_path / FILE_NAME) as index, pytest.raises(Stopped):
        index.refresh(scan([tmp_path]).found, progress, readers=1)
    assert len(made) == 1 and made[0].returncode is not None
    assert len(read_again(tmp_path)) < 9, "what was read is kept"


def test_readers_are_taken_where_they_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, files, count in ((1, 10_000, 0), (2, 10_000, 2), (2, 100, 0), (64, 10_000, readers.MOST)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)), raising=False)
        assert readers.worthwhile(files) == count
