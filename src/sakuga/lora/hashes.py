"""Hashes: the names that model sites and other tools use for a file, each over exactly the bytes that they mean.

The file is read once, a piece at a time, for all of them. They name contents; they say nothing about who made them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sakuga.errors import FileProblem
from sakuga.tensors.file import TensorFile

CHUNK_BYTES = 2**20
OLD_BEGIN, OLD_BYTES = 0x100000, 0x10000  # the piece of a file that the oldest of the hashes is over
BLAKE3 = "blake3"  # a package that is asked for by those who want this hash, and by nobody else


@dataclass(frozen=True, kw_only=True)
class Hashes:
    """``payload_sha256`` is over what comes after a safetensors header; None for a pickle, which has no such part.

    ``autov1`` is None for a file that ends before the piece that it is over (others give the hash of nothing then).
    ``crc32`` and ``blake3`` are None when they were not asked for; ``blake3`` also where its package is missing.
    """

    sha256: str
    payload_sha256: str | None
    autov1: str | None
    crc32: str | None = None
    blake3: str | None = None

    @property
    def autov2(self) -> str:
        """The beginning of the file's sha256."""
        return self.sha256[:10]

    @property
    def autov3(self) -> str:
        """The beginning of the payload's sha256, of the whole file's for a pickle."""
        return (self.payload_sha256 or self.sha256)[:12]


def hashes_of(file: TensorFile, *, every: bool = False) -> Hashes:
    """Read the file for its hashes; ``every``: crc32 and blake3 too. Raises FileProblem when it cannot be read."""
    whole, payload, old = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    blake = _blake3() if every else None
    crc, done = 0, 0
    try:
        begin = _payload_begin(file.path) if file.kind == "safetensors" else 0
        with file.path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                whole.update(chunk)
                payload.update(chunk[max(0, begin - done) :])
                old.update(chunk[max(0, OLD_BEGIN - done) : max(0, OLD_BEGIN + OLD_BYTES - done)])
                if every:
                    crc = zlib.crc32(chunk, crc)
                if blake:
                    blake.update(chunk)
                done += len(chunk)
    except OSError as problem:
        raise FileProblem(
            "the file cannot be read", given=f"{file.path}: {problem.strerror}", do="see whether it is still there"
        ) from problem
    return Hashes(
        sha256=whole.hexdigest(),
        payload_sha256=payload.hexdigest() if file.kind == "safetensors" else None,
        autov1=old.hexdigest()[:8] if done > OLD_BEGIN else None,
        crc32=f"{crc:08x}" if every else None,
        blake3=blake.hexdigest() if blake else None,
    )


def has_blake3() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec(BLAKE3) is not None


def _blake3() -> Any:
    return importlib.import_module(BLAKE3).blake3() if has_blake3() else None


def _payload_begin(path: Path) -> int:
    with path.open("rb") as stream:
        return 8 + int.from_bytes(stream.read(8), "little")
