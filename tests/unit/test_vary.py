"""Weights as people write them: parsing, writing, evaluating, and every kind of nonsense refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sakuga.errors import JobError
from sakuga.spec.vary import LIMIT, Auto, Curve, Weight, as_weight, format_weight, parse_weight

numbers = st.floats(min_value=-LIMIT, max_value=LIMIT, allow_nan=False)
shares = st.floats(min_value=0, max_value=1, allow_nan=False)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    positions = sorted(draw(st.lists(shares, min_size=2, max_size=8, unique=True)))
    if draw(st.booleans()):  # a jump: two points at one position
        positions = sorted([*positions, draw(st.sampled_from(positions))])
    if draw(st.booleans()):  # evenly spaced, the form with arrows
        positions = [index / (len(positions) - 1) for index in range(len(positions))]
    points = tuple((position, draw(numbers)) for position in positions)
    return Curve(points=points, over=draw(st.sampled_from(["steps", "frames"])))


weights = st.one_of(numbers, numbers.map(lambda scale: Auto(scale=scale)), curves())


@settings(deadline=None)
@given(weights)
def test_what_is_written_is_read_back_as_the_same(weight: Weight) -> None:
    assert parse_weight(format_weight(weight)) == weight


@settings(deadline=None)
@given(curves(), st.floats(allow_nan=False))
def test_a_curve_never_leaves_the_range_of_its_values(curve: Curve, position: float) -> None:
    values = [value for _, value in curve.points]
    assert min(values) <= curve.at(position) <= max(values)


@settings(deadline=None)
@given(curves())
def test_a_curve_goes_through_its_points_and_holds_beyond_them(curve: Curve) -> None:
    last_at = dict(curve.points)  # of two points at one position the second counts from there on
    assert all(curve.at(position) == pytest.approx(value) for position, value in last_at.items())
    assert curve.at(-1) == curve.points[0][1]
    assert curve.at(2) == curve.points[-1][1]


@settings(deadline=None)
@given(curves(), shares, shares)
def test_between_two_points_a_curve_only_rises_or_only_falls(curve: Curve, first: float, second: float) -> None:
    for (left, low), (right, high) in zip(curve.points, curve.points[1:], strict=False):
        if left == right:
            continue
        one, two = sorted((left + share * (right - left) * 0.999) for share in (first, second))
        before, after = curve.at(one), curve.at(two)
        assert (before <= after) if low <= high else (before >= after)


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("0.8", 0.8),
        ("-1", -1.0),
        (" .5 ", 0.5),
        ("1e-1", 0.1),
        ("auto", Auto()),
        ("auto@0.8", Auto(scale=0.8)),
        ("auto@-1", Auto(scale=-1.0)),
        ("0->1", Curve(points=((0, 0), (1, 1)))),
        ("0→1@steps", Curve(points=((0, 0), (1, 1)))),
        ("-1->-0.5", Curve(points=((0, -1), (1, -0.5)))),
        ("0 -> 1 -> 0 @ frames", Curve(points=((0, 0), (0.5, 1), (1, 0)), over="frames")),
        ("0:0, 0.5:1, 1:0.2@frames", Curve(points=((0, 0), (0.5, 1), (1, 0.2)), over="frames")),
        ("0:1, 0.5:1, 0.5:0, 1:0", Curve(points=((0, 1), (0.5, 1), (0.5, 0), (1, 0)))),
    ],
)
def test_the_grammar(text: str, weight: Weight) -> None:
    assert parse_weight(text) == weight
    assert parse_weight(format_weight(weight)) == weight


def test_a_jump_takes_the_later_value_at_its_place() -> None:
    curve = parse_weight("0:1, 0.5:1, 0.5:0, 1:0")
    assert isinstance(curve, Curve)
    assert (curve.at(0.499), curve.at(0.5)) == (1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1e99999999999",
        "20.5",
        "50",
        "auto@50",
        "auto@",
        "auto@frames",
        "auto@nan",
        "0->50",
        "0->",
        "->1",
        "0->1@hours",
        "0->1@",
        "0.8@steps",
        "0.5:1",
        "0:0, 2:1",
        "-0.5:0, 1:1",
        "0:0, 1:nan",
        "0.5:0, 0:1",
        "0:0, 0:1, 0:2",
        "0:0,, 1:1",
        "0:0, 1:1@weeks",
        "yes",
        "1_0",
        "٣",
        "0x10",
        "0:0," * 500 + "1:1",
    ],
)
def test_nonsense_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(JobError) as told:
        parse_weight(text)
    assert told.value.expected


@settings(deadline=None)
@given(st.text(max_size=30) | st.text(alphabet="01289auto@:,.->→ e", max_size=20))
def test_any_text_is_a_weight_or_a_told_error(text: str) -> None:
    try:
        weight = parse_weight(text)
    except JobError:
        return
    assert parse_weight(format_weight(weight)) == weight


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}, float("nan"), float("inf"), 10**400, -21, 50, b"1"])
def test_values_that_are_no_weights(value: object) -> None:
    with pytest.raises(JobError):
        as_weight(value)


def test_a_strength_of_fifty_says_so() -> None:
    with pytest.raises(JobError, match="50 is too strong"):
        as_weight(50)
    with pytest.raises(JobError) as told:
        parse_weight("aut")
    assert told.value.nearest == "auto"
    with pytest.raises(JobError) as told:
        parse_weight("0->1@frame")
    assert told.value.nearest == "frames"
    with pytest.raises(JobError, match="out of order"):
        Curve(points=((0.5, 0), (0.1, 1)))
    with pytest.raises(JobError, match="too few"):
        Curve(points=((0.5, 0),))
