"""The hash of an output, file or folder."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """The hash of a file; of a folder of pictures, that of all names and bytes."""
    digest = hashlib.sha256()
    files = sorted(child for child in path.iterdir() if child.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
