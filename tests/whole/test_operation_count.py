"""What need not be computed is not: counted at the networks themselves, in runs on a tiny model.

DiffSynth 1.x asks the UNet twice for every frame of every window, and each ControlNet as often. For 30 frames in
windows of 16 by 8 that is 92 and 92 rows in a step. Here ControlNets are asked once for each frame, step and prompt,
both halves go in one call, windows are only where frames look at each other, and texts are read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.whole.random_model import Case, made

from sakuga.spec.job import Stage

FRAMES = 30
BASE: dict[str, Any] = {
    "prompt": "ink", "negative_prompt": "photograph", "motion": "none", "controls": ["tile:0.5", "tile:0.7"],
    "steps": 1, "guidance": 7.0, "noise": "diffsynth1", "window": 16, "stride": 8, "frames_at_once": 8,
}  # fmt: skip
LONG = ", ".join(["a long way"] * 40)


@pytest.fixture(scope="module")
def case() -> Case:
    return made()


@pytest.fixture
def counted(case: Case) -> Any:
    """Runs a Stage and gives how many rows each network had to answer for, and in how many calls."""

    def run(**fields: Any) -> tuple[Counter[str], Counter[str]]:
        rows, calls = Counter[str](), Counter[str]()
        watched = {"unet": case.bundle.unet, "text": case.bundle.text_encoder}
        watched |= {f"control {number}": net for number, net in enumerate(case.nets)}

        def watch(name: str) -> Callable[..., None]:
            def see(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
                first = (
                    given[0] if given else next(value for value in named.values() if isinstance(value, torch.Tensor))
                )
                rows[name] += len(first)
                calls[name] += 1

            return see

        handles = [module.register_forward_pre_hook(watch(name), with_kwargs=True) for name, module in watched.items()]
        try:
            case.ours(Stage(**BASE | fields), FRAMES)
        finally:
            for handle in handles:
                handle.remove()
        return rows, calls

    return run


def test_windows_ask_the_unet_again_and_the_controlnets_not(counted: Any) -> None:
    rows, calls = counted(motion="own")
    assert rows == {"unet": 92, "control 0": 60, "control 1": 60, "text": 2}
    assert calls["unet"] == 3, "one for each window: both halves together"


def test_without_anything_along_time_no_frame_is_asked_twice(counted: Any) -> None:
    rows, calls = counted()
    assert rows == {"unet": 60, "control 0": 60, "control 1": 60, "text": 2}
    assert calls["unet"] == 4, "30 frames, 8 at a time"


def test_cross_frame_attention_has_its_windows_and_asks_the_controlnets_once(counted: Any) -> None:
    rows, calls = counted(cross_frame=True, window=8, stride=4, frames_at_once=4)
    assert rows == {"unet": 108, "control 0": 60, "control 1": 60, "text": 2}
    assert calls["unet"] == 7 * 2, "windows of 8 in two parts each, the last of 6 too"


def test_prompts_of_different_length_need_two_passes_and_no_more(counted: Any) -> None:
    rows, calls = counted(motion="own", prompt=LONG, prompt_style="plain")
    assert rows["unet"] == 92 and calls["unet"] == 6
    assert rows["control 0"] == 60


def test_no_guidance_needs_one_half(counted: Any) -> None:
    rows, _ = counted(guidance=1.0, motion="own")
    assert rows["unet"] == 46 and rows["control 0"] == 30


def test_a_text_is_read_once_however_many_steps_and_frames(counted: Any) -> None:
    rows, _ = counted(steps=3)
    assert rows["text"] == 2
    assert rows["unet"] == 3 * 60
