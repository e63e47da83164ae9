"""Hostile files cost little: time and memory stay bounded by the file's size, and what is in them never reaches a
terminal as more than plain words.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sakuga.errors import UnreadableFile
from sakuga.tensors.file import TensorFile

MIB = 2**20
SECONDS = 1.0  # of the processor's time
SMALL_MIB = 1  # what any file may take
ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def headed(raw: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<Q", len(raw)) + raw + payload


def members(count: int, member: str) -> bytes:
    """An object of so many members; ``%x`` stands for the number of each."""
    return ("{" + ",".join(member % number for number in range(count)) + "}").encode()


def pickled(data: bytes) -> bytes:
    """torch's older container around a pickle by hand."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in parts) + data + pickle.dumps([], 2)


def zipped(count: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        for number in range(count):
            archive.writestr(f"archive/data/{number}", b"")
    return target.getvalue()


def knot() -> bytes:
    """A tree whose names would be many times as long as the file."""
    tree: Any = [{"a": 1}] * 1000
    for _ in range(20):
        tree = [{"k" * 500_000: tree}] * 1000
    return pickle.dumps(tree, 2)


GARBAGE: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "a million keys": (lambda: headed(members(1_000_000, '"%x":0')), "no object for '0'"),
    "more tensors than any model": (
        lambda: headed(members(25_000, '"lora_%x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}')),
        "more than the 20000 tensors",
    ),
    "lists in lists": (lambda: headed(b'{"a":' + b"[" * 8 * MIB), "more than 4096 characters about a tensor"),
    "a list of lists": (lambda: headed(b'{"a":[' + b"[]," * 3 * MIB + b"0]}"), "more than 4096 characters"),
    "a shape of millions": (
        lambda: headed(b'{"a":{"dtype":"F32","shape":[' + b"1000," * 2 * MIB + b"1]}}"),
        "more than 4096 characters",
    ),
    "many values of metadata": (
        lambda: headed(b'{"__metadata__":' + members(50_000, '"%x":""') + b"}"),
        "more than the 10000 values",
    ),
    "metadata that are a tree": (
        lambda: headed(b'{"__metadata__":{"a":[' + b"{}," * 3 * MIB + b"0]}}"),
        "more than 1048576 characters about a value of the metadata",
    ),
    "a name without an end": (lambda: headed(b'{"' + b"x" * 8 * MIB), "not JSON"),
    "a long name": (lambda: headed(b'{"' + b"x" * 8 * MIB + b'":{}}'), "the unknown number format"),
    "a pickle of nothing but parts": (lambda: pickled(b"]0" * MIB + b"."), "too many parts"),
    "a pickle of one long list": (lambda: pickled(b"(" + b"K\x01" * MIB + b"l."), "too many parts"),
    "names without end": (lambda: pickled(knot()), "a name of more than 1024 bytes"),
}
# The real ones are ten times as high.
CAPS = {
    "safetensors_header.TENSOR_CAP": 20_000,
    "header_json.METADATA_CAP": 10_000,
    "pickle_machine.OPCODE_CAP": 200_000,
}


@pytest.mark.parametrize(("made", "why"), GARBAGE.values(), ids=list(GARBAGE))
def test_garbage_is_refused_within_a_second_and_four_times_its_size(
    made: Callable[[], bytes], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, cap in CAPS.items():
        monkeypatch.setattr(f"sakuga.tensors.{name}", cap)
    path = tmp_path / "x.safetensors"
    path.write_bytes(made())
    begun = time.process_time()
    with pytest.raises(UnreadableFile) as caught:
        TensorFile.open(path)
    taken = time.process_time() - begun
    assert why in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert _peak(path) <= 4 * path.stat().st_size + SMALL_MIB * MIB
    assert taken <= 2 * SECONDS, "a second, on a machine that has nothing else to do"


def _peak(path: Path) -> int:
    tracemalloc.start()
    try:
        TensorFile.open(path)
    except UnreadableFile:
        return tracemalloc.get_traced_memory()[1]
    else:
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_hundred_megabytes_of_metadata_are_told_by_their_length_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", 100 * MIB) + b'{"__metadata__":{"a":"')
        stream.truncate(101 * MIB)
    with pytest.raises(UnreadableFile, match="a header of 104857600 bytes, more than the 33554432"):
        TensorFile.open(path)
    assert _peak(path) < MIB


@pytest.mark.parametrize("letter", ["x", "é", "\\u00e9"], ids=["plain", "two bytes", "escaped"])
def test_a_long_tag_table_is_read_within_four_times_its_size(letter: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    text = letter * (8 * MIB // len(letter.encode()))
    path.write_bytes(headed(f'{{"__metadata__":{{"tags":"{text}"}}}}'.encode()))
    assert len(TensorFile.open(path).metadata["tags"]) == 8 * MIB // len(letter.encode())
    assert _peak(path) <= 4 * path.stat().st_size + SMALL_MIB * MIB


def test_a_zip_of_too_many_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sakuga.tensors.zip_spans.MEMBER_CAP", 20)
    (tmp_path / "x.pt").write_bytes(zipped(20))
    with pytest.raises(UnreadableFile, match="21 members, more than the 20 that are allowed"):
        TensorFile.open(tmp_path / "x.pt")


ODD_NAMES = ("a\0b", "a\nb", "a\x1b[2Jb", "a\x7fb", "a\x9bb", "a\u202eb", "a\u2066b", "a\u2028b", "a\ud800b")


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_names_that_would_move_a_cursor_are_refused_in_words_that_do_not(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(headed(json.dumps({name: ONE}).encode(), bytes(8)))
    texts = [_refusal(path)]
    data = pickle.dumps({name: 1}, 2) if name != ODD_NAMES[-1] else b"}X\x05\x00\x00\x00a\xed\xa0\x80bK\x01s."
    path.write_bytes(pickled(data))
    texts.append(_refusal(path))
    for text in texts:
        assert "control characters in the name 'a" in text
        assert text.replace("\n", "").isprintable()


def _refusal(path: Path) -> str:
    with pytest.raises(UnreadableFile) as caught:
        TensorFile.open(path)
    return caught.value.told()


def test_what_a_pickle_asks_for_is_told_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(pickled(b"cos\x1b[2J\nsystem" + b"x" * 5000 + b"\n."))
    text = _refusal(tmp_path / "x.pt")
    assert "it asks for os\\x1b[2J.system" in text and text.replace("\n", "").isprintable()
    assert len(text) < 1000


def test_words_of_half_letters_are_left_out_of_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = {"__metadata__": {"a": "\ud800", "\udfff": "b", "c": "ü😀"}, "t": ONE}
    path.write_bytes(headed(json.dumps(header).encode(), bytes(8)))
    file = TensorFile.open(path)
    assert file.metadata == {"c": "ü😀"}
    assert file.notes == ("metadata 'a' left out: not text", "metadata '\\udfff' left out: not text")
    header = {"__metadata__": {f"key {number:02}" + "x" * 100: 0 for number in range(30)}, "t": ONE}
    path.write_bytes(headed(json.dumps(header).encode(), bytes(8)))
    notes = TensorFile.open(path).notes
    assert len(notes) == 11 and notes[-1] == "20 more values of the metadata left out: not text"
    assert max(map(len, notes)) < 120


def test_a_truth_value_of_seven_is_true(tmp_path: Path) -> None:
    header = {"a": {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}}
    path = tmp_path / "x.safetensors"
    path.write_bytes(headed(json.dumps(header).encode(), bytes([0, 7, 255])))
    assert TensorFile.open(path).tensor("a").tolist() == [False, True, True]


def test_numbers_that_begin_anywhere_are_read_to_the_bit(tmp_path: Path) -> None:
    values = torch.randn(3, dtype=torch.float64)
    header = {"a": {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]}}
    for blanks in range(8):
        raw = json.dumps(header).encode() + b" " * blanks
        path = tmp_path / "x.safetensors"
        path.write_bytes(headed(raw, values.numpy().tobytes()))
        assert torch.equal(TensorFile.open(path).tensor("a"), values)


def test_a_container_is_told_by_its_content_whatever_it_is_called(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "x.pt")
    assert TensorFile.open(tmp_path / "x.pt").kind == "safetensors"
    for zipped_one in (True, False):
        torch.save({"a": torch.ones(2)}, tmp_path / "x.safetensors", _use_new_zipfile_serialization=zipped_one)
        file = TensorFile.open(tmp_path / "x.safetensors")
        assert (file.kind, file.tensor("a").tolist()) == ("pickle", [1.0, 1.0])


def test_a_member_that_is_the_folder_itself_is_no_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr(".", b"")
    assert TensorFile.open(tmp_path / "x.pt").names == ()
