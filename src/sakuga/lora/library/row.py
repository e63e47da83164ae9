"""Row: one file in the index, as it lies in the table, and how it is read from the file and from what stands beside it.

A broken file has a row too, with its reason. Nothing here knows SQL.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from sakuga.errors import SakugaError
from sakuga.lora.library.folders import Found
from sakuga.lora.library.listings import Glimpse, Listings
from sakuga.lora.library.sidecars import Sidecars, read_sidecars
from sakuga.lora.words import alias, clean, stated_base, stated_words, tag_counts

# Files whose own name says nothing: the folder's is the adapter's.
PLAIN_STEMS = ("adapter_model", "pytorch_lora_weights")
USUAL_TAGS = 5  # of the training's tags, where no trigger word is stated
HASHES_CAP = 2000  # characters


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


def adapter_name(path: Path) -> str:
    """What an adapter is called by: its stem, or its folder's name where the file's own says nothing."""
    return path.parent.name if path.stem in PLAIN_STEMS else path.stem


def read_row(found: Found, listings: Listings) -> Row:
    """The row of a file. A file that cannot be read has one that says why."""
    path = Path(found.path)
    row = Row(
        path=os.fsencode(found.path),
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        beside=found.beside,
        kind="broken",
        name=_storable(adapter_name(path)),
    )
    try:
        glimpse, metadata = listings.glimpse(path)
    except SakugaError as problem:
        return row._replace(error=clean(f"{problem.title}: {problem.given}" if problem.given else problem.title))
    except OSError as problem:
        return row._replace(error=clean(f"it cannot be read: {problem.strerror}"))
    if glimpse.kind != "adapter":
        return row._replace(kind=glimpse.kind, error=clean(glimpse.error))
    beside = read_sidecars(path, found.sidecar_suffixes) if found.beside else Sidecars()
    row = _with_glimpse(row, glimpse)
    words = tuple(filter(None, (stated_words(metadata), *beside.words)))
    if not words:
        words = tuple(tag for tag, _ in tag_counts(metadata).most_common(USUAL_TAGS))
    stated = (metadata.get("sshs_model_hash", "").lower(), *beside.hashes)
    return row._replace(
        alias=alias(metadata),
        words=json.dumps(words, ensure_ascii=False),
        base=beside.base or stated_base(metadata),
        title=beside.title,
        preview=_storable(beside.preview),
        stated=clean(" ".join(stated), HASHES_CAP),
    )


def _with_glimpse(row: Row, glimpse: Glimpse) -> Row:
    return row._replace(
        kind=glimpse.kind,
        layout=glimpse.layout,
        family=glimpse.family,
        algorithms=json.dumps(glimpse.algorithms or {}),
        ranks=json.dumps(glimpse.ranks or {}),
        modules=glimpse.modules,
        error=clean(glimpse.error),
    )


def _storable(name: str) -> str:
    """A file's name as text: bytes that are none become question marks."""
    return name.encode("utf-8", "replace").decode()
