"""The strict header reader: what is sound is read to the bit, what two readers could read in two ways is refused."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sakuga.errors import FileProblem, UnreadableFile
from sakuga.tensors.file import TensorFile

ONE = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def write(path: Path, header: Any, payload: bytes = bytes(8), *, length: int | None = None) -> Path:
    """A file with this header (an object, or text as it is) and payload."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + payload)
    return path


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(UnreadableFile) as caught:
        TensorFile.open(path, **options)
    assert caught.value.given and caught.value.do, "an error has advice"
    return str(caught.value.given)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.safetensors"


def test_every_format_comes_back_to_the_bit(path: Path) -> None:
    made = {
        "f64": torch.randn(3, dtype=torch.float64),
        "f32": torch.randn(2, 3),
        "f16": torch.randn(5).half(),
        "bf16": torch.randn(5).bfloat16(),
        "f8": torch.randn(4).to(torch.float8_e4m3fn),
        "i64": torch.arange(4),
        "flag": torch.tensor([True, False]),
        "number": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
    }
    save_file(made, path, metadata={"made": "here"})
    file = TensorFile.open(path)
    assert file.kind == "safetensors" and set(file.names) == set(made) and file.metadata == {"made": "here"}
    assert (file.shape("f32"), file.dtype("bf16")) == ((2, 3), "BF16")
    for name, tensor in file.tensors():
        assert tensor.dtype == made[name].dtype and tensor.shape == made[name].shape
        assert torch.equal(tensor.double(), made[name].double())
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_tensors_are_own_copies(path: Path) -> None:
    save_file({"a": torch.ones(2)}, path)
    with TensorFile.open(path) as file:
        file.tensor("a").zero_()
        assert file.tensor("a").sum() == 2
    assert dict(file.tensors(["a"]))["a"].sum() == 2, "it can still be read after the block"


def test_opening_reads_the_header_only(path: Path) -> None:
    write(path, {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
    file = TensorFile.open(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UnreadableFile, match="middle of a tensor"):
        file.tensor("a")


def test_unknown_name_has_a_nearest(path: Path) -> None:
    with pytest.raises(FileProblem) as caught:
        TensorFile.open(write(path, {"alpha": ONE["a"]})).tensor("alhpa")
    assert caught.value.nearest == "alpha"


@pytest.mark.parametrize(
    "header",
    [
        {"__metadata__": None, **ONE},
        {"__metadata__": {}, **ONE},
        {"a": {**ONE["a"], "more": {"x": 1}}},
        json.dumps(ONE).encode() + b"   ",
        b" " + json.dumps(ONE).encode(),
        {"b": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, **ONE},
        {"n": {"dtype": "F64", "shape": [], "data_offsets": [0, 8]}},
        {"n": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}},
    ],
)
def test_harmless_headers_are_accepted(header: Any, path: Path) -> None:
    assert TensorFile.open(write(path, header)).names


def test_no_tensors_is_a_sound_file(path: Path) -> None:
    assert TensorFile.open(write(path, {}, b"")).names == ()


def test_metadata_that_are_not_text_are_named(path: Path) -> None:
    file = TensorFile.open(write(path, {"__metadata__": {"rank": 4, "name": "x"}, **ONE}))
    assert file.metadata == {"name": "x"} and file.notes == ("metadata 'rank' left out: not text",)
    assert TensorFile.open(write(path, {"__metadata__": 3, **ONE})).notes == ("metadata left out: not an object",)


def entry(dtype: Any, shape: Any, offsets: Any) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b'{"a":1,', "no object for 'a'"),
        (b'{"a":{"dtype":"F32",', "not JSON"),
        (b"{} more", "not JSON"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]};', "not JSON"),
        (b'{"a" {}}', "not JSON"),
        (b"{a:{}}", "not JSON"),
        (b'{"a":{"dtype":"F32","shape":[02],"data_offsets":[0,8]}}', "not JSON"),
        (b"[]" + b" " * 8, "JSON object"),
        (json.dumps(ONE).encode() + b"\0\0", "not JSON"),
        (b'{"\xff":1}', "UTF-8"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "levels deep"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "more than 4096 characters"),
        (
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}',
            "'a' twice",
        ),
        (b'{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}', "'shape' twice"),
        (b'{"__metadata__":{"k":"1","k":"2"}}', "'k' twice"),
        (b'{"__metadata__":{},"__metadata__":{}}', "twice"),
        (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', "NaN"),
        (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', "more than 4096 characters"),
        ({"a": 3}, "no object"),
        (entry("F6_E2M3", [2], [0, 8]), "number format 'F6_E2M3'"),
        (entry(None, [2], [0, 8]), "number format None"),
        (entry("F32", [-2], [0, 8]), "shape"),
        (entry("F32", [2.0], [0, 8]), "shape"),
        (entry("F32", [True, 2], [0, 8]), "shape"),
        (entry("F32", "2", [0, 8]), "shape"),
        (entry("F32", [1] * 17 + [2], [0, 8]), "shape"),
        (entry("F32", [2], [8, 0]), "offsets"),
        (entry("F32", [2], [0]), "offsets"),
        (entry("F32", [2], [0, 8.0]), "offsets"),
        (entry("F32", [3], [0, 8]), "8 bytes for 'a'"),
        (entry("F32", [2**62, 2**62], [0, 8]), "8 bytes for 'a'"),
        (entry("F4", [3], [0, 8]), "8 bytes for 'a'"),
        (entry("F32", [2**47, 2**47, 0], [0, 0]), "0 bytes for 'a'"),
        (entry("F32", [0, 10**400], [0, 0]), "0 bytes for 'a'"),
        (entry("F32", [1], [0, 4]), "4 bytes after the last tensor"),
        (entry("F32", [3], [0, 12]), "cut off"),
        (entry("F32", [1], [4, 8]), "a hole between"),
        ({"a": ONE["a"], "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "bytes shared"),
        ({"a": ONE["a"], "b": ONE["a"]}, "bytes shared"),
        ({"x" * 1025: ONE["a"]}, "name of more than"),
        ({"a\0b": ONE["a"]}, "control characters"),
    ],
)
def test_unsound_headers_are_refused(header: Any, why: str, path: Path) -> None:
    assert why in refused(write(path, header))


def test_sizes_of_the_header_itself(path: Path) -> None:
    assert "cut off" in refused(write(path, ONE, length=10_000))
    assert "no bytes" in refused(write(path, ONE, length=0))
    assert "more than the 16" in refused(write(path, ONE), header_cap_bytes=16)
    path.write_bytes(b"\1\0\0")
    assert "eight bytes" in refused(path)


@pytest.mark.parametrize(
    ("content", "what", "do"),
    [
        (b"hello, I am a text\nand nothing else", "a text", "not its page"),
        (b"<!DOCTYPE html><html><title>Sign in</title>", "a web page", "the download was probably refused: sign in"),
        (b'{"error":"Unauthorized"}', "the answer of a server in JSON", "the download was probably refused: sign in"),
        (b'{"model_type": "clip"}', "a JSON text", "the file of tensors that it belongs to"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture", "see the page"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture", "see the page"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0", "a gzip archive", "unpack it"),
        (b"GGUF\3\0\0\0\x20", "a GGUF model", ".safetensors form"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:5]),
)
def test_another_kind_of_file_with_this_name_is_told_for_what_it_is(
    content: bytes, what: str, do: str, tmp_path: Path
) -> None:
    for name in ("x.safetensors", "x.ckpt"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableFile, match=f"{name} is {what}") as caught:
            TensorFile.open(tmp_path / name)
        assert do in str(caught.value.do) and caught.value.given and caught.value.expected


def test_a_packed_lora_is_told_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.safetensors", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("style/style.safetensors", bytes(999))
    with pytest.raises(UnreadableFile, match="is a zip archive") as caught:
        TensorFile.open(tmp_path / "x.safetensors")
    assert caught.value.given == "inside: style/style.safetensors" and "unpack it" in str(caught.value.do)


def test_unknown_bytes_are_shown(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"\x7fELF\x02\x01\x01\x00\x00\x00\x00")
    assert "unknown bytes: 7f 45" in refused(tmp_path / "x.ckpt")


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    (tmp_path / "clip.safetensors").write_bytes(b"")
    with pytest.raises(UnreadableFile, match="is empty"):
        TensorFile.open(tmp_path / "clip.safetensors")
    with pytest.raises(FileProblem, match="no such file") as caught:
        TensorFile.open(tmp_path / "clp.safetensors")
    assert caught.value.nearest == "clip.safetensors"
    with pytest.raises(FileProblem, match="a folder was given"):
        TensorFile.open(tmp_path)
    with pytest.raises(FileProblem, match="no such file"):
        TensorFile.open(tmp_path / "nowhere" / "x.pt")


def test_formats_without_use_are_named_when_asked_for(path: Path) -> None:
    file = TensorFile.open(write(path, entry("U32", [2], [0, 8])))
    assert file.dtype("a") == "U32"
    with pytest.raises(UnreadableFile, match="number format"):
        file.tensor("a")
