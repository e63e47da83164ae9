"""What the Report says of one use of an adapter: the file, what of it fits, and how strongly it was asked for."""

from __future__ import annotations

import hashlib

from sakuga.lora.library.folders import adapter_name
from sakuga.lora.survey import Survey
from sakuga.spec.uses import LoraUse


def adapter_entry(survey: Survey, sha256: str, use: LoraUse, stage: int, place: str) -> dict[str, object]:
    """The report's entry for one use of an adapter."""
    fitting = [module for module in survey.modules if module.verdict == "fits"]
    left = survey.leftovers()
    keys = {
        "total": survey.total_keys,
        "used": sum(len(module.group.keys) for module in fitting),
        "ignored": [{"key": one.key, "reason": one.reason} for one in left if not one.refused],
        "refused": [{"key": one.key, "reason": one.reason} for one in left if one.refused],
    }
    weight = use.model_dump(mode="json")
    return {
        "name": adapter_name(survey.path),
        "file": str(survey.path),
        "sha256": sha256,
        "config_sha256": hashlib.sha256(survey.config.encode()).hexdigest() if survey.config else None,
        "stage": stage,
        "from": "prompt" if place.endswith("prompt") else "adapters",
        "layout": survey.layout,
        "family": survey.family.family,
        "algorithms": sorted({module.algorithm for module in fitting}),
        "modules": len(fitting),
        "weight": weight["weight"],
        "text_encoder_weight": weight["text_encoder_weight"],
        "blocks": weight["blocks"],
        "steps": weight["steps"],
        "alpha": use.alpha,
        "keys": keys,
    }
