"""Reading: the row of a file, from its header and from what stands beside it.

A broken file has a row too, with its reason. Nothing here knows SQL.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sakuga.errors import SakugaError
from sakuga.lora.library.folders import Found, adapter_name
from sakuga.lora.library.listings import Glimpse, Listings
from sakuga.lora.library.row import Row
from sakuga.lora.library.sidecars import Sidecars, read_sidecars
from sakuga.lora.words import alias, clean, stated_base, stated_words, tag_counts

USUAL_TAGS = 5  # of the training's tags, where no trigger word is stated
HASHES_CAP = 2000  # characters


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
