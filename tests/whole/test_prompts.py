"""Prompts as people write them: embeddings by name, emphasis, long texts, clip skip; what has no effect is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sakuga.errors import FileProblem, JobError
from sakuga.render.studio import Studio
from sakuga.spec.job import Job

LOUD = {"controls": [], "motion": "none", "guidance": 8.0}  # so that the words are heard as well as they can be


@pytest.fixture(scope="module")
def mine(modules: Mapping[str, tuple[int, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one embedding of two random vectors, called grumpy."""
    folder = tmp_path_factory.mktemp("mine")
    chance = torch.Generator().manual_seed(4)
    save_file({"emb_params": torch.randn(2, text_width(modules), generator=chance)}, folder / "grumpy.safetensors")
    return folder


def text_width(modules: Mapping[str, tuple[int, ...]]) -> int:
    return next(shape[0] for name, shape in modules.items() if name.endswith("self_attn.q_proj"))


@pytest.mark.parametrize("name", ["grumpy", "path"])
def test_an_embedding_is_called_by_its_name(draw: Any, sources: Mapping[str, Path], mine: Path, name: str) -> None:
    ref = str(mine / "grumpy.safetensors") if name == "path" else name
    stage = LOUD | {"prompt": "a Grumpy cat"}
    without = draw(sources["picture"], stage)
    called = draw(sources["picture"], stage | {"embeddings": [ref]}, models=(mine,))
    assert without.apart(called).any()
    assert not [note for note in called.report.notes if "no effect" in note.reason]
    assert [model["name"] for model in called.report.models if model["role"] == "embedding"] == ["grumpy"]


@pytest.mark.parametrize("prompt", ["a cat", "a grumpyish cat"])
def test_an_embedding_that_no_prompt_calls_is_named(
    draw: Any, sources: Mapping[str, Path], mine: Path, prompt: str
) -> None:
    stage = LOUD | {"prompt": prompt, "negative_prompt": "blurred"}
    without = draw(sources["picture"], stage)
    given = draw(sources["picture"], stage | {"embeddings": ["grumpy"]}, models=(mine,))
    assert np.array_equal(without.frames, given.frames)
    assert [note.reason for note in given.report.notes if note.what == "embedding grumpy"] == [
        "its name is in no prompt, so it has no effect"
    ]


def test_the_negative_prompt_calls_embeddings_too(draw: Any, sources: Mapping[str, Path], mine: Path) -> None:
    stage = LOUD | {"prompt": "a cat", "negative_prompt": "grumpy", "embeddings": ["grumpy"]}
    assert not [n for n in draw(sources["picture"], stage, models=(mine,)).report.notes if "no effect" in n.reason]


def test_emphasis_and_long_prompts_run(draw: Any, sources: Mapping[str, Path]) -> None:
    long = ", ".join(f"line {number}" for number in range(60))
    prompts = ["ink", "(ink:1.6)", "[ink]", r"\(ink\)", long, f"{long}, (a (red) sky:1.3)"]
    drawn = [draw(sources["picture"], LOUD | {"prompt": prompt}).frames for prompt in prompts]
    assert {frames.shape for frames in drawn} == {(1, 48, 64, 3)}
    assert len({frames.tobytes() for frames in drawn}) > len(prompts) // 2, "the words are heard"


def test_clip_skip_reads_another_layer(draw: Any, sources: Mapping[str, Path]) -> None:
    one, two = (draw(sources["picture"], LOUD | {"prompt": "ink", "clip_skip": skip}) for skip in (1, 2))
    assert one.apart(two).any()


def test_a_check_tells_a_clip_skip_beyond_the_layers(studio: Studio, sources: Mapping[str, Path]) -> None:
    with pytest.raises(JobError, match="beyond the layers") as raised:
        studio.check(Job(source=sources["picture"], stages=[{"clip_skip": 12}]))
    assert raised.value.place == "stages.0.clip_skip"


def test_a_check_tells_an_embedding_of_another_width(
    studio: Studio, sources: Mapping[str, Path], tmp_path: Path
) -> None:
    wide = tmp_path / "wide.safetensors"
    save_file({"emb_params": torch.zeros(1, 4096)}, wide)
    with pytest.raises(FileProblem, match="for a text encoder of another width") as raised:
        studio.check(Job(source=sources["picture"], stages=[{"embeddings": [str(wide)]}]))
    assert raised.value.place == "stages.0.embeddings.0"


def test_a_check_tells_a_file_that_is_no_embedding(
    studio: Studio, sources: Mapping[str, Path], adapters: Mapping[str, Path]
) -> None:
    with pytest.raises(FileProblem, match="does not belong here") as raised:
        studio.check(Job(source=sources["picture"], stages=[{"embeddings": [str(adapters["kohya"])]}]))
    assert raised.value.place == "stages.0.embeddings.0"


def test_a_check_tells_a_window_that_the_motion_module_cannot_see(
    studio: Studio, sources: Mapping[str, Path], motion_file: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.safetensors"  # eight frames are all that it can tell apart
    cut = {name: t[:, :8].contiguous() if name.endswith(".pe") else t for name, t in load_file(motion_file).items()}
    save_file(cut, short)
    with pytest.raises(JobError, match="longer than the motion module can see") as raised:
        studio.check(Job(source=sources["pictures"], stages=[{"motion": str(short), "window": 16}]))
    assert raised.value.place == "stages.0.window"
