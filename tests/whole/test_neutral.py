"""Neutral settings change nothing, and what is turned up slowly changes the picture steadily."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sakuga.models.device import resolve
from sakuga.models.library import Library
from sakuga.models.load import load_base
from sakuga.video.colour import fit, to_float, to_uint8
from sakuga.video.pictures import read_picture

PROMPT = "flat colours"
NEAR = 2  # grey levels: what "the same picture" may differ by
UNSEEN = 0.001  # a strength so low that the picture cannot have changed


@pytest.mark.parametrize("layout", ["kohya", "peft"])
@pytest.mark.parametrize("weight", [0.0, "0->0"])
def test_a_lora_of_weight_0_is_no_lora(
    draw: Any, sources: Mapping[str, Path], adapters: Mapping[str, Path], layout: str, weight: object
) -> None:
    use = {"file": str(adapters[layout]), "weight": weight}
    without = draw(sources["picture"], {"prompt": PROMPT})
    at_nothing = draw(sources["picture"], {"prompt": PROMPT, "adapters": [use]})
    assert np.array_equal(without.frames, at_nothing.frames)
    assert at_nothing.report.adapters[0]["keys"]["used"] > 0


@pytest.mark.parametrize("layout", ["kohya", "peft"])
def test_a_lora_changes_the_picture_the_more_the_higher_its_weight(
    draw: Any, sources: Mapping[str, Path], adapters: Mapping[str, Path], layout: str
) -> None:
    uses = [{"adapters": [{"file": str(adapters[layout]), "weight": weight}]} for weight in (0.0, 0.5, 1.0)]
    none, half, whole = (draw(sources["picture"], {"prompt": PROMPT, **use}) for use in uses)
    assert 0 < none.apart(half).mean() < none.apart(whole).mean()


def test_text_encoder_and_unet_have_weights_of_their_own(
    draw: Any, sources: Mapping[str, Path], adapters: Mapping[str, Path]
) -> None:
    file = str(adapters["kohya"])
    pairs = {"none": (0.0, 0.0), "text": (1.0, 0.0), "unet": (0.0, 1.0)}
    drawn = {
        name: draw(
            sources["picture"],
            {"prompt": PROMPT, "adapters": [{"file": file, "text_encoder_weight": text, "weight": unet}]},
        )
        for name, (text, unet) in pairs.items()
    }
    assert drawn["none"].apart(drawn["unet"]).any()
    assert drawn["unet"].apart(drawn["text"]).any()


@pytest.mark.parametrize("silent", ["tile:0", "tile:0->0", {"kind": "tile", "scale": 1.0, "start": 0.9, "end": 0.95}])
def test_a_control_that_says_nothing_is_no_control(draw: Any, sources: Mapping[str, Path], silent: object) -> None:
    alone = draw(sources["picture"], {"controls": ["lineart:0.7"], "steps": 2})
    beside = draw(sources["picture"], {"controls": ["lineart:0.7", silent], "steps": 2})
    assert np.array_equal(alone.frames, beside.frames)


def test_a_control_that_says_something_is_heard(draw: Any, sources: Mapping[str, Path]) -> None:
    none, some = (draw(sources["picture"], {"controls": controls}) for controls in ([], ["tile:1"]))
    assert none.apart(some).mean() > 1


def test_at_guidance_1_the_negative_prompt_is_not_heard(draw: Any, sources: Mapping[str, Path]) -> None:
    plain, other = (
        draw(sources["picture"], {"prompt": PROMPT, "negative_prompt": negative, "guidance": 1.0})
        for negative in ("", "a photograph, blurred, with grain")
    )
    assert np.array_equal(plain.frames, other.frames)


def test_above_guidance_1_the_negative_prompt_is_run(draw: Any, sources: Mapping[str, Path]) -> None:
    plain, alike, guided = (
        draw(sources["picture"], {"prompt": PROMPT, "negative_prompt": negative, "guidance": guidance})
        for negative, guidance in (("", 1.0), (PROMPT, 4.0), ("a photograph " * 60, 4.0))
    )
    assert plain.apart(alike).max() <= 1, "two halves that say the same cancel"
    assert guided.frames.shape == plain.frames.shape, "halves of different length run one after the other"


@pytest.mark.parametrize("source", ["picture", "pictures"])
def test_with_a_strength_near_0_the_codec_alone_is_seen(draw: Any, sources: Mapping[str, Path], source: str) -> None:
    drawn = draw(sources[source], {"strength": UNSEEN, "noise": "zero"})
    paths = sorted(sources[source].iterdir()) if sources[source].is_dir() else [sources[source]]
    pictures = np.stack([read_picture(path) for path in paths])
    base = load_base("starter", Library.usual(), resolve("cpu", "fp32"))
    around = fit(pictures.shape[2], pictures.shape[1], base.multiple)
    there_and_back = around.cut(to_uint8(base.codec.decode(base.codec.encode(to_float(around.pad(pictures))))))
    apart = drawn.apart(there_and_back)
    assert apart.mean() <= NEAR
    assert np.quantile(apart, 0.99) <= 2 * NEAR


def test_two_stages_draw_one_after_the_other(draw: Any, sources: Mapping[str, Path]) -> None:
    first = {"prompt": PROMPT}
    second = {"strength": 0.5, "controls": ["lineart"]}
    once = draw(sources["picture"], first)
    alone = draw(once.output, second)
    both = draw(sources["picture"], first, second)
    assert np.array_equal(both.frames, alone.frames)
    assert [stage["strength"] for stage in both.report.stages] == [1.0, 0.5]
