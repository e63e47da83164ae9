"""Found: what a look at the files of an old config told, and what two of its sources have in common. Opens nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the files of one config are. ``roles`` and ``files`` by entry of model_list: what it is, and the name or
    path that a Job knows it by (LoRA units too); ``sources`` by path as given: the path and its number of frames.
    ``embeddings``: the files in the folder. ``device``: what is computed on.
    """

    roles: Mapping[str, str]
    files: Mapping[str, str]
    sources: Mapping[str, tuple[str, int]]
    embeddings: tuple[str, ...] = ()
    device: str = "auto"


def size_of(source: Mapping[str, Any]) -> str | None:
    """Its size as a Job writes it, None unless both sides are given."""
    width, height = source["width"], source["height"]
    return None if width is None or height is None else f"{width}x{height}"


def same_frames(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sources give the same frames."""
    clip = ("video_file",) if one["video_file"] is not None else ("video_file", "image_folder")
    names = (*clip, "end_frame_id")
    return all(one[name] == other[name] for name in names) and (one["start_frame_id"] or 0) == (
        other["start_frame_id"] or 0
    )


def name_of(source: Mapping[str, Any]) -> str | None:
    """The file or folder of a source as it is given; video_file wins."""
    named: str | None = source["video_file"] if source["video_file"] is not None else source["image_folder"]
    return named
