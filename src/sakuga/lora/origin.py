"""Origin: gives the pristine numbers of a weight once more, from wherever its part was filled. Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from sakuga.tensors.file import TensorFile


class Origin(Protocol):
    """A function of (component, dotted module, parameter) to its numbers, or to None where it knows none.

    They have the weight's shape; their number format is that of the file, from which ``tensor.to(dtype)`` makes the
    very bits that the weight had when it was loaded. Each call reads anew.
    """

    def __call__(self, component: str, module: str, parameter: str, /) -> Tensor | None: ...


def origin_of(files: Mapping[str, Path | Iterable[Path]]) -> Origin:
    """The Origin of parts whose files name every weight as the module does, as those of diffusers do: component → its
    file, or all of its files. Reads headers alone; raises FileProblem and its kinds as ``TensorFile.open`` does.
    """
    held: dict[tuple[str, str], TensorFile] = {}
    for component, given in files.items():
        for path in (given,) if isinstance(given, Path) else given:
            file = TensorFile.open(path)
            held |= {(component, name): file for name in file.names}

    def numbers(component: str, module: str, parameter: str, /) -> Tensor | None:
        name = f"{module}.{parameter}" if module else parameter
        file = held.get((component, name))
        return None if file is None else file.tensor(name)

    return numbers
