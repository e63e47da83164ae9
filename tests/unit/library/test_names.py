"""Names, words and hashes: which file of the library is meant, and an error where it cannot be told."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sakuga.errors import FileProblem, UnknownFile, UnreadableFile
from sakuga.lora.library.ask import with_hash, with_words
from sakuga.lora.library.index import FILE_NAME, Index, open_index
from sakuga.lora.library.names import Named, Names
from sakuga.lora.library.row import Row

Write = Callable[..., Path]
Asked = Callable[[Path], list[Row]]
Find = Callable[[str], Named]


@pytest.fixture
def find(tmp_path: Path) -> Callable[[str], Named]:
    """``find(name)`` in the temporary folder, with an index of its own there."""
    return lambda ref: Names([tmp_path], index=tmp_path / FILE_NAME).find(ref)


def test_a_name_means_one_file(write: Write, find: Find, tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "ink.safetensors", metadata={"ss_output_name": "thin"})
    two = write(tmp_path / "two" / "wash.safetensors", metadata={"ss_output_name": "soft"})
    saved = write(tmp_path / "pencil" / "adapter_model.safetensors")
    (tmp_path / "two" / "wash.civitai.info").write_text(json.dumps({"model": {"name": "Soft Wash"}}))
    names = {"ink": one, "thin": one, "wash": two, "Soft Wash": two, "pencil": saved, str(two): two}
    assert {name: find(name) for name in names} == {name: Named(path=path) for name, path in names.items()}
    with pytest.raises(FileProblem, match="nothing of that name serves as a LoRA") as caught:
        find("inc")
    assert caught.value.nearest == "ink" and caught.value.given == "inc"
    with pytest.raises(FileProblem) as caught:
        find("Soft Wasch")
    assert caught.value.nearest == "Soft Wash"


def test_a_path_is_a_path(write: Write, find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, saved = write(tmp_path / "ink.safetensors"), write(tmp_path / "pencil" / "adapter_model.safetensors")
    monkeypatch.chdir(tmp_path)
    nothing = Names([])
    assert [nothing.find(ref).path for ref in (path, str(path), saved, saved.parent)] == [path, path, saved, saved]
    assert nothing.find("ink.safetensors").path == Path("ink.safetensors")
    assert nothing.find("pencil").path == Path("pencil/adapter_model.safetensors"), "a folder that is here"
    with pytest.raises(FileProblem, match="no such file") as caught:
        nothing.find("./inc.safetensors")
    assert caught.value.nearest == "ink.safetensors"


def test_a_name_that_two_files_have_is_an_error_that_lists_both(write: Write, find: Find, tmp_path: Path) -> None:
    paths = [write(tmp_path / name / "ink.safetensors", rank=rank) for name, rank in (("one", 4), ("two", 8))]
    with pytest.raises(FileProblem, match="2 files are called ink") as caught:
        find("ink")
    assert caught.value.given == f"{paths[0]}, {paths[1]}"
    assert str(paths[0]) in (caught.value.do or "")


def test_two_copies_of_one_file_are_told_and_used(write: Write, find: Find, tmp_path: Path) -> None:
    path = write(tmp_path / "one" / "ink.safetensors")
    (tmp_path / "two").mkdir()
    shutil.copy(path, tmp_path / "two")
    found = find("ink")
    assert found.path == path and "2 copies" in found.remark and "two" in found.remark
    (tmp_path / "two" / "ink.safetensors").write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(FileProblem, match="2 files are called ink"):
        find("ink")


def test_an_alias_that_two_files_have_is_forbidden(write: Write, find: Find, tmp_path: Path) -> None:
    for name, rank in (("one", 4), ("two", 8)):
        write(tmp_path / f"{name}.safetensors", rank=rank, metadata={"ss_output_name": "style"})
    with pytest.raises(FileProblem, match="2 files are called style"):
        find("style")
    own = write(tmp_path / "style.safetensors")
    assert find("style").path == own


def test_a_link_to_a_file_is_no_second_file(write: Write, find: Find, asked: Asked, tmp_path: Path) -> None:
    path = write(tmp_path / "all" / "ink.safetensors")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "ink.safetensors").symlink_to(path)
    (tmp_path / "all" / "circle").symlink_to(tmp_path)
    assert len(asked(tmp_path)) == 2
    assert find("ink") == Named(path=path)


def test_a_broken_file_of_that_name_is_told(find: Find, tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").write_bytes(b"<html>")
    with pytest.raises(UnreadableFile, match=r"ink\.safetensors"):
        find("ink")


def test_what_is_no_adapter_is_not_taken_for_one(write: Write, find: Find, tmp_path: Path) -> None:
    """A ControlNet may have the name of an adapter."""
    raw = json.dumps({"conv_in.weight": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    other = tmp_path / "control" / "lineart.safetensors"
    other.parent.mkdir()
    other.write_bytes(len(raw).to_bytes(8, "little") + raw + b"\0" * 8)
    with pytest.raises(UnknownFile, match=r"lineart\.safetensors"):
        find("lineart")
    by_alias = write(tmp_path / "x.safetensors", metadata={"ss_output_name": "lineart"})
    assert find("lineart").path == by_alias
    by_name = write(tmp_path / "lineart.safetensors")
    assert find("lineart").path == by_name


def test_a_file_is_found_by_its_name_without_the_index(write: Write, find: Find, tmp_path: Path) -> None:
    for name in ("ink", "wash"):
        write(tmp_path / f"{name}.safetensors", metadata={"ss_output_name": f"my {name}"})
    find("ink")
    assert not (tmp_path / FILE_NAME).exists()
    find("my ink")
    assert (tmp_path / FILE_NAME).exists()


def test_an_index_that_cannot_be_used_leaves_the_names_of_files(write: Write, tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    path = write(tmp_path / "loras" / "ink.safetensors")
    names = Names([tmp_path / "loras"], index=tmp_path / "loras")
    assert names.find("ink").path == path
    with pytest.raises(FileProblem, match="nothing of that name") as caught:
        names.find("inc")
    assert caught.value.nearest == "ink" and "aliases could not be looked up" in (caught.value.given or "")


def test_a_hash_that_is_known_names_a_file(write: Write, find: Find, tmp_path: Path) -> None:
    whole = hashlib.sha256(write(tmp_path / "ink.safetensors").read_bytes()).hexdigest()
    write(tmp_path / "wash.safetensors", rank=8)
    with pytest.raises(FileProblem, match="nothing of that name"):
        find(whole)  # nobody has read the file for it yet
    (tmp_path / "ink.civitai.info").write_text(json.dumps({"files": [{"hashes": {"SHA256": whole}}]}))
    assert find(whole[:10]).path == tmp_path / "ink.safetensors"


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


def test_a_file_name_with_its_ending_is_found_below_the_folders(write: Write, find: Find, tmp_path: Path) -> None:
    file = write(tmp_path / "set" / "style.safetensors")
    saved = write(tmp_path / "set" / "pencil" / "adapter_model.safetensors")
    assert {find(ref).path for ref in ("style.safetensors", "set/style", "set/style.safetensors")} == {file}
    assert find("set/pencil").path == saved
    with pytest.raises(FileProblem, match="no such file"):
        find("other/style.safetensors")
    write(tmp_path / "more" / "style.safetensors", metadata={"ss_output_name": "other"})
    with pytest.raises(FileProblem, match="2 files are called"):
        find("style.safetensors")


def test_a_hash_never_opens_a_file_that_was_exchanged_unseen(
    write: Write, asked: Asked, find: Find, tmp_path: Path
) -> None:
    """Another file with the size and the time of the first is not what the hash is of."""
    path = write(tmp_path / "ink.safetensors", metadata={"a": "1"})
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    with open_index(tmp_path / FILE_NAME) as index:
        assert with_hash(whole, asked(tmp_path), index)
    assert find(whole).path == path
    state = path.stat()
    write(path, metadata={"a": "2"})
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    with pytest.raises(FileProblem, match="not the file any more that this hash is of"):
        find(whole)
    with pytest.raises(FileProblem, match="nothing of that name"):
        find(whole)


def test_a_folder_where_we_are_does_not_hide_an_adapter_of_its_name_unsaid(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = write(tmp_path / "library" / "ink.safetensors")
    (tmp_path / "here" / "ink").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    names = Names([tmp_path / "library"], index=tmp_path / FILE_NAME)
    assert names.find("ink") == Named(
        path=meant, remark=f"{meant} is used, not the folder ink in the working folder; ./ink means that one"
    )
    own = write(tmp_path / "here" / "ink" / "adapter_model.safetensors", rank=3)
    assert names.find("./ink") == Named(path=Path("ink") / own.name)
    (tmp_path / "here" / "wash").symlink_to(wash := write(tmp_path / "library" / "wash.safetensors"))
    assert Names([tmp_path / "library"], index=tmp_path / FILE_NAME).find("wash") == Named(path=wash)
