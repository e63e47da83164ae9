"""Spans: cut within shots, joined to every frame once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sakuga.errors import JobError
from sakuga.render.spans import cut, join


def edges(spans):
    return [(span.start, span.stop) for span in spans]


def test_a_short_clip_is_one_span():
    (span,) = cut(30, [], longest=48, overlap=8)
    assert (span.start, span.stop, span.fade_in, span.fade_out, span.weights) == (0, 30, 0, 0, (1.0,) * 30)


def test_spans_end_at_cuts_and_the_last_is_not_tiny():
    assert edges(cut(100, [40], longest=48)) == [(0, 40), (40, 70), (70, 100)]
    assert [span.shot for span in cut(100, [40], longest=48)] == [0, 1, 1]
    assert edges(cut(49, [], longest=48)) == [(0, 25), (25, 49)]


def test_neighbours_of_one_shot_overlap_and_fade():
    first, second = cut(60, [], longest=40, overlap=3)
    assert (edges([first, second]), first.fade_out, second.fade_in) == ([(0, 32), (29, 60)], 3, 3)
    assert first.weights[-3:] == (0.75, 0.5, 0.25) and second.weights[:3] == (0.25, 0.5, 0.75)


def test_no_frames_no_spans():
    assert cut(0, [], longest=48) == ()


@pytest.mark.parametrize(("longest", "overlap"), [(0, 0), (8, 3), (48, 17), (48, -1)])
def test_an_overlap_of_more_than_a_third_is_refused(longest, overlap):
    with pytest.raises(JobError, match="together"):
        cut(100, [], longest=longest, overlap=overlap)


@st.composite
def plans(draw):
    longest = draw(st.integers(1, 50))
    return (
        draw(st.integers(1, 200)),
        draw(st.lists(st.integers(-5, 210), max_size=8)),
        longest,
        draw(st.integers(0, longest // 3)),
    )


@settings(deadline=None)  # the machine may be busy
@given(plan=plans())
def test_any_plan_keeps_to_shots_and_sizes(plan):
    frame_count, cuts, longest, overlap = plan
    spans = cut(*plan)
    assert [span.number for span in spans] == list(range(len(spans)))
    assert spans[0].start == 0 and spans[-1].stop == frame_count
    for span in spans:
        assert 1 <= len(span) <= longest and span.fade_in + span.fade_out <= len(span)
        assert len(span.weights) == len(span)
        assert not any(span.start < c < span.stop for c in cuts)
        sizes = [len(other) for other in spans if other.shot == span.shot]
        assert max(sizes) - min(sizes) <= 1
    for one, other in itertools.pairwise(spans):
        common = overlap if one.shot == other.shot else 0
        assert one.stop - other.start == common == one.fade_out == other.fade_in


@settings(deadline=None)  # the machine may be busy
@given(plan=plans())
def test_joining_gives_every_frame_once_and_leaves_equal_frames_equal(plan):
    """Frames are their own numbers, so a mixture of two Spans that agree is that number again."""
    spans = cut(*plan)
    joined = list(join((span, (np.full(2, float(n)) for n in range(span.start, span.stop))) for span in spans))
    assert [number for number, _ in joined] == list(range(plan[0]))
    np.testing.assert_allclose([frame for _, frame in joined], [[n, n] for n in range(plan[0])], rtol=1e-12)


@settings(deadline=None)  # the machine may be busy
@given(plan=plans())
def test_the_say_of_all_spans_about_a_frame_adds_up_to_one(plan):
    totals = np.zeros(plan[0])
    for span in cut(*plan):
        totals[span.start : span.stop] += span.weights
    np.testing.assert_allclose(totals, 1, rtol=1e-12)


def test_joining_fades_from_one_span_to_the_next_and_passes_others_through():
    spans = cut(60, [], longest=40, overlap=3)
    dark, light = np.zeros(1), np.ones(1)
    frames = [frame for _, frame in join(zip(spans, ([dark] * 32, [light] * 31), strict=True))]
    assert [float(frame[0]) for frame in frames[28:33]] == [0, 0.25, 0.5, 0.75, 1]
    assert frames[0] is dark and frames[-1] is light


def test_a_span_with_frames_missing_is_our_own_mistake():
    with pytest.raises(AssertionError):
        list(join([(cut(5, [], longest=5)[0], [np.zeros(1)] * 4)]))
