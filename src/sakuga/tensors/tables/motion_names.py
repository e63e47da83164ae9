"""Names of AnimateDiff's motion modules: those of its own files, and those of diffusers' MotionAdapter."""

from __future__ import annotations

from sakuga.tensors.seat import Aliases, Seat, Tree

PLACE, LEVEL = ".motion_modules.", "temporal_transformer"
# In each transformer block: diffusers, AnimateDiff.
LAYERS = (
    ("attn1", "attention_blocks.0"),
    ("attn2", "attention_blocks.1"),
    ("norm1", "norms.0"),
    ("norm2", "norms.1"),
    ("norm3", "ff_norm"),
)


def motion_names(tree: Tree) -> Aliases:
    """Both names of every module of a motion module, whichever of the two the tree has; {} for other trees."""
    found: dict[str, tuple[Seat, ...]] = {}
    for name in tree:
        block, place, inner = name.partition(PLACE)
        index, _, layer = inner.partition(".")
        layer = layer.removeprefix(f"{LEVEL}.")
        if place and layer and layer != LEVEL:
            seats = (Seat(module=name),)
            found[f"{block}{PLACE}{index}.{_renamed(layer, 1, 0)}"] = seats
            found[f"{block}{PLACE}{index}.{LEVEL}.{_renamed(layer, 0, 1)}"] = seats
    return {name: seats for name, seats in found.items() if name != seats[0].module}


def _renamed(layer: str, source: int, target: int) -> str:
    """``transformer_blocks.0.attn1.to_q`` in the other naming."""
    parts = layer.split(".", 2)
    if len(parts) == 3 and parts[0] == "transformer_blocks":
        for pair in LAYERS:
            if parts[2] == pair[source] or parts[2].startswith(f"{pair[source]}."):
                return ".".join((*parts[:2], pair[target] + parts[2].removeprefix(pair[source])))
    return layer
