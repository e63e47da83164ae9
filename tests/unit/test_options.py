"""Named options of an adapter, as A1111 and its block-weight extension write them: each is used or refused by name."""

from __future__ import annotations

import pytest

from sakuga.errors import JobError
from sakuga.spec.options import NOT_BUILT, as_blocks, block_table, named_options
from sakuga.spec.uses import LoraUse
from sakuga.spec.vary import Curve


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("ink:0.8:lbw=OUTD", LoraUse(file="ink", weight=0.8, blocks="OUTD")),
        ("ink:lbw=1,0,0.5", LoraUse(file="ink", blocks="1,0,0.5")),
        ("ink:0.8:start=3", LoraUse(file="ink", weight=0.8, steps=(2, None))),
        ("ink:0.8:stop=8", LoraUse(file="ink", weight=0.8, steps=(0, 7))),
        ("ink:0.8:start=3:stop=8", LoraUse(file="ink", weight=0.8, steps=(2, 7))),
        ("ink:0.8:step=3-8", LoraUse(file="ink", weight=0.8, steps=(2, 7))),
        ("ink: 0.8 : step = 3 - ", LoraUse(file="ink", weight=0.8, steps=(2, None))),
        ("ink:step=-8", LoraUse(file="ink", steps=(0, 7))),
        ("ink:te=0.2:unet=0.9", LoraUse(file="ink", weight=0.9, text_encoder_weight=0.2)),
        ("ink:0.5:0.9:lbw=MIDD", LoraUse(file="ink", weight=0.9, text_encoder_weight=0.5, blocks="MIDD")),
        ("ink:0.8:te=0.8", LoraUse(file="ink", weight=0.8)),
        ("ink:0.3:unet=1", LoraUse(file="ink", weight=1, text_encoder_weight=0.3)),
        ("ink:0->1@frames:lbw=OUTD", LoraUse(file="ink", weight="0->1@frames", blocks="OUTD")),
        ("ink:0s:0->2s:1:te=0", LoraUse(file="ink", weight="0s:0->2s:1", text_encoder_weight=0)),
        ("ink:0s:0, 2s:1", LoraUse(file="ink", weight=Curve(points=((0, 0), (2, 1)), over="seconds"))),
    ],
)
def test_options_become_fields(text: str, use: LoraUse) -> None:
    assert LoraUse.parse(text) == use


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ink:lbv=OUTD", "no such option"),
        ("ink:te=1:te=1", "given twice"),
        ("ink:step=3-8:start=3", "says what start="),
        ("ink:start=0", "not the number of a step"),
        ("ink:start=two", "not the number of a step"),
        ("ink:stop=-1", "not the number of a step"),
        ("ink:step=", "not steps"),
        ("ink:step=3", "not steps"),
        ("ink:step=-", "not steps"),
        ("ink:step=3-4-5", "not the number of a step"),
        ("ink:step=5-5", "stops before it starts"),
        ("ink:stop=1", "stops before it starts"),
        ("ink:lbw=", "no block weights"),
        ("ink:lbw={oops", "no block weights"),
        ("ink:te=", "not a weight"),
        ("ink:1:2:3:lbw=OUTD", "more colons"),
        ("ink:0s:0->2:1", "not a time"),
        ("ink:0s:0->2s:1@frames", "axis in it"),
        ("ink:2s:0->1s:1", "out of order"),
        ("ink:0->1@seconds", "names its times"),
    ],
)
def test_what_cannot_be_meant_is_said(text: str, said: str) -> None:
    with pytest.raises(JobError, match=said):
        LoraUse.parse(text)


@pytest.mark.parametrize("option", NOT_BUILT)
def test_an_option_that_is_not_built_says_what_to_do(option: str) -> None:
    with pytest.raises(JobError, match="no such option") as raised:
        named_options([f"{option}=4"], f"ink:{option}=4")
    assert raised.value.do == NOT_BUILT[option]


@pytest.mark.parametrize(
    ("value", "text", "table"),
    [
        ("OUTD", "OUTD", "OUTD"),
        (" 1, 0.5 ", "1, 0.5", [1.0, 0.5]),
        ([1, 0.1234567891], "1,0.1234567891", [1.0, 0.1234567891]),
        ({"up": {"block_0": [0, 1]}, "mid": 1}, '{"mid": 1, "up": {"block_0": [0, 1]}}', None),
        ('{"M00":0.5}', '{"M00": 0.5}', {"M00": 0.5}),
    ],
)
def test_block_weights_are_kept_as_one_text(value: object, text: str, table: object) -> None:
    assert as_blocks(value) == as_blocks(text) == text
    assert block_table(text) == (value if table is None else table)


@pytest.mark.parametrize(
    "value", [None, "", {}, [], 1, True, '{"M00": ', "{}", {0: 1, "M00": 1}, {"M00": float("nan")}, {"M00": object()}]
)
def test_what_is_no_table_of_blocks_is_refused(value: object) -> None:
    with pytest.raises(JobError, match="no block weights"):
        as_blocks(value)


@pytest.mark.parametrize("entry", ["R", "U", "R+1", "X"])
def test_random_block_weights_are_refused_by_name(entry: str) -> None:
    with pytest.raises(JobError, match="random block weights"):
        block_table(f"1,{entry},0")


@pytest.mark.parametrize("entry", ["", "yes", "0->1", "nan", "21"])
def test_a_block_weight_is_one_number(entry: str) -> None:
    with pytest.raises(JobError):
        block_table(f"1,{entry},0")


def test_a_use_is_written_so_that_it_can_be_read_again() -> None:
    use = LoraUse(file="ink", weight="0s:0->1.5s:1", blocks={"down": 0.5}, steps=(2, None))
    assert LoraUse.model_validate(use.model_dump(mode="json")) == use
