"""PEFT's config: ``adapter_config.json`` beside ``adapter_model.…``, or the JSON that diffusers puts into the header.

It holds the scale of every module, which PEFT keeps out of the tensors. A config that asks for more than plain LoRA is
refused by the name of what it asks for; nothing in it is ever imported or run, and its patterns are not run as regexes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sakuga.errors import UnreadableFile
from sakuga.lora.formats.layout import Header

HEADER_KEY = "lora_adapter_metadata"
CAP_BYTES = 1 << 20
HUGE = 1e300  # whole numbers of JSON may be beyond any float
# Trainings that move a part of the base into the adapter: applied to the plain base they would count it twice.
BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Options that change the formula in ways that the keys alone do not show.
VARIANTS: tuple[str, ...] = (
    "fan_in_fan_out",
    "use_qalora",
    "use_bdlora",
    "kasa_config",
    "alora_invocation_tokens",
    "arrow_config",
)
VARIANTS += ("velora_config", "monteclora_config", "layer_replication", "target_parameters")
_PLAIN = re.compile(r"\^?[\w.\\]+\$?")


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """``fields`` by component, None for a file that knows none. ``text`` is that of a file beside it, or empty."""

    fields: Mapping[str | None, Mapping[str, Any]]
    text: str
    note: str

    def alpha(self, component: str | None, path: str, rank: int) -> tuple[float | None, str]:
        """(alpha for a scale of alpha / rank, "") for a module, or (None, why it is refused)."""
        fields = self.fields.get(component, self.fields.get(None))
        if fields is None:
            return None, ""
        problem = _variant(fields)
        if problem:
            return None, problem
        stated = fields.get("lora_alpha", fields.get("alpha"))
        patterns = fields.get("alpha_pattern") or {}
        if not isinstance(patterns, Mapping):
            return None, "its PEFT config has an alpha_pattern that is not a table"
        for pattern, value in patterns.items():
            if not _PLAIN.fullmatch(pattern):
                return None, f"its PEFT config has the alpha_pattern {pattern!r}, which is more than a plain name"
            if _matches(pattern, path):
                stated = value
                break
        if stated is None:
            return None, ""
        if isinstance(stated, bool) or not isinstance(stated, int | float) or not abs(stated) < HUGE:
            return None, f"its PEFT config states alpha as {stated!r}"[:80]
        # rank-stabilised LoRA divides by √r: kept as an alpha that gives the same scale when divided by r
        return float(stated) * (math.sqrt(rank) if fields.get("use_rslora") else 1.0), ""


def _variant(fields: Mapping[str, Any]) -> str:
    kind = fields.get("peft_type")
    if kind not in (None, "LORA"):
        return f"its PEFT config says {kind}, which this version does not apply"
    start = fields.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(BASE_CHANGING):
        return f"it was trained with {start} initialisation on a changed base and was not converted"
    active = [name for name in VARIANTS if fields.get(name)]
    return f"its PEFT config uses {', '.join(active)}, which this version does not apply" if active else ""


def _matches(pattern: str, path: str) -> bool:
    """PEFT's rule, ``(.*\\.)?(pattern)$``, for a pattern that is a plain name."""
    name = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
    return path == name or (not pattern.startswith("^") and path.endswith("." + name))


def config_of(file: Header) -> PeftConfig | None:
    """The config of this file, or None. Raises UnreadableFile when there is one and it is broken."""
    if HEADER_KEY in file.metadata:
        text = file.metadata[HEADER_KEY]
        by_component: dict[str | None, dict[str, Any]] = {}
        for key, value in _parse(text, file.path).items():
            component, _, name = key.partition(".")
            by_component.setdefault(component, {})[name] = value
        return PeftConfig(fields=by_component, text="", note=f"alpha is as {HEADER_KEY} in its header says")
    beside = file.path.with_name("adapter_config.json")
    if file.path.stem != "adapter_model" or not beside.is_file():
        return None
    if beside.stat().st_size > CAP_BYTES:
        raise UnreadableFile("a PEFT config is too large to be one", given=f"{beside}", expected="at most 1 MiB")
    text = beside.read_text(encoding="utf-8", errors="replace")
    return PeftConfig(fields={None: _parse(text, beside)}, text=text, note=f"alpha is as {beside.name} beside it says")


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UnreadableFile(
            "a PEFT config is not JSON", given=f"{path}: {problem}", do="save the adapter again"
        ) from None
    if not isinstance(found, dict):
        raise UnreadableFile("a PEFT config is not a JSON object", given=f"{path}", do="save the adapter again")
    return found
