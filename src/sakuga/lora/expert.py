"""Expert: Wan 2.2 A14B has two image models of one shape, for much noise and for little, and an adapter is for one.

Nothing in the tensors says which; file names and metadata do, so it is a word for the reader and decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sakuga.lora.words import ALIAS_KEY, clean

FAMILY = "wan"
KEYS = (ALIAS_KEY, "modelspec.title", "ss_sd_model_name", "ss_base_model_version", "modelspec.architecture")
_NEW = re.compile(r"2[ ._-]?2(?!\d)")  # where the version is named, "high" alone says enough


def _pattern(word: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What says it by itself, and what says it beside the version: words of their own, as in wan22_ink-high_noise."""
    alone = rf"(?<![a-z]){word}(?![a-z])"
    return re.compile(rf"(?<![a-z]){word}[ _.-]*noise(?![a-z])"), re.compile(alone)


_SAYS = {word: _pattern(word) for word in ("high", "low")}
WORDS = {
    "high": "the expert for much noise, which has the first steps (transformer)",
    "low": "the expert for little noise, which has the last steps (transformer_2)",
}


def expert_remark(families: tuple[str, ...], path: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Which expert of Wan 2.2 an adapter says it is for: the first of its metadata and its file name that tells.

    ``families`` are those that the adapter may be for.
    """
    if FAMILY not in families:
        return ()
    told = [(f"its metadata's {key}", metadata.get(key, "")[:500]) for key in KEYS]
    for where, text in (*told, ("its file name", path.stem)):
        said = [word for word in _SAYS if _says(text.lower(), word)]
        if len(said) == 1:
            return (f"{where} says that it is for {WORDS[said[0]]}: {clean(text, 80)}",)
    return ()


def _says(text: str, word: str) -> bool:
    surely, likely = _SAYS[word]
    return bool(surely.search(text) or (likely.search(text) and _NEW.search(text)))
