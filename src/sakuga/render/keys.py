"""Keys: names for what was drawn, made of everything that went into it and of nothing else.

Two Jobs that would draw the same Span give it the same key, so that neither draws it twice. Where the result goes,
how it is encoded and what other Spans there are is no part of it. Reads no file: hashes come from the check and from
what was loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch

from sakuga import __version__
from sakuga.render.plan import Plan, StagePlan
from sakuga.render.spans import Span
from sakuga.render.stage import StageParts
from sakuga.report import Report


def stage_keys(plan: Plan, stages: Sequence[StageParts], report: Report) -> list[str]:
    """For each Stage the hash of all that makes its frames, up to it: source, Stages before, weights, seed, version."""
    made_of: Any = {
        "version": __version__,
        "torch": torch.__version__,
        "source": plan.source.content_key,
        "size": plan.source.size,
        "crop": plan.job.crop,
        "held": plan.job.held,
        "seed": plan.job.seed,
        "device": plan.where.device.type,
        "dtype": str(plan.where.dtype),
    }
    keys = []
    for number, (stage, parts) in enumerate(zip(plan.stages, stages, strict=True)):
        adapters = [one for one in report.adapters if one["stage"] == number]
        made_of = {
            "before": made_of,
            "settings": stage.settings.told(),
            "files": sorted(parts.hashes),
            "words": sorted(path.stem for path in stage.embeddings),
            "adapters": [
                (one["sha256"], one["config_sha256"], use.model_dump(mode="json", exclude={"file"}))
                for one, use in zip(adapters, stage.settings.adapters, strict=True)
            ],
            "controls": _controls(stage),
            "size": stage.size,
        }
        keys.append(hashed(made_of))
        made_of = keys[-1]
    return keys


def span_key(stage_key: str, plan: Plan, span: Span) -> str:
    """The key of a Span after a Stage. Frames are counted in the whole clip: a part of it finds what the whole drew."""
    first = plan.source.frames.start
    return hashed([stage_key, first + span.start, first + span.stop])


def cuts_key(plan: Plan) -> str:
    """The key of where the cuts are in the chosen frames."""
    frames = plan.source.frames
    return hashed(["cuts", __version__, plan.source.content_key, frames.start, frames.stop])


def hashed(made_of: object) -> str:
    """The sha256 of plain data."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _controls(stage: StagePlan) -> list[Any]:
    """How controls are used; of a clip of their own its bytes, and which of its frames is the first."""
    return [
        (
            control.use.model_dump(mode="json", exclude={"file", "source"}),
            control.use.source if control.clip is None else (control.clip.content_key, control.clip.frames.start),
        )
        for control in stage.controls
    ]
