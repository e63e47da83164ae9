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


MOVING = {"motion": "mm"}


@pytest.mark.parametrize(
    ("fields", "what", "why"),
    [
        ({"cross_frame": True, "frames_at_once": 1}, "cross_frame", "frames_at_once is 1"),
        ({"cross_frame": True, "window": 1}, "cross_frame", "window is 1"),
        (MOVING | {"frames_at_once": 4}, "frames_at_once", "sees a whole window"),
        ({"tile_stride": 8}, "tile_stride", "there is no tile"),
        ({"smoothers": ["light"]}, "smoothers", "-1 smooths the finished frames"),
        ({"smooth_at": [-1]}, "smooth_at", "there are no smoothers"),
        ({"smoothers": ["light"], "smooth_at": [3, 20], "steps": 20}, "smooth_at", "step 20 of 20"),
        ({"prompt_style": "plain", "prompt": "a (red:1.2) cat"}, "prompt", "(red:1.2) is read as words"),
        ({"prompt_style": "plain", "prompt": "<lora:ink:1>"}, "prompt", "<lora:ink:1> is read as words"),
    ],
)
def test_what_cannot_have_an_effect_is_told(fields: dict, what: str, why: str) -> None:
    notes = settle(Stage(**{"motion": "none"} | fields), SD15.defaults).notes
    told = [note for note in notes if "left open" not in note.reason]
    assert [note.what for note in told] == [f"stages.0.{what}"] and why in told[0].reason


@pytest.mark.parametrize(
    "fields",
    [
        {"cross_frame": True, "window": 8, "stride": 4, "frames_at_once": 8},
        MOVING | {"cross_frame": True, "frames_at_once": 4, "window": 8},
        {"frames_at_once": 1},
        {"smoothers": ["light"], "smooth_at": [0, -1]},
        {"tile": 64, "tile_stride": 32},
    ],
)
def test_what_has_an_effect_is_not_told(fields: dict) -> None:
    notes = settle(Stage(**{"motion": "none"} | fields), SD15.defaults).notes
    assert not [note for note in notes if "left open" not in note.reason]


def test_a_plain_prompt_has_no_tags_and_no_brackets() -> None:
    settings = settle(Stage(prompt="ink <lora:ink:0.8> (((a", prompt_style="plain"), SD15.defaults)
    assert settings.prompt == "ink <lora:ink:0.8> (((a" and settings.adapters == ()
