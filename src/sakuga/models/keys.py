"""Keys: the header of a file as names and shapes, and a view of it below a prefix. Recognition looks at this."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sakuga.tensors.file import TensorFile

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Keys:
    """Names of tensors with their shapes, in the file's order."""

    shapes: Mapping[str, Shape]

    @classmethod
    def of(cls, file: TensorFile) -> Keys:
        """The header of a file."""
        return cls({name: file.shape(name) for name in file.names})

    def under(self, prefix: str) -> Keys:
        """What lies below ``prefix``, without it."""
        cut = len(prefix)
        return Keys({name[cut:]: shape for name, shape in self.shapes.items() if name.startswith(prefix)})

    def shape(self, name: str | None) -> Shape | None:
        """The shape of a tensor, None if there is no such tensor (or no name)."""
        return None if name is None else self.shapes.get(name)

    def find(self, pattern: str) -> re.Match[str] | None:
        """The first name that begins with ``pattern`` (a regular expression of ours)."""
        return re.search(f"^(?:{pattern})", self._text, re.MULTILINE)

    def count(self, pattern: str) -> int:
        """How many different things the group of ``pattern`` matches: levels, layers, blocks."""
        return len({match[1] for match in re.finditer(f"^(?:{pattern})", self._text, re.MULTILINE)})

    def __len__(self) -> int:
        return len(self.shapes)

    @cached_property
    def _text(self) -> str:
        return "\n".join(self.shapes)
