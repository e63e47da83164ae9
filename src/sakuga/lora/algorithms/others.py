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
        ("T-LoRA", r"lambda_layer|[pq]_layer\.weight"),
        ("LoHa", r"hada_"),
        ("LoKr", r"lokr_"),
        ("BOFT", r"boft_"),
        ("OFT", r"oft_"),
        ("GLoRA", r"([ab][12]|bm)\.weight|glora_"),
        ("IA3", r"on_input|ia3_l"),
        ("AdaLoRA", r"lora_E|ranknum"),
        ("KaSA", r"lora_diag"),
        ("LoRA of an embedding table", r"lora_embedding_"),
        ("LoCon with a Tucker core", r"mid$|lora_mid"),
        ("DoRA", r"magnitude$"),
        ("sparse residual", r"bias_(indices|values|size)$"),
        ("LoRA with a bias", r"up_bias$|lora_[AB]\.bias$"),
        ("replacement of weights", r"(set|reshape)_weight$"),
        ("Full (difference of weights)", r"diff$"),
        ("difference of biases", r"diff_b$"),
        ("Norm (difference of norms)", r"[wb]_norm$"),
        ("LoRA with a scale key of its own", r"scale$"),
        ("unfinished training state (scalar)", r"scalar$"),
    )
)


def other_name(leaves: Collection[str]) -> str | None:
    """The first algorithm of the table that one of these leaves belongs to, or None."""
    return next((name for name, pattern in OTHERS if any(pattern.match(leaf) for leaf in leaves)), None)
