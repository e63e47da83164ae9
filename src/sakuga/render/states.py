"""States: what a stack of adapters did while a Span was drawn, in plain data for the Report."""

from __future__ import annotations

from typing import Any

from sakuga.lora.cache import Cache
from sakuga.lora.stack import Applied


class States:
    """What a stack did step by step, for the Report: an entry in ``seen`` for each step from which on it differs."""

    def __init__(self, applied: Applied) -> None:
        self._applied = applied
        self.seen: list[dict[str, Any]] = []

    def look(self, step: int) -> None:
        """Note how many tensors are fused and live after ``step``, if that is news."""
        now = self._applied.summary
        state = {"fused": now.tensors, "live": now.live, "why": dict(now.ways)}
        if not self.seen or self.seen[-1] != {"step": self.seen[-1]["step"], **state}:
            self.seen.append({"step": step, **state})


def told(applied: Applied, cache: Cache) -> dict[str, Any]:
    """What the adapters of a Stage did to the weights at the end, for the Report."""
    now, counts = applied.summary, cache.counts
    return {
        "fused": now.tensors,
        "live": now.live,
        "why": dict(now.ways),
        "fresh_bytes": now.fresh_bytes,
        "factor_bytes": now.factor_bytes,
        "pristine": [{"way": one.way, "why": one.why, "tensors": one.tensors, "bytes": one.nbytes} for one in now.back],
        "cache": {"hits": counts.hits, "misses": counts.misses, "bytes": counts.host_bytes + counts.device_bytes},
    }
