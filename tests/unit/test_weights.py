"""Weights of a Job at a step, a frame and a time: curves end here, and what is left are plain numbers."""

from __future__ import annotations

import pytest

from sakuga.errors import JobError
from sakuga.lora.stack import StackWeight
from sakuga.models.schedule import Level
from sakuga.render.denoisers import Call
from sakuga.render.weights import Moment, acts, at, block_factors, moves, rows, stack_weight
from sakuga.spec.uses import LoraUse
from sakuga.spec.vary import parse_weight


@pytest.mark.parametrize(
    ("weight", "moment", "number"),
    [
        ("0.8", Moment(step=3, steps=9), 0.8),
        ("0->1", Moment(step=2, steps=5), 0.5),
        ("0->1@frames", Moment(frame=3, frames=4, step=0, steps=9), 1.0),
        ("0s:0->2s:1", Moment(seconds=0.5), 0.25),
        ("1s:0->2s:1", Moment(seconds=0.5), 0.0),
        ("1s:0->2s:1", Moment(seconds=9.0), 1.0),
        ("0.3->1", Moment(), 0.3),
        ("0.3->1@frames", Moment(), 0.3),
    ],
)
def test_a_weight_at_a_moment(weight: str, moment: Moment, number: float) -> None:
    assert at(parse_weight(weight), moment) == pytest.approx(number)


@pytest.mark.parametrize(("steps", "on"), [(None, "0123"), ((0, 2), "01"), ((2, None), "23"), ((1, 3), "12")])
def test_it_acts_in_its_steps_alone(steps: tuple[int, int | None] | None, on: str) -> None:
    use = LoraUse(file="ink", weight=0.5, steps=steps)
    assert [step for step in range(4) if acts(use, step)] == [int(step) for step in on]
    assert [stack_weight(use, Moment(step=step, steps=4)).unet for step in range(4)] == [
        0.5 if str(step) in on else 0.0 for step in range(4)
    ]


@pytest.mark.parametrize(
    ("weight", "does"), [(0.5, False), ("0->1", False), ("0->1@frames", True), ("0s:0->1s:1", True)]
)
def test_what_differs_between_frames_moves(weight: object, does: bool) -> None:
    assert moves(LoraUse(file="ink", weight=weight)) is does


def test_the_text_encoder_has_its_first_value_throughout() -> None:
    use = LoraUse(file="ink", weight="0.2->1", steps=(3, None))
    found = [stack_weight(use, Moment(step=step, steps=5)) for step in range(5)]
    assert [weight.text_encoder for weight in found] == [0.2] * 5
    own = LoraUse(file="ink", weight=1, text_encoder_weight="0.7->0@frames")
    assert stack_weight(own, Moment(step=4, steps=5, frame=3, frames=4)).text_encoder == 0.7


def test_the_rows_of_a_call_are_halves_by_frames() -> None:
    uses = [
        LoraUse(file="a", weight=0.5),
        LoraUse(file="b", weight="0->1@frames"),
        LoraUse(file="c", weight="0->1"),
        LoraUse(file="d", weight="0s:0->1s:1"),
        LoraUse(file="e", weight="0->1@frames", steps=(0, 1)),
    ]
    moments = [Moment(step=1, steps=3, frame=frame, frames=5, seconds=frame / 4) for frame in (2, 3)]
    call = Call(
        level=Level(timestep=500, alpha=0.6, sigma=0.8), step=1, frames=range(2, 4), halves=("positive", "negative")
    )
    table = [[0.5, 0.75], [0.5, 0.75]]
    assert rows(uses, call, moments) == [0.5, table, 0.5, table, 0.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("OUTD", {"BASE": 1.0, "OUT03": 1.0, "OUT09": 0.0, "M00": 0.0}),
        ("1,0,0,0,0,0,0,0.5,0,0,0,0,0,0,0,0,0", {"BASE": 1.0, "M00": 0.5, "IN00": 0.0, "OUT11": 0.0}),
        ('{"mid": 0.5, "down": 0}', {"M00": 0.5, "IN04": 0.0}),
        ('{"M00": 0.5, "OUT05": -1}', {"M00": 0.5, "OUT05": -1.0}),
    ],
)
def test_blocks_become_factors(text: str, told: dict[str, float]) -> None:
    found = block_factors(text)
    assert {name: found[name] for name in told} == told
    StackWeight(blocks=found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("OUTT", "no such preset"),
        ("1,0,1", "list"),
        ('{"M00": "half"}', "plain number"),
        ('{"M00": true}', "plain number"),
        ('{"M77": 1}', "block"),
        ('{"mid": "half"}', "finite number"),
        ('{"down": {"block_9": 1}}', "no such level"),
    ],
)
def test_bad_blocks_are_errors_of_the_job(text: str, said: str) -> None:
    with pytest.raises(JobError) as raised:
        block_factors(text)
    assert said in str(raised.value)
