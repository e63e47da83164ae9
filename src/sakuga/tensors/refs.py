"""References: whether a text means a path or a name in a library, and the error for a path where nothing is.

Asks only what is there; opens no file.
"""

from __future__ import annotations

import os
from pathlib import Path

from sakuga.errors import FileProblem, nearest_file

SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")  # of files of tensors, the safer kind first
# An adapter in a folder, as PEFT and diffusers save it: the folder's name is the adapter's.
ADAPTER_FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors", "adapter_model.bin")

ADAPTER_CONFIG = "adapter_config.json"  # PEFT's, beside the first of them
SHOWN = 200  # characters of a path that a message repeats


def is_path(ref: str | Path) -> bool:
    """Whether this is written as a path: with a slash, or with the ending of a file of tensors."""
    text = str(ref)
    return isinstance(ref, Path) or "/" in text or os.sep in text or text.endswith(SUFFIXES)


def adapter_in(path: Path) -> Path:
    """The file of an adapter that lies in the folder ``path``, or beside the config ``path``; else ``path`` itself."""
    folder = path.parent if path.name == ADAPTER_CONFIG else path
    inside = (folder / name for name in ADAPTER_FILES)
    return next((file for file in inside if os.path.isfile(file)), path)


def spoken_file(path: Path) -> str:
    """What a message calls a file: its name, behind its folder's where the name alone is that of many files."""
    return os.path.join(path.absolute().parent.name, path.name) if path.name in ADAPTER_FILES else path.name


def not_there(path: Path, expected: str) -> FileProblem:
    """The error for a path where nothing is, or a file in the place of a folder, with the nearest name beside it."""
    do = "check the path"
    try:
        path.stat()
        title = f"{path} is no folder"
    except (FileNotFoundError, NotADirectoryError, ValueError):
        title = "no such file or folder"
    except OSError as problem:
        title, do = f"it cannot be looked at: {problem.strerror}", "check the path, and the rights of its folders"
    try:
        near = nearest_file(path.name, os.listdir(path.parent))
    except OSError:
        near = None
    return FileProblem(title, given=_short(path), expected=expected, nearest=near, do=do)


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
