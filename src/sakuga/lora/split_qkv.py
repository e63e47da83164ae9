"""split_qkv: a trap of kohya's trainers. With that option q, k and v are trained apart and saved as one fused module of
three times the rank, while alpha stays that of one part, so that every reader applies it at a third.

The trap is told, never mended in silence: what the trainer saw and what the file says are two different things.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sakuga.lora.module import Module

_ARGUMENT = re.compile(r"\"?split_qkv\"?\s*[:=]\s*\"?true", re.IGNORECASE)
_FUSED = re.compile(r"(.*(?:_|\.))(?:attn2?[_.]qkv|linear1)")
ARGUMENTS_CAP = 100_000


def split_qkv_remark(metadata: Mapping[str, str], modules: Sequence[Module]) -> tuple[str, ...]:
    """A word where the fused modules of a file were trained in parts, or look so; with the scale that was trained."""
    fused = [module for module in modules if _FUSED.fullmatch(module.group.path) and module.changes]
    if not fused:
        return ()
    said = bool(_ARGUMENT.search(metadata.get("ss_network_args", "")[:ARGUMENTS_CAP]))
    if not said and not _stacked(fused, modules):
        return ()
    reason = "its training options say split_qkv" if said else "its fused modules have several times the others' rank"
    count = len(fused)
    return (
        f"{reason}: {count} fused module{'' if count == 1 else 's'} hold several parts with the alpha of one, so"
        " the effect there is weaker than in training; the trained scale is 3 times as much for qkv and 4 times for"
        " linear1, and is not applied",
    )


def _stacked(fused: Sequence[Module], modules: Sequence[Module]) -> bool:
    """Whether all fused modules have 3 (4 for linear1) times the one rank of the others, and the same alpha."""
    others = [module for module in modules if not _FUSED.fullmatch(module.group.path) and "blocks" in module.group.path]
    ranks = {module.rank for module in others if module.rank}
    alphas = {module.facts.alpha for module in (*fused, *others) if module.rank}
    if len(ranks) != 1 or len(alphas) != 1 or None in alphas:
        return False
    rank = ranks.pop()
    return all(module.rank == rank * (4 if module.group.path.endswith("linear1") else 3) for module in fused)
