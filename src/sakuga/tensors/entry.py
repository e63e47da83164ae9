"""Entry: where one tensor lies in a file, and how to fetch it. One record for every container; fetching never guesses.

Where the container states a checksum (zips do), numbers that are not those that were written are refused.

Number formats are called by their names in safetensors headers (``F16``, ``BF16`` …), also for pickles.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import RawIOBase
from math import prod
from typing import TYPE_CHECKING

from sakuga.errors import UnreadableFile

if TYPE_CHECKING:
    import torch

# Name in headers → name in torch. Only these are ever handed out.
TORCH_NAMES: Mapping[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
# Bits of every format that a header may name: its sizes are checked even if the tensor is not handed out afterwards.
BITS: Mapping[str, int] = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8),
    "F4": 4,
}
PIECE_BYTES = 1 << 20
NAME_CAP_BYTES = 1024
COUNT_CAP = 2**48  # numbers of a tensor
WORDS_CAP = 300  # characters of a file that one message repeats
# Control characters, halves of letters, line ends of Unicode, and what turns the direction of writing.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
_HALF = re.compile(r"[\ud800-\udfff]")


@dataclass(kw_only=True, eq=False)
class Block:
    """The bytes ``start`` … ``stop`` on which one or more tensors lie. ``crc32`` 0: the file states none, as torch
    writes when it was told to save without.
    """

    start: int
    stop: int
    crc32: int = 0
    _sound: bool = False

    def check(self, stream: RawIOBase, name: str, start: int, read: memoryview) -> None:
        """Raise UnreadableFile unless the bytes are those that were written; looks once, a megabyte at a time.

        ``read`` are the bytes from ``start`` on, of the tensor ``name``; they are not read again if they come first.
        """
        if self._sound or not self.crc32:
            return
        found, place = (zlib.crc32(read), start + len(read)) if start == self.start else (0, self.start)
        stream.seek(place)
        while place < self.stop and (piece := stream.read(min(PIECE_BYTES, self.stop - place))):
            found, place = zlib.crc32(piece, found), place + len(piece)
        if found != self.crc32:
            raise UnreadableFile(
                "the numbers in the file are not those that were written",
                given=f"{name}: a CRC-32 of {found:08x}",
                expected=f"{self.crc32:08x}, as the file states",
                do="fetch or copy the file again; some of its bits have changed",
            )
        self._sound = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One tensor of a file: format, shape, bytes ``start`` … ``stop`` (absolute). ``stride`` None: contiguous.

    ``block``: the bytes that it is a part of, where the file states a checksum of them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    stride: tuple[int, ...] | None = None
    block: Block | None = None

    def read(self, stream: RawIOBase) -> torch.Tensor:
        """An own, contiguous copy on the CPU in the file's format.

        Raises UnreadableFile for a format that no adapter and no model uses, when the file ends too early and when its
        checksum says that the numbers have changed.
        """
        import torch

        if self.dtype not in TORCH_NAMES:
            raise UnreadableFile(
                "a tensor has a number format that is not supported",
                given=f"{self.name} in {self.dtype}",
                expected=", ".join(TORCH_NAMES),
                do="use the file in fp16, bf16 or fp32",
            )
        raw = torch.empty(self.stop - self.start, dtype=torch.uint8)
        if raw.numel():
            self._fill(stream, raw.numpy().data)
            if self.block is not None:
                self.block.check(stream, self.name, self.start, raw.numpy().data)
        if self.dtype == "BOOL":
            return (raw != 0).reshape(self.shape)
        values = raw.view(getattr(torch, TORCH_NAMES[self.dtype]))
        if self.stride is None:
            return values.reshape(self.shape)
        return values.as_strided(self.shape, self.stride).clone(memory_format=torch.contiguous_format)

    def _fill(self, stream: RawIOBase, view: memoryview) -> None:
        stream.seek(self.start)
        done = 0
        while done < len(view):
            got = stream.readinto(view[done:])
            if not got:
                raise UnreadableFile(
                    "the file ends in the middle of a tensor",
                    given=f"{self.name}: {done} of {len(view)} bytes",
                    do="fetch or copy the file again; it was cut off while it was read",
                )
            done += got


def name_problem(name: str) -> str:
    """Why nothing in a file may be called so; empty when it may.

    >>> name_problem("unet.a\\nb")
    "control characters in the name 'unet.a\\\\nb'"
    """
    if len(name) <= NAME_CAP_BYTES and name.isascii() and name.isprintable():
        return ""
    if len(name.encode("utf-8", "surrogatepass")) > NAME_CAP_BYTES:
        return f"a name of more than {NAME_CAP_BYTES} bytes: {name[:40]!r}…"
    return f"control characters in the name {name!r}" if _UNPRINTABLE.search(name) else ""


def is_text(value: str) -> bool:
    """Whether it can be written: JSON may hold halves of letters, which no file and no terminal takes."""
    return value.isascii() or not _HALF.search(value)


def quoted(words: str) -> str:
    """What a file says, for a message: one printable line that is not too long."""
    near = _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], words[:WORDS_CAP])
    return near if len(words) <= WORDS_CAP else f"{near}…"


def bytes_of(dtype: str, shape: tuple[int, ...]) -> int | None:
    """Bytes of a tensor; None if they would not be a whole number, or for more numbers than any file holds."""
    if not countable(shape):
        return None
    bits = prod(shape) * BITS[dtype]
    return None if bits % 8 else bits // 8


def countable(shape: tuple[int, ...]) -> bool:
    """Whether nobody's sums run over: a tensor without numbers may still have sizes beyond all reason."""
    return prod(size for size in shape if size) < COUNT_CAP
