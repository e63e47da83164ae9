"""Row: one file in the index, as it lies in the table. Reads nothing, and knows no SQL."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from sakuga.lora.library.folders import Found


class Row(NamedTuple):
    """The columns, in their order. ``algorithms``, ``ranks`` and ``words`` are JSON; ``path`` is as the system has it.

    ``kind``: "adapter", "other" (a sound file that is none) or "broken". ``stated`` are hashes that somebody states;
    ``sha256`` and ``payload_sha256`` are empty until they were asked for.
    """

    path: bytes
    size_bytes: int
    mtime_ns: int
    beside: str
    kind: str
    name: str
    alias: str = ""
    layout: str = ""
    family: str = ""
    algorithms: str = "{}"
    ranks: str = "{}"
    modules: int = 0
    words: str = "[]"
    base: str = ""
    title: str = ""
    preview: str = ""
    error: str = ""
    stated: str = ""
    sha256: str = ""
    payload_sha256: str = ""

    @property
    def file(self) -> Path:
        """Where it lies."""
        return Path(os.fsdecode(self.path))

    def same_as(self, found: Found) -> bool:
        """Whether the row still speaks of the file as it is, and of what stands beside it."""
        mine = (self.size_bytes, self.mtime_ns, self.beside)
        return mine == (found.size_bytes, found.mtime_ns, found.beside)

    def told(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "file": str(self.file),
            "kind": self.kind,
            "family": self.family or None,
            "layout": self.layout or None,
            "algorithms": json.loads(self.algorithms),
            "ranks": json.loads(self.ranks),
            "modules": self.modules,
            "alias": self.alias or None,
            "trigger_words": json.loads(self.words),
            "base": self.base or None,
            "title": self.title or None,
            "preview": self.preview or None,
            "size_bytes": self.size_bytes,
            "error": self.error or None,
            "sha256": self.sha256 or None,
            "autov3": self.payload_sha256[:12] or None,
        }

    @property
    def searched(self) -> str:
        """All that a word is looked for in."""
        parts = (self.name, self.alias, self.title, self.family, self.base, self.algorithms)
        return "\n".join((*parts, " ".join(json.loads(self.words)), self.file.parent.name)).casefold()
