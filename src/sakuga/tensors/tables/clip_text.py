"""Names of a CLIP text encoder's modules: with and without the level ``text_model``.

transformers 5.6 took the level away from its class, while every file and every adapter still has it; a
module is therefore known by both names, whichever of them the tree at hand uses.
"""

from __future__ import annotations

from collections.abc import Iterable

LEVEL = "text_model."


def clip_text_names(modules: Iterable[str]) -> dict[str, str]:
    """The other name of each module or parameter: with ``text_model.`` if the tree is without it, and the reverse."""
    return {name: name.removeprefix(LEVEL) if name.startswith(LEVEL) else LEVEL + name for name in modules if name}
