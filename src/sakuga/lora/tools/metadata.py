"""Metadata of files that tools write: what stays true of the new file, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sakuga.lora.formats.peft_config import HEADER_KEY

# What speaks of the very numbers or the very names of the old file, and is wrong of any other.
OF_THE_OLD = frozenset(
    {
        "sshs_model_hash",
        "sshs_legacy_hash",
        "modelspec.hash_sha256",
        "ss_network_dim",
        "ss_network_alpha",
        "ss_network_args",
        "ss_network_module",
        "ss_output_name",
        HEADER_KEY,
    }
)
OURS = "sakuga_"


def kept_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The entries that are still true when the numbers are others."""
    return {key: value for key, value in metadata.items() if key not in OF_THE_OLD and not key.startswith(OURS)}


def shared_metadata(given: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The entries that are still true and that all of the files have alike."""
    first, *others = map(kept_metadata, given)
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
