"""Weights of a stack at a step and in a call: curves, step ranges and block weights of a Job become plain numbers.

``lora`` never sees a curve; this is where it ends. The text encoder reads the prompt once, before the first step, so
its weight is that of the first step and the first frame, whatever the curve does later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sakuga.errors import JobError, SakugaError
from sakuga.lora.blocks import ORDERS, listed, of_levels, preset
from sakuga.lora.stack import StackWeight
from sakuga.render.denoisers import Call
from sakuga.spec.options import block_table
from sakuga.spec.uses import LoraUse
from sakuga.spec.vary import Auto, Curve, Weight

LEVELS = frozenset({"down", "mid", "up"})
Row = float | list[list[float]]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where in the clip and in the run a weight is asked for; ``seconds`` from the clip's first frame."""

    step: int = 0
    steps: int = 1
    frame: int = 0
    frames: int = 1
    seconds: float = 0.0


def at(weight: Weight, moment: Moment) -> float:
    """The plain number of a weight: curves over steps and frames run from the first (0) to the last (1)."""
    if not isinstance(weight, Curve):
        assert not isinstance(weight, Auto), "automatic weights are refused when the stage is settled"
        return weight
    if weight.over == "seconds":
        return weight.at(moment.seconds)
    if weight.over == "steps":
        position, count = moment.step, moment.steps
    else:
        position, count = moment.frame, moment.frames
    return weight.at(position / (count - 1) if count > 1 else 0.0)


def block_factors(text: str) -> dict[str, float]:
    """The factors by block of what a Job says: a preset, a list or a table. Raises JobError."""
    table = block_table(text)
    try:
        if isinstance(table, str):
            return preset(table)
        if isinstance(table, list):
            return listed(table)
        if table.keys() <= LEVELS:
            return of_levels(table)
        return dict(StackWeight(blocks={name: _number(name, value) for name, value in table.items()}).blocks)
    except SakugaError as problem:
        raise JobError(problem.title, given=problem.given, expected=problem.expected, nearest=problem.nearest) from None


def blocks_said(text: str) -> dict[str, tuple[str, ...]]:
    """What a Job says of single blocks, word for word, with the names that each word stands for. A preset or a whole
    side of the UNet (``down: 0.5``) means those that there are.

    >>> blocks_said('{"up": {"block_0": [0.4, 0.8, 1.0]}}'), blocks_said('{"IN04": 1}'), blocks_said("OUTD")
    ({'up block_0': ('OUT00', 'OUT01', 'OUT02')}, {'IN04': ('IN04',)}, {})
    """
    table = block_table(text)
    if isinstance(table, str):
        return {}
    if isinstance(table, list):
        return {name: (name,) for name in ORDERS[len(table)]}
    if table.keys() <= LEVELS:
        return {
            f"{side} {level}": tuple(of_levels({side: {level: given}}))
            for side, levels in table.items()
            if isinstance(levels, Mapping)
            for level, given in levels.items()
        }
    return {name: (name,) for name in table}


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise JobError("a block weight is a plain number", given=f"{name}: {value!r}"[:80])
    return float(value)


def acts(use: LoraUse, step: int) -> bool:
    """Whether an adapter acts on the image model at a step."""
    first, end = use.steps or (0, None)
    return first <= step and (end is None or step < end)


def moves(use: LoraUse) -> bool:
    """Whether its weight may differ between the frames of one call."""
    return isinstance(use.weight, Curve) and use.weight.over != "steps"


def stack_weight(use: LoraUse, moment: Moment) -> StackWeight:
    """The weights of an adapter at a step; one that moves over frames has that of the first frame here."""
    text = use.weight if use.text_encoder_weight is None else use.text_encoder_weight
    return StackWeight(
        unet=at(use.weight, moment) if acts(use, moment.step) else 0.0,
        text_encoder=at(text, Moment(steps=moment.steps)),
        blocks=block_factors(use.blocks) if use.blocks else {},
    )


def rows(uses: Sequence[LoraUse], call: Call, moments: Sequence[Moment]) -> list[Row]:
    """For each adapter its weight in a call: one number, or a table by half and frame. ``moments``: of its frames."""
    found: list[Row] = []
    for use in uses:
        if not acts(use, call.step):
            found.append(0.0)
        elif moves(use):
            found.append([[at(use.weight, moment) for moment in moments] for _ in call.halves])
        else:
            found.append(at(use.weight, moments[0]))
    return found
