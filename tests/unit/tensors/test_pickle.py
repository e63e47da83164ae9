"""The pickle reader: what torch.save writes is read to the bit, and nothing that a pickle asks for is ever done."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sakuga.errors import UnreadableFile
from sakuga.tensors.file import TensorFile

MAGIC = 0x1950A86A20F9469CFC6C
both = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(path: Path, value: Any, zipped: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def zip_with(path: Path, data: bytes, members: dict[str, bytes] | None = None) -> Path:
    """A checkpoint container around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in (members or {}).items():
            archive.writestr(name, content)
    return path


def legacy_with(path: Path, data: bytes) -> Path:
    parts = (MAGIC, 1001, {"little_endian": True})
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + data + pickle.dumps([], 2))
    return path


def refused(path: Path) -> str:
    with pytest.raises(UnreadableFile) as caught:
        TensorFile.open(path)
    return str(caught.value.given)


@both
def test_tensors_of_every_kind_come_back(zipped: bool, tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    made = {
        "f32": torch.randn(2, 3),
        "f16": torch.randn(4).half(),
        "bf16": torch.randn(4).bfloat16(),
        "i64": torch.arange(3),
        "flags": torch.tensor([True, False]),
        "number": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "turned": whole.T,
        "part": whole[1:3, ::2],
        "again": whole,
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    file = TensorFile.open(save(tmp_path / "x.bin", made, zipped))
    assert file.kind == "pickle" and file.names == tuple(made) and not file.extras
    for name, tensor in file.tensors():
        assert tensor.dtype == made[name].dtype and tensor.is_contiguous()
        assert torch.equal(tensor, made[name].detach()), name


@both
def test_nested_dicts_and_what_is_no_tensor(zipped: bool, tmp_path: Path) -> None:
    tree = {
        "state_dict": collections.OrderedDict(a=torch.ones(1)),
        "epoch": 7,
        "hyper": {"rate": 0.5, "name": "x", "none": None, "on": True},
        "list": [torch.zeros(1), {"deep": torch.ones(2)}],
        "dtype": torch.float16,
        "size": torch.Size([2, 3]),
        5: "number as key",
    }
    file = TensorFile.open(save(tmp_path / "x.ckpt", tree, zipped))
    assert file.names == ("state_dict.a", "list.0", "list.1.deep")
    assert file.extras == {
        "epoch": 7,
        "hyper.rate": 0.5,
        "hyper.name": "x",
        "hyper.none": None,
        "hyper.on": True,
        "dtype": "<torch.float16>",
        "size.0": 2,
        "size.1": 3,
        "5": "number as key",
    }


@both
def test_modules_state_and_old_parameter_dicts(zipped: bool, tmp_path: Path) -> None:
    state = torch.nn.Linear(2, 2).state_dict()  # an OrderedDict with an attribute
    assert TensorFile.open(save(tmp_path / "a.pt", state, zipped)).names == ("weight", "bias")
    old = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.randn(2, 4))})
    file = TensorFile.open(save(tmp_path / "b.pt", {"string_to_param": old, "string_to_token": {"*": 265}}, zipped))
    assert file.names == ("string_to_param.*",)
    assert torch.equal(file.tensor("string_to_param.*"), old["*"].detach())


def test_training_checkpoint_with_numpy_numbers(tmp_path: Path) -> None:
    import numpy as np

    tree = {"state_dict": {"a": torch.ones(1)}, "best": np.float64(0.25), "callbacks": {"x": np.int64(3)}}
    file = TensorFile.open(save(tmp_path / "x.ckpt", tree))
    assert file.names == ("state_dict.a",) and file.extras["best"] == "<numpy scalar>"


def flip(path: Path, part: bytes) -> Path:
    """Change one bit of the first byte of ``part`` where it stands in the file."""
    data = bytearray(path.read_bytes())
    data[data.index(part)] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("shown", ["whole", "end"], ids=["the tensor itself", "another on the same numbers"])
def test_a_flipped_bit_in_a_pt_file_is_noticed(tmp_path: Path, shown: str) -> None:
    numbers = torch.arange(1.0, 1e6)  # more than is read at once
    made = {"whole": numbers, "end": numbers[-2:], "other": torch.full((5,), 7.0)}
    file = TensorFile.open(flip(save(tmp_path / "x.pt", made), numbers.numpy().tobytes()))
    with pytest.raises(UnreadableFile, match="not those that were written") as caught:
        file.tensor(shown)
    assert str(caught.value.given).startswith(f"{file.path}: {shown}: a CRC-32 of ")
    assert torch.equal(file.tensor("other"), made["other"]), "the rest is sound"


def test_a_flipped_bit_in_the_pickle_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"a_name": torch.ones(3)})
    assert "its CRC-32 is not the one" in refused(flip(path, b"a_name"))


def test_a_file_saved_without_checksums_is_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = save(tmp_path / "x.pt", {"a": torch.arange(9.0)})
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(TensorFile.open(path).tensor("a"), torch.arange(9.0))


class Hostile:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def touch(path: str) -> None:
    Path(path).touch()


@both
@pytest.mark.parametrize("protocol", [2, 4])
def test_calls_are_refused_by_name_and_never_done(zipped: bool, protocol: int, tmp_path: Path) -> None:
    import builtins
    import os
    import subprocess

    witness = tmp_path / "witness"
    for function, arguments in (
        (os.system, (f"touch {witness}",)),
        (builtins.eval, (f"open({str(witness)!r}, 'w')",)),
        (builtins.exec, (f"open({str(witness)!r}, 'w')",)),
        (subprocess.check_output, (["touch", str(witness)],)),
        (builtins.getattr, ("x", "upper")),
        (torch.load, (str(witness),)),
        (builtins.open, (str(witness), "w")),
    ):
        data = pickle.dumps({"a": Hostile(function, *arguments)}, protocol)
        path = (zip_with if zipped else legacy_with)(tmp_path / "evil.ckpt", data)
        assert refused(path).startswith("it asks for "), function
        assert not witness.exists()
        path.unlink()


def test_trees_without_end(tmp_path: Path) -> None:
    knot: dict[str, Any] = {}
    knot["again"] = knot
    assert "levels deep" in refused(zip_with(tmp_path / "a.ckpt", pickle.dumps(knot, 2)))
    doubled: Any = []
    for _ in range(30):
        doubled = [doubled, doubled]
    assert "parts" in refused(zip_with(tmp_path / "b.ckpt", pickle.dumps({"x": doubled}, 2)))
    deep = b"(" * 1 + b"]" + b"\x85" * 200_000 + b"l."
    assert "levels deep" in refused(zip_with(tmp_path / "c.ckpt", deep))


def tensor_pickle(count: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A pickle of one float tensor over a storage that claims ``count`` numbers."""

    class Storage:
        pass

    class Tensor:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, stride, False, None)

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if isinstance(thing, Storage) else None

    target = io.BytesIO()
    Pickler(target, 2).dump({"a": Tensor()})
    return target.getvalue()


@pytest.mark.parametrize(
    ("count", "offset", "shape", "stride", "why"),
    [
        (4, 0, (5,), (1,), "beyond its storage"),
        (4, 1, (4,), (1,), "beyond its storage"),
        (4, 0, (2, 2), (3, 1), "beyond its storage"),
        (4, 0, (2**40,), (0,), "repeats"),
        (4, 0, (2, 2**40), (1, 0), "repeats"),
        (4, 0, (2, 3), (1, 1), "repeats"),
        (4, 0, (4,), (1, 1), "sizes and"),
        (4, 0, (4,), (-1,), "whole numbers"),
        (4, -1, (4,), (1,), "whole numbers"),
        (4, 0, (2**60,), (1,), "whole numbers"),
        (4, 0, (2**47, 2**47, 0), (0, 0, 1), "a tensor of shape"),
        (5, 0, (4,), (1,), "16 bytes for 5 numbers"),
        (4, 0, (1,) * 17, (1,) * 17, "17 sizes"),
    ],
)
def test_views_stay_in_their_storage(
    count: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], why: str, tmp_path: Path
) -> None:
    data = tensor_pickle(count, offset, shape, stride)
    assert why in refused(zip_with(tmp_path / "x.pt", data, {"archive/data/0": bytes(16)}))


def test_view_of_a_view_by_hand(tmp_path: Path) -> None:
    numbers = struct.pack("<6f", *range(6))
    path = zip_with(tmp_path / "x.pt", tensor_pickle(6, 1, (2, 2), (1, 2)), {"archive/data/0": numbers})
    assert TensorFile.open(path).tensor("a").tolist() == [[1, 3], [2, 4]]


def test_missing_storage(tmp_path: Path) -> None:
    assert "are missing" in refused(zip_with(tmp_path / "x.pt", tensor_pickle(4, 0, (4,), (1,))))


def test_zip_containers_that_torch_does_not_write(tmp_path: Path) -> None:
    empty = pickle.dumps({}, 2)
    assert "leads out" in refused(zip_with(tmp_path / "a.pt", empty, {"archive/../../x": b"1"}))
    assert "leads out" in refused(zip_with(tmp_path / "b.pt", empty, {"/etc/x": b"1"}))
    assert "big-endian" in refused(zip_with(tmp_path / "c.pt", empty, {"archive/byteorder": b"big"}))
    assert "TorchScript" in refused(zip_with(tmp_path / "d.pt", empty, {"archive/code/x.py": b"1"}))
    assert "other/data.pkl" in refused(zip_with(tmp_path / "e.pt", empty, {"other/data.pkl": empty}))
    with zipfile.ZipFile(tmp_path / "f.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", empty)
        bomb.writestr("archive/data/0", bytes(10_000_000))
    assert "claim more bytes" in refused(tmp_path / "f.pt")
    with zipfile.ZipFile(tmp_path / "g.pt", "w") as mixed:
        mixed.writestr("archive/data.pkl", empty)
        mixed.writestr("archive/data/0", bytes(range(250)) * 2, compress_type=zipfile.ZIP_DEFLATED)
    assert "is compressed" in refused(tmp_path / "g.pt")


@both
def test_truncated_anywhere(zipped: bool, tmp_path: Path) -> None:
    whole = save(tmp_path / "x.pt", {"a": torch.randn(64), "b": "text"}, zipped).read_bytes()
    for size in {*range(1, len(whole) - 1, 23), len(whole) - 1}:
        (tmp_path / "y.pt").write_bytes(whole[:size])
        with pytest.raises(UnreadableFile):
            TensorFile.open(tmp_path / "y.pt")


@both
def test_any_byte_changed_reads_or_is_refused(zipped: bool, tmp_path: Path) -> None:
    whole = bytearray(save(tmp_path / "x.pt", {"a": torch.randn(4), "n": 3}, zipped).read_bytes())
    for place in range(0, min(len(whole), 700), 3):
        changed = bytearray(whole)
        changed[place] ^= 0x55
        (tmp_path / "y.pt").write_bytes(changed)
        try:
            dict(TensorFile.open(tmp_path / "y.pt").tensors())
        except UnreadableFile:
            continue


def test_a_pickle_that_is_not_torchs(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(pickle.dumps({"a": 1}, 2))
    assert "not of torch" in refused(tmp_path / "x.pt")


def test_a_whole_model_is_refused_by_its_class(tmp_path: Path) -> None:
    assert "torch.nn.modules.linear.Linear" in refused(save(tmp_path / "x.pt", torch.nn.Linear(1, 1)))
