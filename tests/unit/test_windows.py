"""Windows over frames: Diffutoon's golden values, and what holds for any of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sakuga.errors import JobError
from sakuga.render.windows import Window, batches, shares, sliding, weights


def edges(windows):
    return [(window.start, window.stop) for window in windows]


@pytest.mark.parametrize(
    ("frames", "length", "stride", "golden"),
    [
        (30, 16, 8, [(0, 16), (8, 24), (16, 30)]),
        (30, 8, 4, [(0, 8), (4, 12), (8, 16), (12, 20), (16, 24), (20, 28), (24, 30)]),
        (17, 16, 8, [(0, 16), (8, 17)]),
        (16, 16, 8, [(0, 16)]),
        (1, 16, 8, [(0, 1)]),
    ],
)
def test_golden_windows(frames, length, stride, golden):
    assert edges(sliding(frames, length, stride)) == golden


def test_golden_weights():
    half = [0.01, 0.1339, 0.2672, 0.4004, 0.5336, 0.6669, 0.8001, 0.9334]
    assert [round(weight, 4) for weight in weights(16)] == half + half[::-1]
    assert weights(1) == (1.0,)


@pytest.mark.parametrize(("length", "stride"), [(8, 9), (8, 0), (0, 0)])
def test_a_stride_that_leaves_frames_out_is_refused(length, stride):
    with pytest.raises(JobError, match="leave frames out"):
        sliding(30, length, stride)


@st.composite
def plans(draw):
    length = draw(st.integers(1, 32))
    return draw(st.integers(1, 100)), length, draw(st.integers(1, length))


@settings(deadline=None)  # the machine may be busy
@given(plan=plans())
def test_any_plan_covers_every_frame_and_its_shares_add_up_to_one(plan):
    frames, length, _stride = plan
    windows = sliding(*plan)
    totals, seen = [0.0] * frames, [0] * frames
    for window, own in zip(windows, shares(windows, frames), strict=True):
        assert 1 <= len(window.frames) <= length
        for frame, share in zip(window.frames, own, strict=True):
            totals[frame] += share
            seen[frame] += 1
            assert 0 < share <= 1
    assert totals == pytest.approx([1.0] * frames)
    assert windows[-1].stop == frames and all(window.stop < frames for window in windows[:-1])


@settings(deadline=None)  # the machine may be busy
@given(frames=st.integers(1, 60), size=st.integers(1, 20))
def test_batches_do_not_overlap_and_pass_frames_through(frames, size):
    windows = batches(frames, size)
    assert [frame for window in windows for frame in window.frames] == list(range(frames))
    assert all(share == 1.0 for own in shares(windows, frames) for share in own)


def test_a_frame_that_one_window_sees_has_the_whole_say():
    own = shares((Window(start=0, stop=4), Window(start=2, stop=6)), 6)
    assert own[0][:2] == (1.0, 1.0) and own[1][2:] == (1.0, 1.0)
    assert own[0][2] + own[1][0] == pytest.approx(1)
