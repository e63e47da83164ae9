"""Ask the library: by words and by a hash. Works on rows; only a hash makes it read a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sakuga.lora.library.index import Index
from sakuga.lora.library.row import Row
from sakuga.progress import Progress

_HASH = re.compile(r"(?:0x)?([0-9a-f]{8,64})", re.IGNORECASE)


def with_words(words: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """The adapters that have every one of the words in name, alias, title, trigger words, family, base or folder."""
    wanted = [word.casefold() for word in words]
    return [row for row in rows if row.kind == "adapter" and all(word in row.searched for word in wanted)]


def with_hash(word: str, rows: Sequence[Row], index: Index, progress: Progress | None = None) -> list[Row]:
    """The adapters whose sha256, or whose payload's, begins so; empty when ``word`` is no hash.

    Those of which the hash is known are asked first; only if none has it are all others hashed, and what was hashed is
    kept in the index.
    """
    wanted = _digits(word)
    adapters = [row for row in rows if row.kind == "adapter"]
    found = with_known_hash(word, adapters, index)
    if found or not wanted:
        return found
    watch = progress or Progress()
    watch.begin("hash", len(adapters))
    for row in adapters:
        done = index.hashed(row)
        found += [done] if _has(done, wanted) else []
        watch.advance()
    return found


def with_known_hash(word: str, rows: Sequence[Row], index: Index) -> list[Row]:
    """As ``with_hash``, but only files whose hash was computed before, or is stated beside them and turns out right."""
    wanted = _digits(word)
    if not wanted:
        return []
    stated = [row for row in rows if any(one.removeprefix("0x").startswith(wanted) for one in row.stated.split())]
    known = [index.hashed_again(row) for row in rows if _has(row, wanted)]
    return [row for row in known or map(index.hashed, stated) if _has(row, wanted)]


def _digits(word: str) -> str:
    """The digits of a hash in small letters; empty when the word is none."""
    match = _HASH.fullmatch(word)
    return match[1].lower() if match else ""


def _has(row: Row, wanted: str) -> bool:
    return row.sha256.startswith(wanted) or row.payload_sha256.startswith(wanted)
