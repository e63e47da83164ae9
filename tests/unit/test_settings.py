"""Windows and strides that were left out, or that nothing can use."""

from __future__ import annotations

import pytest

from sakuga.models.families.sd15 import SD15
from sakuga.render.settings import settle
from sakuga.spec.job import Stage


@pytest.mark.parametrize(("window", "stride"), [(16, 8), (7, 3), (1, 1)])
def test_a_stride_that_was_left_out_is_half_the_window(window: int, stride: int) -> None:
    assert settle(Stage(window=window), SD15.defaults).stride == stride


@pytest.mark.parametrize("name", ["window", "stride"])
def test_a_window_or_stride_without_a_motion_module_is_told(name: str) -> None:
    notes = settle(Stage(motion="none", **{name: 4}), SD15.defaults).notes
    told = {note.what: note.reason for note in notes if "left open" not in note.reason}
    assert told == {f"stages.0.{name}": "there is no motion module, so it has no effect"}
