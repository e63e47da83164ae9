"""The weights in memory are the same bytes after every run, whichever way it ended, and order changes nothing."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from sakuga.errors import SakugaError, Stopped
from sakuga.lora import plan, reread
from sakuga.models.bundle import Bundle
from sakuga.models.load import load_base
from sakuga.render import parts, settings
from sakuga.render.samplers import SAMPLERS, StepHooks
from sakuga.render.studio import Studio
from sakuga.spec.job import Job


def digest(bundle: Bundle) -> str:
    """The hash of every tensor that the parts of a base hold, buffers too."""
    found = hashlib.sha256()
    for name, module in (*bundle.parts.items(), ("vae", bundle.codec.vae), ("motion", bundle.motion)):
        for key, tensor in module.state_dict().items() if module is not None else ():
            found.update(f"{name}.{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def held(sources: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, Bundle]]:
    """A Studio that has rendered once, and the base that it holds since."""
    bundles: list[Bundle] = []

    def load(*words: Any) -> Bundle:
        bundles.append(load_base(*words))
        return bundles[-1]

    with Studio(reuse=False) as studio:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parts, "load_base", load)
            studio.render(Job(source=sources["picture"], output=tmp_path_factory.mktemp("first") / "first.png"))
        yield studio, bundles[0]


@pytest.fixture
def job(sources: Mapping[str, Path], adapters: Mapping[str, Path], tmp_path: Path) -> Job:
    uses = [f"{adapters['kohya']}:0.8", f"{adapters['peft']}:1->0.25"]
    stage = {"prompt": "ink", "adapters": uses, "steps": 4, "motion": "none"}
    return Job(source=sources["picture"], stages=[stage], output=tmp_path / "toon.png")


@pytest.fixture
def before(held: tuple[Studio, Bundle]) -> str:
    return digest(held[1])


def test_after_a_run_with_adapters(held: tuple[Studio, Bundle], job: Job, before: str) -> None:
    studio, bundle = held
    report = studio.render(job)
    assert report.status == "rendered" and len(report.adapters) == 2
    assert digest(bundle) == before


def test_a_machine_without_room_for_copies_draws_the_same_and_says_what_it_did(
    held: tuple[Studio, Bundle], job: Job, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, bundle = held
    pictures, told = [], []
    for name, free in (("plenty", 1 << 40), ("little", 2 << 20)):
        monkeypatch.setattr(plan, "free_bytes", lambda device, free=free: free)
        studio._keeper._cache.clear()
        assert job.output is not None
        report = studio.render(job.model_copy(update={"output": job.output.with_stem(name)}))
        pictures.append(Path(report.output).read_bytes())
        told.append(report.stacks[0])
        assert digest(bundle) == before
    assert pictures[0] == pictures[1]
    assert [{one["way"] for one in stack["pristine"]} for stack in told] == [{"kept copy"}, {"reread from the file"}]
    assert told[1]["fresh_bytes"] == 0 and "do not fit in the 2 MiB" in told[1]["pristine"][0]["why"]


def test_a_base_that_could_not_be_read_back_is_loaded_again_for_the_next_job(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "free_bytes", lambda device: 2 << 20)
    with Studio(reuse=False) as studio:
        with monkeypatch.context() as patch:
            patch.setattr(reread, "_checksum", Mock(side_effect=itertools.count()))
            with pytest.raises(SakugaError, match="still changed"):
                studio.render(job)
        assert studio.render(job).status == "rendered"


def test_after_a_run_that_fails_midway(
    held: tuple[Studio, Bundle], job: Job, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, bundle = held
    during: list[str] = []

    def failing(denoise: Any, x: torch.Tensor, levels: tuple[Any, ...], hooks: StepHooks) -> torch.Tensor:
        for step, level in enumerate(levels[:2]):
            hooks.before_step(step)
            denoise(x, level, step)
            during.append(digest(bundle))
        raise RuntimeError("out of memory, say")

    broken = replace(SAMPLERS[0], sample=failing)
    monkeypatch.setattr(settings, "find_sampler", lambda _: broken)
    with pytest.raises(RuntimeError, match="out of memory, say"):
        studio.render(job)
    assert len({before, *during}) == 3, "the adapters were at work, and the curve moved on"
    assert digest(bundle) == before
    assert job.output is not None and not list(job.output.parent.iterdir()), "nothing was left of it"


def test_after_a_stop(
    held: tuple[Studio, Bundle], job: Job, before: str, stopped_at: Callable[[str, int], Any]
) -> None:
    studio, bundle = held
    progress, _ = stopped_at("render", 2)
    with pytest.raises(Stopped):
        studio.render(job, progress=progress)
    assert digest(bundle) == before


def test_the_order_of_adapters_changes_no_bit(
    draw: Any, sources: Mapping[str, Path], adapters: Mapping[str, Path]
) -> None:
    uses = [f"{adapters['kohya']}:0.7", f"{adapters['peft']}:0.45"]
    one = draw(sources["picture"], {"prompt": "ink", "adapters": uses})
    other = draw(sources["picture"], {"prompt": "ink", "adapters": uses[::-1]})
    assert np.array_equal(one.frames, other.frames)
    names = [[adapter["name"] for adapter in run.report.adapters] for run in (one, other)]
    assert names == [["kohya", "peft"], ["peft", "kohya"]]


def test_the_same_adapter_twice_is_one_of_both_weights(
    draw: Any, sources: Mapping[str, Path], adapters: Mapping[str, Path]
) -> None:
    file = adapters["kohya"]
    twice = draw(sources["picture"], {"adapters": [f"{file}:0.25", f"{file}:0.5"]})
    once = draw(sources["picture"], {"adapters": [f"{file}:0.75"]})
    assert twice.apart(once).max() <= 1


def test_a_lora_tag_in_the_prompt_is_a_lora(
    draw: Any, sources: Mapping[str, Path], adapters: Mapping[str, Path]
) -> None:
    folder = (adapters["kohya"].parent,)
    tagged = draw(sources["picture"], {"prompt": "ink <lora:kohya:0.5>"}, models=folder)
    given = draw(sources["picture"], {"prompt": "ink", "adapters": ["kohya:0.5"]}, models=folder)
    assert np.array_equal(tagged.frames, given.frames)
    assert [adapter["from"] for adapter in tagged.report.adapters] == ["prompt"]
    assert tagged.report.adapters == [{**adapter, "from": "prompt"} for adapter in given.report.adapters]
