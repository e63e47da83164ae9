"""Listings: what an index keeps of a file, from its header alone: kind, layout, family, algorithms, ranks.

Files that one trainer made with one setting list the very same tensors. Such a list is read strictly once and then
known by its digest, so that ten thousand files cost little more than reading their headers. ``survey`` is the only
judge of what a list means; no scalar and no factor is read for it.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sakuga.errors import AdapterDoesNotFit, UnknownFile
from sakuga.tensors.file import TensorFile
from sakuga.tensors.refs import spoken_file
from sakuga.tensors.safetensors_header import HEADER_CAP_BYTES

if TYPE_CHECKING:
    import torch

    from sakuga.lora.formats import Group, Header
    from sakuga.lora.module import Module
    from sakuga.lora.survey import Survey

USUAL_BYTES = 2**16  # of a header, in which most metadata end
_BEGIN = b'{"__metadata__":'
_ANY = "any-file"  # the stem in the place of the names of all files with one list


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """``kind``: "adapter" or "other". ``error``: why it is no adapter, or what of it is not used.

    ``alternatives``: the families that it may be of, where names and shapes leave several.
    """

    kind: str
    layout: str = ""
    family: str = ""
    alternatives: tuple[str, ...] = ()
    algorithms: Mapping[str, int] | None = None
    ranks: Mapping[str, int] | None = None
    modules: int = 0
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class _Known:
    glimpse: Glimpse
    payload_bytes: int


class Listings:
    """A reader of headers that remembers the lists it has seen."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}
        self._modules: dict[Hashable, Module] = {}

    def glimpse(self, path: Path) -> tuple[Glimpse, Mapping[str, str]]:
        """What the file is, and its metadata. Raises UnreadableFile when it is broken, OSError when it is gone."""
        halves = _halves(path)
        known = self._known.get(halves.digest) if halves else None
        if halves and known and halves.payload_bytes == known.payload_bytes:
            return _of_file(known.glimpse, path, halves.metadata), halves.metadata
        file = TensorFile.open(path)
        glimpse = self._look(file)
        if halves and file.metadata == halves.metadata:
            self._known[halves.digest] = _Known(glimpse=glimpse, payload_bytes=halves.payload_bytes)
        return _of_file(glimpse, path, file.metadata), file.metadata

    def _look(self, file: TensorFile) -> Glimpse:
        from sakuga.lora.survey import survey

        try:
            return _glimpse(survey(_Listed(file), module=self._module))
        except (UnknownFile, AdapterDoesNotFit) as problem:
            return Glimpse(kind="other", error=problem.title)

    def _module(self, file: Header, group: Group) -> Module:
        """What a module of these leaves and shapes is, which its name does not change."""
        from sakuga.lora.module import module_of

        if file.extras:
            return module_of(file, group)
        leaves = tuple((leaf, file.dtype(key), file.shape(key)) for leaf, key in group.leaves.items())
        facts = group.facts
        sign = (group.problem, facts.alpha, facts.dialect, tuple(facts.options.items()), leaves)
        if sign not in self._modules:
            self._modules[sign] = module_of(file, group)
        return replace(self._modules[sign], group=group)


@dataclass(frozen=True, kw_only=True)
class _Halves:
    """A header cut in two: its metadata, and the digest of the text that lists the tensors."""

    metadata: Mapping[str, str]
    digest: bytes
    payload_bytes: int


def _halves(path: Path) -> _Halves | None:
    """The halves of a safetensors header whose metadata come first, as all writers put them; None for all others."""
    with open(path, "rb", buffering=0) as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        length_bytes = int.from_bytes(stream.read(8), "little")
        if not 2 < length_bytes <= min(HEADER_CAP_BYTES, size_bytes - 8):
            return None
        raw = stream.read(length_bytes)
    if not raw.startswith(_BEGIN) or len(raw) < length_bytes:
        return None
    found = _metadata(raw[:USUAL_BYTES]) or _metadata(raw)
    if found is None:
        return None  # the strict reader says what is wrong
    metadata, end = found
    listed = memoryview(raw.rstrip(b" "))[end:]  # without what fills the header up
    return _Halves(
        metadata=metadata,
        digest=hashlib.sha256(listed).digest(),
        payload_bytes=size_bytes - 8 - length_bytes,
    )


def _metadata(raw: bytes) -> tuple[dict[str, str], int] | None:
    """The metadata at the beginning of a header, and at which byte they end; None where they are not there, whole."""
    try:
        text, _ = codecs.utf_8_decode(raw, "strict", False)  # a letter may be cut at the end
        metadata, end = _METADATA.raw_decode(text, len(_BEGIN))
    except (ValueError, RecursionError):
        return None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        return None
    return metadata, end if text.isascii() else len(text[:end].encode())


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key twice")
    return tree


_METADATA = json.JSONDecoder(object_pairs_hook=_no_twice)


class _Listed:
    """The list of a file's tensors as a Header without metadata, neighbours and values: what a digest stands for."""

    def __init__(self, file: TensorFile) -> None:
        self._file = file
        self.path = Path(_ANY + file.path.suffix)
        self.names, self.extras = file.names, file.extras
        self.metadata: Mapping[str, str] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        return self._file.shape(name)

    def dtype(self, name: str) -> str:
        return self._file.dtype(name)

    def tensor(self, name: str) -> torch.Tensor:
        """A scalar of 1 in the place of every value."""
        import torch

        return torch.ones(())


def _glimpse(found: Survey) -> Glimpse:
    ranks = Counter(str(module.rank) for module in found.modules if module.rank is not None)
    refused = Counter(module.reason for module in found.modules if module.refused)
    reason, count = next(iter(refused.most_common(1)), ("", 0))
    return Glimpse(
        kind="adapter",
        layout=found.layout,
        family=found.family.family or "",
        alternatives=found.family.alternatives,
        algorithms=dict(Counter(module.algorithm or "unknown" for module in found.modules).most_common()),
        ranks=dict(ranks.most_common()),
        modules=len(found.modules),
        error=f"{reason} ({count} of {len(found.modules)} modules)" if count else "",
    )


def _of_file(glimpse: Glimpse, path: Path, metadata: Mapping[str, str]) -> Glimpse:
    """What a list means for one of the files that have it: under its own name, and where names and shapes do not tell
    the family, with the one that the metadata state, if it is among what is left.
    """
    if glimpse.error:
        glimpse = replace(glimpse, error=glimpse.error.replace(_ANY + path.suffix, spoken_file(path)))
    if glimpse.kind != "adapter" or glimpse.family or not metadata:
        return glimpse
    from sakuga.lora.family import guess_family

    stated = guess_family((), metadata).family
    known = stated is not None and (not glimpse.alternatives or stated in glimpse.alternatives)
    return replace(glimpse, family=stated or "") if known else glimpse
