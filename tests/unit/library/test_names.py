"""Names, words and hashes: which file of the library is meant, and an error where it cannot be told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sakuga.errors import FileProblem
from sakuga.lora.library.ask import named, with_hash, with_words
from sakuga.lora.library.folders import scan
from sakuga.lora.library.index import FILE_NAME, Index, open_index
from sakuga.lora.library.row import Row

Write = Callable[..., Path]
Asked = Callable[[Path], list[Row]]


def test_a_name_means_one_file(write: Write, asked: Asked, tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "ink.safetensors", metadata={"ss_output_name": "thin"})
    write(tmp_path / "two" / "wash.safetensors", metadata={"ss_output_name": "soft"})
    saved = write(tmp_path / "pencil" / "adapter_model.safetensors")
    rows, found = asked(tmp_path), scan([tmp_path])
    assert named("ink", rows, found).file == one
    assert named("thin", rows, found).file == one
    assert named("pencil", rows, found).file == saved
    with pytest.raises(FileProblem, match="no adapter of that name") as caught:
        named("inc", rows, found)
    assert caught.value.nearest == "ink"


def test_a_name_that_two_files_have_is_an_error_that_lists_both(write: Write, asked: Asked, tmp_path: Path) -> None:
    paths = [write(tmp_path / name / "ink.safetensors", rank=rank) for name, rank in (("one", 4), ("two", 8))]
    rows = asked(tmp_path)
    with pytest.raises(FileProblem, match="2 files are called ink") as caught:
        named("ink", rows, scan([tmp_path]))
    assert all(str(path) in (caught.value.given or "") for path in paths)


def test_an_alias_that_two_files_have_is_forbidden(write: Write, asked: Asked, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.safetensors", metadata={"ss_output_name": "style"})
    with pytest.raises(FileProblem, match="2 files are called style"):
        named("style", asked(tmp_path), scan([tmp_path]))
    write(tmp_path / "style.safetensors")
    assert named("style", asked(tmp_path), scan([tmp_path])).name == "style"


def test_a_link_to_a_file_is_no_second_file(write: Write, asked: Asked, tmp_path: Path) -> None:
    path = write(tmp_path / "all" / "ink.safetensors")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "ink.safetensors").symlink_to(path)
    (tmp_path / "all" / "circle").symlink_to(tmp_path)
    rows = asked(tmp_path)
    assert len(rows) == 2
    assert named("ink", rows, scan([tmp_path])).name == "ink"


def test_a_broken_file_of_that_name_is_told(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").write_bytes(b"<html>")
    with pytest.raises(FileProblem, match="ink cannot be read"):
        named("ink", asked(tmp_path), scan([tmp_path]))


def test_words_are_found_wherever_they_stand(write: Write, asked: Asked, tmp_path: Path) -> None:
    write(tmp_path / "Comics" / "Ink.safetensors", metadata={"modelspec.trigger_phrase": "Strichzeichnung Ä"})
    write(tmp_path / "wash.safetensors", metadata={"ss_output_name": "aqua"})
    rows = asked(tmp_path)
    found = {
        word: [row.name for row in with_words(word.split(), rows)] for word in ("INK", "zeichnung ä", "aqua", "sd15")
    }
    assert found == {"INK": ["Ink"], "zeichnung ä": ["Ink"], "aqua": ["wash"], "sd15": ["Ink", "wash"]}
    assert [row.name for row in with_words(["comics", "ink"], rows)] == ["Ink"]
    assert with_words(["comics", "wash"], rows) == []


def test_a_hash_is_computed_when_it_is_asked_for_and_kept(write: Write, asked: Asked, tmp_path: Path) -> None:
    path = write(tmp_path / "ink.safetensors", rank=8)
    write(tmp_path / "wash.safetensors")
    content = path.read_bytes()
    whole = hashlib.sha256(content).hexdigest()
    payload = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    rows = asked(tmp_path)
    assert all(not row.sha256 for row in rows)
    with open_index(tmp_path / FILE_NAME) as index:
        for word in (whole, whole[:10].upper(), payload[:12], f"0x{payload}"):
            assert [row.name for row in with_hash(word, rows, index)] == ["ink"]
        assert with_hash("no hash", rows, index) == []
        assert with_hash("00000000", rows, index) == []
    assert {row.name: row.sha256 for row in asked(tmp_path)}["ink"] == whole
    write(tmp_path / "ink.safetensors", rank=9)
    assert {row.name: row.sha256 for row in asked(tmp_path)}["ink"] == ""


def test_a_stated_hash_saves_the_reading_of_all_others(
    write: Write, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write(tmp_path / "ink.safetensors").read_bytes()
    write(tmp_path / "wash.safetensors", rank=8)
    whole = hashlib.sha256(content).hexdigest()
    (tmp_path / "ink.civitai.info").write_text(json.dumps({"files": [{"hashes": {"SHA256": whole.upper()}}]}))
    (tmp_path / "wash.civitai.info").write_text(json.dumps({"files": [{"hashes": {"SHA256": "ab" * 32}}]}))
    rows = asked(tmp_path)
    read: list[str] = []
    hashed = Index.hashed
    monkeypatch.setattr(Index, "hashed", lambda self, row: read.append(row.name) or hashed(self, row))
    with open_index(tmp_path / FILE_NAME) as index:
        assert [row.name for row in with_hash(whole[:10], rows, index)] == ["ink"]
        assert read == ["ink"]
        assert with_hash("ab" * 32, rows, index) == []  # a stated hash is no proof
    assert set(read) == {"ink", "wash"}
