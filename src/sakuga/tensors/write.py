"""Writing safetensors files: a header from names and shapes, then one tensor after another.

The same tensors and metadata always give the same bytes. That a file appears whole or not at all is for those who call.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from sakuga.tensors.entry import BITS, TORCH_NAMES, bytes_of
from sakuga.whole import writing

if TYPE_CHECKING:
    import torch

ALIGNMENT = 8
CHUNK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The place of one tensor in a file that is to be written; ``dtype`` as headers call it ("F16")."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor."""
        return bytes_of(self.dtype, self.shape) or 0


def dtype_name(dtype: torch.dtype) -> str:
    """What headers call a number format of torch: "F16". KeyError for one that no file holds."""
    return {torch_name: name for name, torch_name in TORCH_NAMES.items()}[str(dtype).removeprefix("torch.")]


def header_of(slots: Iterable[Slot], metadata: Mapping[str, str]) -> bytes:
    """The header for these tensors, one after another, with its length before it and spaces up to a whole word."""
    tree: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    reached = 0
    for slot in slots:
        assert slot.name not in tree, f"two tensors are called {slot.name}"
        stop = reached + slot.size_bytes
        tree[slot.name] = {"dtype": slot.dtype, "shape": list(slot.shape), "data_offsets": [reached, stop]}
        reached = stop
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def write_tensors(
    path: Path,
    slots: Sequence[Slot],
    metadata: Mapping[str, str],
    tensors: Iterable[torch.Tensor | Iterable[bytes]],
    *,
    final: Path | None = None,
) -> None:
    """A file at a path that nobody else knows yet. ``tensors`` come in the order of ``slots``, one after another, or as
    the very bytes of one in pieces. Raises OutputError about ``final``, the output that the file is for.
    """
    import torch

    header = header_of(slots, metadata)
    with writing(final or path, needed=_size(header, slots)), path.open("wb") as stream:
        stream.write(header)
        for slot, tensor in zip(slots, tensors, strict=True):
            if isinstance(tensor, torch.Tensor):
                _write(stream, slot, tensor)
            else:
                written = sum(stream.write(piece) for piece in tensor)
                assert written == slot.size_bytes, f"{written} bytes are not what {slot.name} is to have"


class Spool:
    """Tensors whose number and sizes are not known yet, kept on the disk; ``save`` makes the file of them.

    Its order is that of the safetensors library: wide number formats before narrow ones, then by name. A context
    manager; what was kept is gone at its end. Raises OutputError about ``final``, the output that it is all for; what
    is kept lies on the same disk.
    """

    def __init__(self, final: Path) -> None:
        self._final = final
        self._slots: dict[Slot, int] = {}
        self._names: set[str] = set()
        self._stream: IO[bytes] | None = None
        self._reached = 0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Keep a tensor. Two of one name are a mistake of the caller."""
        assert name not in self._names, f"two tensors are called {name}"
        slot = Slot(name=name, dtype=dtype_name(tensor.dtype), shape=tuple(tensor.shape))
        with writing(self._final, needed=self._reached + slot.size_bytes):
            if self._stream is None:
                self._stream = tempfile.TemporaryFile(dir=self._final.parent)  # noqa: SIM115 closed by the with block
            _write(self._stream, slot, tensor)
        self._names.add(name)
        self._slots[slot], self._reached = self._reached, self._reached + slot.size_bytes

    @property
    def names(self) -> Collection[str]:
        """The names of the tensors so far."""
        return self._names

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the file to a path that nobody else knows yet."""
        slots = sorted(self._slots, key=lambda slot: (-BITS[slot.dtype], slot.name))
        header = header_of(slots, metadata)
        with writing(self._final, needed=_size(header, slots)), path.open("wb") as stream:
            if self._stream is not None:
                self._stream.flush()
            stream.write(header)
            for slot in slots:
                self._copy(slot, stream)

    def _copy(self, slot: Slot, stream: IO[bytes]) -> None:
        if self._stream is None or not slot.size_bytes:
            return
        self._stream.seek(self._slots[slot])
        left = slot.size_bytes
        while left:
            chunk = self._stream.read(min(left, CHUNK_BYTES))
            stream.write(chunk)
            left -= len(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            with suppress(OSError):  # it would write what is left in its buffer, which nobody needs any more
                self._stream.close()


def _size(header: bytes, slots: Iterable[Slot]) -> int:
    return len(header) + sum(slot.size_bytes for slot in slots)


def _write(stream: IO[bytes], slot: Slot, tensor: torch.Tensor) -> None:
    import torch

    assert (dtype_name(tensor.dtype), tuple(tensor.shape)) == (slot.dtype, slot.shape), f"not what {slot.name} is to be"
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if flat.numel():
        stream.write(flat.view(torch.uint8).numpy().data)
