"""References: whether a text means a path or a name in a library, and the error for a path where nothing is.

Asks only what is there; opens no file.
"""

from __future__ import annotations

import os
from pathlib import Path

from sakuga.errors import FileProblem, nearest_name

SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")  # of files of tensors, the safer kind first
# An adapter in a folder, as PEFT and diffusers save it: the folder's name is the adapter's.
ADAPTER_FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors", "adapter_model.bin")


def is_path(ref: str | Path) -> bool:
    """Whether this is written as a path: with a slash, or with the ending of a file of tensors."""
    text = str(ref)
    return isinstance(ref, Path) or "/" in text or os.sep in text or text.endswith(SUFFIXES)


def adapter_in(path: Path) -> Path:
    """The file of an adapter that lies in the folder ``path``; what is no such folder is itself."""
    inside = (path / name for name in ADAPTER_FILES)
    return next((file for file in inside if file.is_file()), path) if path.is_dir() else path


def not_there(path: Path, expected: str) -> FileProblem:
    """The error for a path where nothing is, or a file in the place of a folder, with the nearest name beside it."""
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest_name(path.name, beside)
    title = f"{path} is no folder" if path.exists() else "no such file or folder"
    return FileProblem(title, given=str(path), expected=expected, nearest=near, do="check the path")
