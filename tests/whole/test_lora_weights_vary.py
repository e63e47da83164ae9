"""Weights that follow frames, time, steps and blocks: each is the run that it says it is, and no other frame's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from sakuga.errors import JobError
from sakuga.models.library import STARTER
from sakuga.render.studio import Studio
from sakuga.spec.job import Job

PLAIN = {"prompt": "anime style, a disc", "guidance": 1.0, "steps": 2, "motion": "none", "noise": "frame"}
ROUNDING = 1  # grey levels: a frame among others in a batch, with its adapter beside the layers
BLOCK = "lora_unet_up_blocks_1_"  # of the layers that the two blocks below hold
BLOCKS = {"OUT03": 0.5, "OUT04": 0.5, "OUT05": 0.5}


def with_lora(use: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    """A stage in which the prompt is read without the adapter, so that only the UNet's weight is seen."""
    fields = use if isinstance(use, dict) else {"weight": use}
    return PLAIN | {"adapters": [{"file": "celcomic", "text_encoder_weight": 0} | fields]} | more


@pytest.fixture(scope="module")
def without(draw: Any, sources: Mapping[str, Path]) -> Any:
    return draw(sources["pictures"], PLAIN)


@pytest.mark.parametrize("weight", ["0->1@frames", "0:0.2, 0.4:1, 1:-0.5@frames"])
def test_each_frame_has_its_own_weight(draw: Any, sources: Mapping[str, Path], without: Any, weight: str) -> None:
    guided = {"guidance": 3.0}  # both halves of guidance in one call
    moving = draw(sources["pictures"], with_lora(weight, **guided))
    assert moving.apart(without).max() > 8
    points = {"0->1@frames": [n / 5 for n in range(6)]}.get(weight) or [0.2, 0.6, 1.0, 0.5, 0.0, -0.5]
    for frame in (1, 4):
        constant = draw(sources["pictures"], with_lora(f"{points[frame]}", **guided), frames=f"{frame}:{frame + 1}")
        assert np.abs(moving.frames[frame] - constant.frames[0]).max() <= ROUNDING, frame


def test_a_frame_with_weight_0_among_others_is_the_frame_without(
    draw: Any, sources: Mapping[str, Path], without: Any
) -> None:
    moving = draw(sources["pictures"], with_lora("0:1, 0.4:0, 0.8:0, 1:1@frames"))
    assert np.abs(moving.frames[2:5] - without.frames[2:5]).max() <= ROUNDING
    assert np.abs(moving.frames[[0, 5]] - without.frames[[0, 5]]).max() > 8


def test_spans_and_parts_of_a_clip_have_the_weights_of_the_clip(draw: Any, sources: Mapping[str, Path]) -> None:
    whole = draw(sources["pictures"], with_lora("0->1@frames"))
    parted = draw(sources["pictures"], with_lora("0->1@frames"), span=2)
    part = draw(sources["pictures"], with_lora("0->1@frames"), frames="3:5")
    assert np.abs(whole.frames - parted.frames).max() <= ROUNDING
    assert np.abs(whole.frames[3:5] - part.frames).max() <= ROUNDING


def test_a_weight_over_time_follows_the_times_of_the_clip(draw: Any, sources: Mapping[str, Path]) -> None:
    moving = draw(sources["uneven"], with_lora("0s:0->0.5s:1"))
    for frame, ticks in ((1, 1001), (4, 4096)):
        weight = min(1.0, ticks / 12288 / 0.5)
        constant = draw(sources["uneven"], with_lora(f"{weight:.6f}"), frames=f"{frame}:{frame + 1}")
        assert np.abs(moving.frames[frame] - constant.frames[0]).max() <= ROUNDING, frame


def test_under_a_motion_module_equal_weights_in_a_window_are_the_constant_run(
    draw: Any, sources: Mapping[str, Path], motion_file: Path
) -> None:
    moves: dict[str, Any] = {"motion": str(motion_file), "window": 3, "stride": 3, "guidance": 3.0}
    jump = draw(sources["pictures"], with_lora("0:0.3, 0.5:0.3, 0.5:0.9, 1:0.9@frames", **moves))
    low, high = (draw(sources["pictures"], with_lora(weight, **moves)) for weight in ("0.3", "0.9"))
    assert np.abs(jump.frames[:3] - low.frames[:3]).max() <= ROUNDING
    assert np.abs(jump.frames[3:] - high.frames[3:]).max() <= ROUNDING
    assert low.apart(high).max() > 8


def test_under_a_motion_module_frames_of_other_weights_are_heard(
    draw: Any, sources: Mapping[str, Path], motion_file: Path
) -> None:
    moves: dict[str, Any] = {"motion": str(motion_file), "window": 6, "stride": 6}
    ramp = draw(sources["pictures"], with_lora("0->1@frames", **moves))
    last = draw(sources["pictures"], with_lora("1", **moves))
    assert np.abs(ramp.frames[5] - last.frames[5]).max() > ROUNDING


def test_a_weight_over_frames_leaves_the_others_alone(draw: Any, sources: Mapping[str, Path]) -> None:
    beside = {"file": "ink", "weight": 0.5, "text_encoder_weight": 0}
    both = {"adapters": [{"file": "celcomic", "weight": "0->1@frames", "text_encoder_weight": 0}, beside]}
    last = {"adapters": [{"file": "celcomic", "weight": 1.0, "text_encoder_weight": 0}, beside]}
    moving = draw(sources["pictures"], PLAIN | both)
    constant = draw(sources["pictures"], PLAIN | last, frames="5:6")
    assert np.abs(moving.frames[5] - constant.frames[0]).max() <= ROUNDING


def test_the_text_encoder_has_the_first_frame_s_weight_and_the_report_says_so(
    draw: Any, sources: Mapping[str, Path]
) -> None:
    moving = draw(sources["pictures"], PLAIN | {"adapters": ["celcomic:0.5->1@frames"]})
    assert [note.reason for note in moving.report.notes if note.what == "stages.0.adapters.0"] == [
        "the prompt is read once: the text encoder has 0.5, as at the start"
    ]
    same = draw(sources["pictures"], PLAIN | {"adapters": ["celcomic:0.5->1@frames:te=0.5"]})
    assert np.array_equal(moving.frames, same.frames)


def test_weight_0_is_no_adapter_to_the_bit(draw: Any, sources: Mapping[str, Path], without: Any) -> None:
    uses = ["celcomic:0", "ink:0:0", "ink:0->0@frames", "celcomic:0:lbw=OUTD", "ink:0s:0->1s:0"]
    assert np.array_equal(draw(sources["pictures"], PLAIN | {"adapters": uses}).frames, without.frames)


def test_block_weights_change_these_blocks_alone(
    draw: Any, sources: Mapping[str, Path], without: Any, tmp_path: Path
) -> None:
    tensors = load_file(STARTER / "loras" / "celcomic.safetensors")
    part = {key: tensor for key, tensor in tensors.items() if key.startswith(BLOCK)}
    save_file(part, tmp_path / "part.safetensors")
    off = {f"{side}{number:02}": 0 for side in ("IN", "OUT") for number in range(12)} | {"BASE": 0, "M00": 0}
    halves = with_lora({"weight": 1.0, "blocks": off | BLOCKS})
    halved = PLAIN | {"adapters": [f"{tmp_path / 'part.safetensors'}:0.5"]}
    found = draw(sources["pictures"], halves)
    assert found.apart(without).max() > 2
    # layers of no block, the time embedding and the last convolution, keep the adapter's own weight
    rest = {key: tensor for key, tensor in tensors.items() if "time_embedding" in key or "conv_out" in key}
    save_file(rest, tmp_path / "rest.safetensors")
    halved["adapters"] = [*halved["adapters"], f"{tmp_path / 'rest.safetensors'}"]
    assert found.apart(draw(sources["pictures"], halved)).max() <= ROUNDING


def test_a_list_a_preset_and_a_table_are_one_another(draw: Any, sources: Mapping[str, Path]) -> None:
    outs = [int(number == 0 or 14 <= number <= 20) for number in range(26)]
    ways = ["celcomic:0.8:lbw=OUTD", f"celcomic:0.8:lbw={','.join(map(str, outs))}"]
    table = {"down": 0, "mid": 0, "up": {"block_2": [0, 1, 1], "block_3": 0}}
    listed = {**{f"IN{number:02}": 0 for number in range(12)}, "M00": 0, **{f"OUT{n:02}": 0 for n in range(7, 12)}}
    uses: list[Any] = [*ways, {"file": "celcomic", "weight": 0.8, "blocks": listed}]
    pictures = [draw(sources["picture"], PLAIN | {"adapters": [use]}).frames for use in uses]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures[1:])
    other = draw(sources["picture"], PLAIN | {"adapters": [{"file": "celcomic", "weight": 0.8, "blocks": table}]})
    assert other.apart(pictures[0]).any(), "another table is another picture"
    tagged = draw(sources["picture"], PLAIN | {"prompt": f"{PLAIN['prompt']}<lora:celcomic:0.8:lbw=OUTD>"})
    assert np.array_equal(tagged.frames, pictures[0])


@pytest.mark.parametrize(
    ("options", "curve"),
    [
        ("start=2", "0:0, 0.25:0, 0.25:0.8, 1:0.8"),
        ("stop=3", "0:0.8, 0.5:0.8, 0.5:0, 1:0"),
        ("step=2-3", "0:0, 0.25:0, 0.25:0.8, 0.5:0.8, 0.5:0, 1:0"),
    ],
)
def test_steps_are_the_weight_in_these_steps_only(
    draw: Any, sources: Mapping[str, Path], options: str, curve: str
) -> None:
    stage = PLAIN | {"steps": 4}
    ranged = draw(sources["picture"], stage | {"adapters": [f"celcomic:0.8:te=0:{options}"]})
    same = {"file": "celcomic", "weight": curve, "text_encoder_weight": 0}
    constant = draw(sources["picture"], stage | {"adapters": ["celcomic:0:0.8"]})
    assert np.array_equal(ranged.frames, draw(sources["picture"], stage | {"adapters": [same]}).frames)
    assert ranged.apart(constant).any()


def test_all_steps_by_name_are_the_plain_run_and_steps_too_late_are_told(
    draw: Any, sources: Mapping[str, Path], without: Any
) -> None:
    plain = draw(sources["pictures"], with_lora("0.8"))
    assert np.array_equal(plain.frames, draw(sources["pictures"], with_lora({"weight": 0.8, "steps": "0:2"})).frames)
    late = draw(sources["pictures"], with_lora({"weight": 0.8, "steps": "2:"}))
    assert np.array_equal(late.frames, without.frames)
    assert any(note.reason.endswith("without effect") for note in late.report.notes), late.report.notes


def test_the_report_says_which_blocks_and_steps(studio: Studio, sources: Mapping[str, Path]) -> None:
    stage = {"prompt": "<lora:ink:0.5:lbw=OUTD:start=2>", "adapters": ["celcomic:0.8"]}
    told = studio.check(Job(source=sources["picture"], stages=[stage], output="never.png")).adapters
    assert [(one["blocks"], one["steps"]) for one in told] == [(None, None), ("OUTD", "1:")]


@pytest.mark.parametrize(
    ("use", "place", "said"),
    [
        ("celcomic:lbw=OUTT", "stages.0.adapters.0.blocks", "preset"),
        ("celcomic:lbw=1,0,1", "stages.0.adapters.0.blocks", "list"),
        ("celcomic:lbw=1,R,1", "stages.0.adapters.0.blocks", "random"),
        ({"file": "celcomic", "blocks": {"M77": 1}}, "stages.0.adapters.0.blocks", "block"),
        ({"file": "celcomic", "blocks": {"mid": math.nan}}, "stages.0.adapters.0.blocks", "block weights"),
        ({"file": "celcomic", "blocks": {}}, "stages.0.adapters.0.blocks", "block weights"),
        ({"file": "celcomic", "steps": "8:3"}, "stages.0.adapters.0.steps", "range"),
        ("celcomic:dyn=4", "stages.0.adapters.0", "option"),
    ],
)
def test_bad_options_are_placed(studio: Studio, sources: Mapping[str, Path], use: Any, place: str, said: str) -> None:
    with pytest.raises(JobError) as raised:
        studio.check(Job(source=sources["picture"], stages=[{"adapters": [use]}], output="never.png"))
    assert raised.value.place == place
    assert said in str(raised.value)


def test_an_adapter_without_a_text_encoder_is_not_told_what_its_text_encoder_has(
    draw: Any, sources: Mapping[str, Path], tmp_path: Path
) -> None:
    tensors = load_file(STARTER / "loras" / "celcomic.safetensors")
    part = {key: tensor for key, tensor in tensors.items() if key.startswith(BLOCK)}
    save_file(part, tmp_path / "blocks.safetensors")
    adapters = [f"{tmp_path / 'blocks.safetensors'}:0.5->1@frames"]
    with Studio(reuse=False) as studio:
        report = studio.check(Job(source=sources["pictures"], stages=[PLAIN | {"adapters": adapters}]))
    assert not [note for note in report.notes if "text encoder" in note.reason]


def test_a_stack_that_is_off_at_the_end_still_shows_what_it_did(draw: Any, sources: Mapping[str, Path]) -> None:
    (stack,) = draw(sources["pictures"], with_lora({"steps": [0, 1]})).report.stacks
    assert stack["fused"] == 0
    assert [(state["step"], state["fused"] > 0, state["live"]) for state in stack["states"]] == [
        (0, True, 0),
        (1, False, 0),
    ]
    (steady,) = draw(sources["pictures"], with_lora("0.5")).report.stacks
    assert [(state["step"], state["fused"]) for state in steady["states"]] == [(0, steady["fused"])]
