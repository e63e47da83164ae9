"""What is in an adapter file, whom it fits and how well: the answer of ``lora show --json``, from header and alphas.

No factor is read. Of the metadata only what is no one's private matter is repeated; the rest is named, not shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.adapter import Leftover
from sakuga.lora.fit import judge
from sakuga.lora.survey import Survey, survey
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap, Place

SCHEMA = 1
# Training captions, folder names and thumbnails can be long and private; these keys are neither.
SHOWN_TRAINING: tuple[str, ...] = (
    "network_module",
    "network_dim",
    "network_alpha",
    "network_args",
    "base_model_version",
    "v2",
)
SHOWN_TRAINING += ("output_name", "resolution", "clip_skip", "num_train_images", "num_epochs", "steps", "learning_rate")
SHOWN_MODELSPEC: tuple[str, ...] = (
    "architecture",
    "implementation",
    "title",
    "author",
    "date",
    "license",
    "usage_hint",
)
SHOWN_MODELSPEC += ("trigger_phrase", "resolution", "prediction_type", "description", "tags")
SHOWN_METADATA = frozenset(
    {"format", "software", "training_info", "lora_adapter_metadata"}
    | {f"ss_{key}" for key in SHOWN_TRAINING}
    | {f"modelspec.{key}" for key in SHOWN_MODELSPEC}
)
VALUE_CAP = 2000  # characters of one metadata value


def show(
    file: TensorFile,
    names: NameMap | None = None,
    *,
    shapes: Mapping[Place, tuple[int, ...]] | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """Plain data for JSON. ``names`` (and ``shapes``) of a model add "fit", which is None without them.

    Raises UnknownFile, AdapterDoesNotFit or UnreadableFile when the file is no adapter known here.
    """
    found = survey(file, names, shapes)
    good = [module for module in found.modules if module.verdict == "fits"]
    left = found.leftovers()
    return {
        "schema": SCHEMA,
        "name": name or file.path.stem,
        "file": str(file.path),
        "kind": "adapter",
        "family": found.family.family,
        "family_reason": found.family.reason,
        "layout": found.layout,
        "layout_reason": found.layout_reason,
        "algorithms": _counts(module.algorithm or "unknown" for module in found.modules),
        "modules": {"total": len(found.modules), "used": len(good)},
        "keys": {
            "total": found.total_keys,
            "used": sum(len(module.group.keys) for module in good),
            "ignored": _named(leftover for leftover in left if not leftover.refused),
            "refused": _named(leftover for leftover in left if leftover.refused),
        },
        "ranks": _counts(module.record.rank for module in found.modules if module.record),
        "alphas": _counts(module.alpha for module in found.modules if module.record),
        "hashes": _hashes(file),
        "metadata": _metadata(file.metadata),
        "notes": list(found.remarks()),
        "fit": _fit(found),
    }


def _counts(values: Iterable[object]) -> dict[str, int]:
    """How often each value occurs, the most frequent first; numbers in their shortest form, None as "none"."""
    texts = ("none" if value is None else f"{value:g}" if isinstance(value, int | float) else value for value in values)
    return dict(Counter(str(text) for text in texts).most_common())


def _named(leftovers: Iterable[Leftover]) -> list[dict[str, str]]:
    return [{"key": leftover.key, "reason": leftover.reason} for leftover in leftovers]


def _hashes(file: TensorFile) -> dict[str, str | None]:
    """The names that model sites use for a file, each over exactly the bytes they mean.

    ``autov2`` is the beginning of the file's sha256. ``autov3`` is the beginning of the sha256 of what comes after a
    safetensors header (of the whole file for a pickle), which kohya's trainers also state in full as ``sshs``.
    """
    payload = _payload_sha256(file) if file.kind == "safetensors" else None
    return {
        "sha256": file.sha256,
        "autov2": file.sha256[:10],
        "autov3": (payload or file.sha256)[:12],
        "sshs": payload,
        "sshs_stated": file.metadata.get("sshs_model_hash"),
    }


def _payload_sha256(file: TensorFile) -> str:
    with file.path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        stream.seek(8 + length)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    return {
        "shown": {key: value[:VALUE_CAP] for key, value in metadata.items() if key in SHOWN_METADATA},
        "withheld": sorted(key for key in metadata if key not in SHOWN_METADATA),
    }


def _fit(found: Survey) -> dict[str, Any] | None:
    if found.names is None:
        return None
    error: AdapterDoesNotFit | None = None
    try:
        judge(found)
    except AdapterDoesNotFit as problem:
        error = problem
    return {
        "fits": error is None,
        "named": sum(module.place is not None for module in found.modules),
        "shapes_checked": found.shapes is not None,
        "problem": error and {"title": error.title, "expected": error.expected, "nearest": error.nearest},
    }
