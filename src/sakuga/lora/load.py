"""Load: from a path to an Adapter for given modules, in one call. For programs; a Job goes by its own steps."""

from __future__ import annotations

import os
from pathlib import Path

from sakuga.lora.adapter import Adapter
from sakuga.lora.read import read_adapter
from sakuga.lora.targets import Parts, names_of, parts_of
from sakuga.tensors.file import TensorFile


def load_lora(path: str | os.PathLike[str], parts: Parts, name: str | None = None) -> Adapter:
    """The adapter in the file ``path``, checked against ``parts`` and ready for a Stack.

    ``parts`` is a mapping of component to module ("unet", "text_encoder" …; ``pipeline.components`` serves) or one
    module, whose component is told by the names of its children. ``name`` is what the adapter is called in errors and
    in ``Applied.set``; by default the file's name without its suffix.

    Raises AdapterDoesNotFit, UnknownFile when it is no adapter, UnreadableFile when it is broken. No part is changed.
    """
    where = Path(path)
    with TensorFile.open(where) as file:
        return read_adapter(file, names_of(parts_of(parts)), name or where.stem)
