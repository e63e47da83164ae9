"""Sidecars: what other programs have written beside an adapter: descriptions, trigger words, a picture.

All of it comes from strangers. A file is read up to a size, fields are taken by name from plain JSON and cleaned, and
pictures are named and never opened. Nothing here raises: what cannot be read becomes a note.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sakuga.lora.words import clean, prose

CAP_BYTES = 2 * 2**20
MOST_WORDS = 50
JSON_SUFFIXES = (".civitai.info", ".cm-info.json", ".metadata.json", ".json")
PICTURES = tuple(f"{middle}{suffix}" for middle in (".preview", "") for suffix in (".png", ".jpg", ".jpeg", ".webp"))
SUFFIXES = (*JSON_SUFFIXES, *PICTURES)
_INNER = ("model", "civitai", "files", "hashes")  # objects inside of the object that are looked into
_HASH = re.compile(r"[0-9a-f]{10,64}")
_HASHES = ("sha256", "autov3")


@dataclass(frozen=True, kw_only=True)
class Sidecars:
    """What stands beside an adapter. ``files`` are names; ``hashes`` are stated, not computed."""

    files: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    base: str = ""
    title: str = ""
    description: str = ""
    negative: str = ""
    remark: str = ""
    weight: float | None = None
    preview: str = ""
    hashes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_sidecars(path: Path, suffixes: Collection[str] = SUFFIXES) -> Sidecars:
    """What stands beside the adapter at ``path``. ``suffixes`` are those that are known to be there."""
    beside = {suffix: path.with_name(path.stem + suffix) for suffix in SUFFIXES if suffix in suffixes}
    there = {suffix: one for suffix, one in beside.items() if _is_file(one)}
    notes: list[str] = []
    objects: list[dict[str, Any]] = []
    for suffix in JSON_SUFFIXES:
        if suffix in there:
            found = _read(there[suffix], notes)
            objects += [found] if found else []
    fields = [pair for found in objects for pair in _fields(found)]
    picture = next((there[suffix].name for suffix in PICTURES if suffix in there), "")
    return Sidecars(
        files=tuple(one.name for one in there.values()),
        words=_words(fields),
        base=_first(fields, "basemodel", "sdversion", but="Unknown"),
        title=_first(fields, "modelname", "name"),
        description=_first(fields, "modeldescription", "description", "versiondescription", long=True),
        negative=_first(fields, "negativetext"),
        remark=_first(fields, "notes", long=True),
        weight=_weight(fields),
        preview=picture,
        hashes=tuple(dict.fromkeys(_stated_hashes(fields))),
        notes=tuple(notes),
    )


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _read(path: Path, notes: list[str]) -> dict[str, Any] | None:
    """The object in a JSON file, or None with a note. A file that is too long is not read."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(CAP_BYTES + 1)
        if len(raw) > CAP_BYTES:
            raise ValueError(f"more than {CAP_BYTES} bytes")
        found = json.loads(raw.decode("utf-8-sig"))
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError) as problem:
        notes.append(f"{clean(path.name)} is not read: {clean(str(problem), 120)}")
        return None
    return found


def _fields(found: Mapping[str, Any], depth: int = 3) -> Iterator[tuple[str, Any]]:
    """(name without capitals, spaces and underscores, value) of the object and of the known objects inside it."""
    plain = [(re.sub(r"[\s_]+", "", name).lower(), value) for name, value in found.items()]
    yield from plain
    for name, value in plain if depth else ():
        inner = value if isinstance(value, list) else [value]
        for one in inner[:MOST_WORDS] if name in _INNER else ():
            if isinstance(one, dict):
                yield from _fields(one, depth - 1)


def _words(fields: list[tuple[str, Any]]) -> tuple[str, ...]:
    words: list[str] = []
    for name, value in fields:
        if name == "activationtext":
            words.append(clean(value))
        elif name == "trainedwords" and isinstance(value, list):
            words += [clean(word).strip(" ,") for word in value[:MOST_WORDS]]
    return tuple(dict.fromkeys(word for word in words if word))


def _first(fields: list[tuple[str, Any]], *names: str, long: bool = False, but: str = "") -> str:
    """The first text of these names, the likelier name first."""
    for wanted in names:
        for name, value in fields:
            text = (prose(value) if long else clean(value)) if name == wanted else ""
            if text and text != but:
                return text
    return ""


def _weight(fields: list[tuple[str, Any]]) -> float | None:
    """The weight that its owner prefers; 0 means that none was set."""
    for name, value in fields:
        if name == "preferredweight" and type(value) in (int, float) and 0 < abs(value) <= 1000:
            return float(value)
    return None


def _stated_hashes(fields: list[tuple[str, Any]]) -> Iterator[str]:
    for name, value in fields:
        if name in _HASHES and isinstance(value, str) and _HASH.fullmatch(value.lower()):
            yield value.lower()
