"""Algorithms that are known by their keys but not applied in this version: refused by name, never read as plain LoRA.

A table read top to bottom, the main types before their modifiers, so that LoHa with a DoRA magnitude is called LoHa.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# name → pattern that a leaf must match from its beginning
OTHERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("ControlNet-LLLite", r"conditioning1\.|(down|mid|up)\.0\."),
        ("DiffSynth timestep LoRA", r"lora_time_(gamma|beta)"),
        ("GLoRA of PEFT", r"glora_"),
        ("KaSA", r"lora_diag"),
    )
)


def other_name(leaves: Collection[str]) -> str | None:
    """The first algorithm of the table that one of these leaves belongs to, or None."""
    return next((name for name, pattern in OTHERS if any(pattern.match(leaf) for leaf in leaves)), None)
