"""Writing safetensors: what the library of that name reads, in its order, always the same bytes, whole or not."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sakuga.errors import OutputError
from sakuga.tensors import write
from sakuga.tensors.file import TensorFile
from sakuga.tensors.write import Slot, Spool, write_tensors

TENSORS = {
    "b.half": torch.randn(3, 4).half(),
    "a.wide": torch.randn(2, 2, dtype=torch.float64),
    "z.scalar": torch.tensor(2.0),
    "a.odd": torch.randn(5).bfloat16(),
    "c.empty": torch.zeros(0, 3),
    "d.flags": torch.tensor([True, False, True]),
    "e.turned": torch.randn(4, 3).T,
    "f.tiny": torch.randn(3).to(torch.float8_e4m3fn),
    "g.whole": torch.tensor([1, -2, 3]),
}


def _spooled(path: Path, names: list[str], metadata: dict[str, str]) -> bytes:
    with Spool(path) as spool:
        for name in names:
            spool.add(name, TENSORS[name])
        spool.save(path, metadata)
    return path.read_bytes()


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    _spooled(tmp_path / "x.safetensors", list(TENSORS), {"wer": "ich", "ä": "ö\n"})
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        bits = [one.contiguous().reshape(-1).view(torch.uint8) for one in (found[name], tensor)]
        assert torch.equal(*bits), name
    assert TensorFile.open(tmp_path / "x.safetensors").metadata == {"wer": "ich", "ä": "ö\n"}


def test_the_bytes_do_not_depend_on_the_order_of_adding(tmp_path: Path) -> None:
    one = _spooled(tmp_path / "one.safetensors", list(TENSORS), {"a": "1", "b": "2"})
    two = _spooled(tmp_path / "two.safetensors", list(TENSORS)[::-1], {"b": "2", "a": "1"})
    assert one == two


def test_the_tensors_lie_where_the_library_puts_them(tmp_path: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in TENSORS.items() if name[0] in "abz"}
    save_file(tensors, tmp_path / "theirs.safetensors")
    _spooled(tmp_path / "ours.safetensors", list(tensors), {})
    places = [
        {name: (entry.start - begin, entry.stop - begin) for name, entry in file.entries.items()}
        for file in (TensorFile.open(tmp_path / f"{name}.safetensors") for name in ("theirs", "ours"))
        for begin in [min(entry.start for entry in file.entries.values())]
    ]
    assert places[0] == places[1]


def test_tensors_come_in_the_order_given_as_tensors_or_as_bytes(tmp_path: Path) -> None:
    names = ["z.scalar", "b.half", "a.wide"]
    slots = [Slot(name=n, dtype=write.dtype_name(TENSORS[n].dtype), shape=tuple(TENSORS[n].shape)) for n in names]
    pieces = [bytes(TENSORS["b.half"].numpy().tobytes()[at : at + 5]) for at in range(0, 24, 5)]
    write_tensors(tmp_path / "x.safetensors", slots, {}, [TENSORS["z.scalar"], pieces, TENSORS["a.wide"]])
    file = TensorFile.open(tmp_path / "x.safetensors")
    assert file.names == tuple(names)
    assert all(torch.equal(file.tensor(name), TENSORS[name]) for name in names)


def test_a_disk_that_is_full_is_told_with_the_name_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(write, "_write", full)
    with pytest.raises(OutputError) as caught, Spool(Path("out.safetensors")) as spool:
        spool.add("a", torch.zeros(2_000_000))
    assert caught.value.title == "out.safetensors: there is no room"
    assert str(caught.value.expected).startswith("8.0 MB of room; ")
