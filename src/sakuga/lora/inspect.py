"""What is in an adapter file, whom it fits and how well: the answer of ``lora show --json``, from header and alphas.

No factor is read here, and the file's bytes only for its hashes; ``deep`` reads everything. Of the metadata only what
is no one's private matter is repeated; the rest is named, not shown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.adapter import Leftover
from sakuga.lora.changes import TWIN, Changes, Measure, Measured, Spot, Weigh, cosine, not_finite
from sakuga.lora.fit import judge
from sakuga.lora.hashes import BLAKE3, Hashes, has_blake3, hashes_of
from sakuga.lora.library.folders import adapter_name
from sakuga.lora.library.sidecars import Sidecars, read_sidecars
from sakuga.lora.survey import Survey, survey
from sakuga.lora.training import training
from sakuga.lora.words import SHOWN_TAGS, alias, clean, stated_base, stated_words, tag_counts
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

SCHEMA = 1
NEAREST = 12  # modules without a place for which the nearest name is looked up
LARGEST = 5  # modules that a deep look names


class Shown:
    """One file that is looked at: its survey, and its hashes once they were computed."""

    def __init__(
        self,
        file: TensorFile,
        names: NameMap | None = None,
        *,
        name: str | None = None,
        hashes: bool = False,
        weigh: Weigh | None = None,
        family: str | None = None,
    ) -> None:
        """``names`` are a base's, ``family`` what its family is called where that is known."""
        self.family = family
        self.file, self.name = file, name or adapter_name(file.path)
        self.found = survey(file, names)
        self.hashes = hashes_of(file, every=hashes)
        self._every = hashes
        self.changes = Changes(file=file, found=self.found, weigh=weigh)
        self.measured: Measured | None = None

    def told(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found, file = self.found, self.file
        good = [module for module in found.modules if module.verdict == "fits"]
        left = found.leftovers()
        beside = read_sidecars(file.path)
        return {
            "schema": SCHEMA,
            "name": self.name,
            "file": str(file.path),
            "kind": "adapter",
            "family": found.family.family,
            "family_reason": found.family.told,
            "base": stated_base(file.metadata) or None,
            "layout": found.layout,
            "layout_reason": found.layout_reason,
            "algorithms": _counts(module.algorithm or "unknown" for module in found.modules),
            "modules": {"total": len(found.modules), "used": len(good)},
            "keys": {
                "total": found.total_keys,
                "used": found.used_keys,
                "ignored": _named(leftover for leftover in left if not leftover.refused),
                "refused": _named(leftover for leftover in left if leftover.refused),
            },
            "ranks": _counts(module.rank for module in found.modules if module.changes),
            "alphas": _counts(module.facts.alpha for module in found.modules if module.changes),
            "formats": _counts(file.dtype(name) for name in file.names),
            "size_bytes": file.path.stat().st_size,
            "alias": alias(file.metadata) or None,
            "trigger_words": _words(file.metadata, beside),
            "tags": dict(tag_counts(file.metadata).most_common(SHOWN_TAGS)),
            "hashes": _hashes(self.hashes, file.metadata, every=self._every),
            "metadata": training(file.metadata),
            "beside": _beside(beside),
            "notes": [*found.remarks(), *beside.notes],
            "fit": _fit(found, self.family),
        }

    def deep(self) -> dict[str, Any]:
        """What only the factors tell: whether all numbers are finite, and how strong the changes are."""
        odd = not_finite(self.file)
        self.measured = self.changes.measured()
        blocks: dict[str, list[Measure]] = {}
        for spot, one in self.measured.measures.items():
            blocks.setdefault(spot.block, []).append(one)
        return {
            "finite": not odd,
            "not_finite": list(odd),
            "effect": _size(list(self.measured.measures.values())),
            "blocks": {block: _size(members) for block, members in blocks.items()},
            "strongest": _strongest(self.measured.measures),
            "unmeasured": dict(self.measured.unmeasured),
        }


def show(
    file: TensorFile,
    names: NameMap | None = None,
    *,
    name: str | None = None,
    hashes: bool = False,
) -> dict[str, Any]:
    """Plain data for JSON. ``names`` of a model add "fit", which is None without them; ``hashes``: crc32 and blake3.

    Raises UnknownFile, AdapterDoesNotFit or UnreadableFile when the file is no adapter known here.
    """
    return Shown(file, names, name=name, hashes=hashes).told()


def twins(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """Pairs of files that are one and the same: by their tensors' bytes, or by the direction of their changes.

    The second is only known of files that were looked at deeply.
    """
    found = []
    for at, one in enumerate(shown):
        for other in shown[at + 1 :]:
            same = _payload(one.hashes) == _payload(other.hashes)
            alike = None
            if one.measured and other.measured:
                alike = cosine(one.changes, other.changes, one.measured, other.measured)
            if same or (alike is not None and alike > TWIN):
                files = [str(one.file.path), str(other.file.path)]
                found.append({"files": files, "same_payload": same, "cosine": alike})
    return found


def _payload(hashes: Hashes) -> str:
    return hashes.payload_sha256 or hashes.sha256


def _counts(values: Iterable[object]) -> dict[str, int]:
    """How often each value occurs, the most frequent first; numbers in their shortest form, None as "none"."""
    texts = ("none" if value is None else f"{value:g}" if isinstance(value, int | float) else value for value in values)
    return dict(Counter(str(text) for text in texts).most_common())


def _named(leftovers: Iterable[Leftover]) -> list[dict[str, str]]:
    return [{"key": leftover.key, "reason": leftover.reason} for leftover in leftovers]


def _words(metadata: Mapping[str, str], beside: Sidecars) -> list[dict[str, str]]:
    """The words that somebody states, each with where it is stated."""
    phrase = stated_words(metadata)
    told = [{"words": phrase, "source": "the file's own metadata"}] if phrase else []
    return [*told, *({"words": words, "source": "a file beside it"} for words in beside.words)]


def _hashes(hashes: Hashes, metadata: Mapping[str, str], *, every: bool) -> dict[str, str | None]:
    """Each over exactly the bytes that its name means; ``sshs_check`` compares with what the trainer stated.

    The trainer's ``sshs_legacy_hash`` is over the file as it was before its other metadata came into the header, so
    that it is no surprise when ``autov1`` of the file differs.
    """
    payload, stated, legacy = hashes.payload_sha256, metadata.get("sshs_model_hash"), metadata.get("sshs_legacy_hash")
    check = None
    if stated and payload:
        comparable = len(stated) == len(payload)  # LyCORIS' own saver writes another hash there, begun with 0x
        check = ("matches" if stated.lower() == payload else "differs") if comparable else "a hash of another kind"
    return {
        "sha256": hashes.sha256,
        "autov1": hashes.autov1,
        "autov2": hashes.autov2,
        "autov3": hashes.autov3,
        "sshs": payload,
        "sshs_stated": clean(stated, 80) or None,
        "sshs_check": check,
        "sshs_legacy_stated": clean(legacy, 80) or None,
        "sshs_legacy_check": ("matches" if legacy.lower() == hashes.autov1 else "cannot be compared")
        if legacy
        else None,
        "crc32": hashes.crc32,
        "blake3": hashes.blake3,
        "blake3_missing": f"the package {BLAKE3} is not installed" if every and not has_blake3() else None,
    }


def _beside(beside: Sidecars) -> dict[str, Any] | None:
    if not beside.files:
        return None
    return {
        "files": list(beside.files),
        "title": beside.title or None,
        "base": beside.base or None,
        "description": beside.description or None,
        "preferred_weight": beside.weight,
        "negative": beside.negative or None,
        "notes": beside.remark or None,
        "preview": beside.preview or None,
    }


def _fit(found: Survey, family: str | None) -> dict[str, Any] | None:
    if found.names is None:
        return None
    error: AdapterDoesNotFit | None = None
    try:
        judge(found, family=family)
    except AdapterDoesNotFit as problem:
        error = problem
    return {
        "fits": error is None,
        "named": sum(bool(module.seats) for module in found.modules),
        "used": sum(module.verdict == "fits" for module in found.modules),
        "shapes_checked": found.names.has_shapes,
        "misfits": _misfits(found, found.names),
        "problem": error and {"title": error.title, "expected": error.expected, "nearest": error.nearest},
    }


def _misfits(found: Survey, names: NameMap) -> list[dict[str, str | None]]:
    """Every module that has no place or not the right shape; for the first of them the nearest name in the model."""
    wrong = [module for module in found.modules if module.verdict in ("name", "bare", "shape")]
    nameless = [module for module in wrong if module.verdict == "name"][:NEAREST]
    near = {id(module): names.nearest(module.group.path) for module in nameless}
    return [{"module": module.group.stem, "reason": module.reason, "nearest": near.get(id(module))} for module in wrong]


def _size(members: Sequence[Measure]) -> dict[str, Any]:
    """Norms of several changes together; the ratio only where the weights of all of them are known."""
    change = math.sqrt(sum(one.change**2 for one in members))
    weights = [one.weight for one in members if one.weight is not None]
    weight = math.sqrt(sum(one**2 for one in weights)) if len(weights) == len(members) else None
    return {
        "modules": len(members),
        "change": _rounded(change),
        "weight": _rounded(weight),
        "ratio": _rounded(change / weight) if weight else None,
    }


def _strongest(measures: Mapping[Spot, Measure]) -> list[dict[str, Any]]:
    """The modules with the strongest change beside their weight; without a base, the largest change."""
    ratios = {spot: one.change / one.weight if one.weight else one.change for spot, one in measures.items()}
    largest = sorted(ratios, key=lambda spot: ratios[spot], reverse=True)[:LARGEST]
    return [{"module": spot.name, **_size([measures[spot]])} for spot in largest]


def _rounded(value: float | None) -> float | None:
    """Six digits: enough to compare, short enough to read."""
    return None if value is None else float(f"{value:.6g}")
