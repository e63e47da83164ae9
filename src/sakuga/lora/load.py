"""Load: from a path to an Adapter for given modules, in one call. For programs; a Job goes by its own steps."""

from __future__ import annotations

import os
import reprlib
from pathlib import Path

from sakuga.errors import SakugaError
from sakuga.lora.adapter import Adapter
from sakuga.lora.library.folders import adapter_name
from sakuga.lora.read import read_adapter
from sakuga.lora.targets import Parts, names_of, parts_of
from sakuga.tensors.file import TensorFile
from sakuga.tensors.refs import adapter_in


def load_lora(path: str | os.PathLike[str], parts: Parts, name: str | None = None) -> Adapter:
    """The adapter in the file ``path``, checked against ``parts`` and ready for a Stack.

    ``path`` may also be a folder that PEFT or diffusers saved the adapter into, or the ``adapter_config.json`` in it.
    ``parts`` is a mapping of component to module ("unet", "text_encoder" …; ``pipeline.components`` serves) or one
    module, whose component is told by the names of its children. ``name`` is what the adapter is called in errors and
    in ``Applied.set``; by default the file's name without its suffix, or the folder's where the file's says nothing.

    Raises AdapterDoesNotFit, UnknownFile when it is no adapter, UnreadableFile when it is broken, FileProblem where no
    file is, SakugaError for what is no path, no module or no name. No part is changed.
    """
    modules = parts_of(parts)
    where = _file(path)
    if name is not None and not isinstance(name, str):
        raise SakugaError(
            "an adapter's name is a text",
            given=reprlib.repr(name),
            expected="a text, or None for the file's own name",
            do='give load_lora(path, parts, "ink")',
        )
    with TensorFile.open(where) as file:
        return read_adapter(file, names_of(modules), name or adapter_name(where))


def _file(path: object) -> Path:
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise SakugaError(
            "this is no path of an adapter",
            given=reprlib.repr(path),
            expected="a path as text or as Path",
            do='give load_lora("ink.safetensors", parts)',
        )
    return adapter_in(Path(path))
