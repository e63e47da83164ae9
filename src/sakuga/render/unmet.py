"""Unmet: what of the weights that were given for an adapter meets nothing, in its file or in the base, or less than it
says. Words for the Report; nothing is refused here, and block names that no model has never come so far.
"""

from __future__ import annotations

from sakuga.lora.blocks import blocks_of
from sakuga.lora.survey import Survey
from sakuga.render.weights import Moment, at, block_factors, blocks_said, moves
from sakuga.spec.options import block_table
from sakuga.spec.uses import LoraUse
from sakuga.spec.vary import Curve

SHOWN = 6  # blocks that are told


def without_effect(survey: Survey, use: LoraUse) -> list[str]:
    """What of the weights that were given meets nothing; empty when all do. The survey is held against the base."""
    found = {seat.component for module in survey.modules if module.verdict == "fits" for seat in module.seats}
    told = []
    text = use.weight if use.text_encoder_weight is None else use.text_encoder_weight
    if any(one.startswith("text_encoder") for one in found):
        if isinstance(text, Curve) and (moves(use) or use.text_encoder_weight is not None):
            told.append(f"the prompt is read once: the text encoder has {at(text, Moment()):g}, as at the start")
    elif use.text_encoder_weight is not None:
        told.append("it has nothing for the text encoder, so the weight for that has no effect")
    if use.blocks is None:
        return told
    if all(one.startswith("text_encoder") for one in found):
        told.append("it has nothing for the UNet, so its block weights have no effect")
        return told
    return told + _of_blocks(survey, use.blocks)


def _of_blocks(survey: Survey, text: str) -> list[str]:
    """Blocks that are given and that the base or the adapter lacks, and those of the adapter that a list leaves out."""
    trees = survey.names.trees if survey.names else {}
    layers = ((part, layer) for part, tree in trees.items() for layer, shapes in tree.items() if shapes)
    base = {block for part, layer in layers for block in blocks_of(part, layer)}
    seats = (seat for module in survey.modules if module.verdict == "fits" for seat in module.seats)
    own = {blocks_of(seat.component, seat.module) for seat in seats}
    said, table = blocks_said(text), block_table(text)
    lacking = [word for word, blocks in said.items() if base.isdisjoint(blocks)]
    told = []
    if lacking:
        told.append(f"this base has no {_listed(lacking)}, so the weight given there has no effect")
    if isinstance(table, list):
        given = set().union(*said.values())
        passed = sorted({names[-1] for names in own if names and given.isdisjoint(names)})
        if passed:
            gets = "they get 0" if block_factors(text).get(passed[0]) == 0 else "they keep the adapter's own weight"
            told.append(f"a list of {len(table)} leaves out {_listed(passed)}, where it has layers: {gets}")
    else:
        held = {block for names in own for block in names}
        empty = [word for word, blocks in said.items() if word not in lacking and held.isdisjoint(blocks)]
        if empty:
            told.append(f"it has nothing in {_listed(empty)}, so the weight given there has no effect")
    return told


def _listed(words: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = [f"{len(words) - SHOWN} more"] if len(words) > SHOWN else []
    return ", ".join([*words[:SHOWN], *more])
