"""Ask the library: by name, by a word, by a hash. A name that two files have is an error that lists both.

Names are stems, before the aliases that trainings state. Works on rows; only a hash makes it read a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sakuga.errors import FileProblem, nearest_name
from sakuga.lora.library.folders import Scan
from sakuga.lora.library.index import Index
from sakuga.lora.library.row import Row
from sakuga.progress import Progress

HASH = re.compile(r"(?:0x)?([0-9a-f]{8,64})", re.IGNORECASE)
SHOWN = 10  # files that an error lists


def named(name: str, rows: Sequence[Row], scan: Scan) -> Row:
    """The one adapter that is called so. Raises FileProblem when there is none, or more than one file."""
    one_each = _one_each(rows, scan)
    adapters = [row for row in one_each if row.kind == "adapter"]
    for found in ([row for row in adapters if row.name == name], [row for row in adapters if row.alias == name]):
        if len(found) > 1:
            raise _ambiguous(name, found)
        if found:
            return found[0]
    broken = next((row for row in one_each if row.kind != "adapter" and row.name == name), None)
    if broken:
        raise FileProblem(
            f"{name} is no adapter that can be used" if broken.kind == "other" else f"{name} cannot be read",
            given=f"{broken.file}: {broken.error}",
            expected="an adapter",
            do="fetch the file again, or name another",
        )
    known = sorted({word for row in adapters for word in (row.name, row.alias) if word})
    raise FileProblem(
        "no adapter of that name is in the library",
        given=name,
        expected=f"one of {len(adapters)} adapters in {', '.join(map(str, scan.folders)) or 'no folder'}",
        nearest=nearest_name(name, known),
        do="sakuga lora list shows them all; --models names one more folder",
    )


def with_words(words: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """The adapters that have every one of the words in name, alias, title, trigger words, family, base or folder."""
    wanted = [word.casefold() for word in words]
    return [row for row in rows if row.kind == "adapter" and all(word in row.searched for word in wanted)]


def with_hash(word: str, rows: Sequence[Row], index: Index, progress: Progress | None = None) -> list[Row]:
    """The adapters whose sha256, or whose payload's, begins so; empty when ``word`` is no hash.

    Files of which a neighbour states this hash are tried first; only if none has it are all others hashed, and what was
    hashed is kept in the index.
    """
    match = HASH.fullmatch(word)
    if not match:
        return []
    wanted = match[1].lower()
    adapters = [row for row in rows if row.kind == "adapter"]
    stated = [row for row in adapters if any(one.removeprefix("0x").startswith(wanted) for one in row.stated.split())]
    found = [row for row in map(index.hashed, stated) if _has(row, wanted)]
    if found:
        return found
    watch = progress or Progress()
    watch.begin("hash", len(adapters))
    for row in adapters:
        done = index.hashed(row)
        found += [done] if _has(done, wanted) else []
        watch.advance()
    return found


def _has(row: Row, wanted: str) -> bool:
    return row.sha256.startswith(wanted) or row.payload_sha256.startswith(wanted)


def _one_each(rows: Sequence[Row], scan: Scan) -> list[Row]:
    """Every content once, however many links lead to it."""
    inodes = {one.path: one.inode for one in scan.found}
    return list({inodes.get(str(row.file), row.path): row for row in reversed(rows)}.values())[::-1]


def _ambiguous(name: str, found: Sequence[Row]) -> FileProblem:
    shown = [str(row.file) for row in found[:SHOWN]]
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return FileProblem(
        f"{len(found)} files are called {name}",
        given=", ".join([*shown, *more]),
        expected="one file of each name",
        do="give the path of the one that is meant, or rename the other",
    )
