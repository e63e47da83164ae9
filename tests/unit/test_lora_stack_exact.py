"""Exact unload, whatever happens: thousands of random steps, after each of which every bit is what it was."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

STEPS, WALKS = 25, 80  # at least 2,000 steps in all


@pytest.fixture(scope="module")
def unload() -> ModuleType:
    """The benchmark that walks on for hours, as a module."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "unload.py"
    spec = importlib.util.spec_from_file_location("unload", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["unload"] = module
    spec.loader.exec_module(module)
    return module


NAMES = ("enter", "leave", "raise", "set", "rows", "call", "overflow", "interrupt", "misfit")
LEVELS = (-3.0, -1.5, -1.0, -0.25, 0.0, 0.5, 1.0, 2.25)
numbers = st.integers(0, 8**6 - 1).map(lambda code: [LEVELS[code >> 3 * place & 7] for place in range(6)])


@settings(deadline=None, max_examples=WALKS, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(st.tuples(st.sampled_from(NAMES), numbers), min_size=STEPS, max_size=STEPS + 5))
def test_any_walk_leaves_every_bit_as_it_was(unload: ModuleType, steps: list[tuple[str, list[float]]]) -> None:
    assert unload.STEPS == NAMES
    walk = unload.Walk()
    walk.step("enter", [1.0, 1.0, 1.0, 1.0, 0.0, 1.0])
    for name, given_numbers in steps:
        walk.step(name, given_numbers)
    walk.end()


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(st.tuples(st.sampled_from(NAMES), numbers), min_size=STEPS, max_size=STEPS))
def test_any_walk_that_rereads_has_the_bits_of_one_with_kept_copies(
    unload: ModuleType, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[float]]]
) -> None:
    kept, reread = unload.Walk(), unload.Walk(tmp_path_factory.mktemp("walk"))
    for name, chosen in [("enter", [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]), *steps]:
        for walk in (kept, reread):
            walk.step(name, chosen)
        for part in ("unet", "text_encoder"):
            one, other = ([own.view(torch.uint8) for own in walk.parts[part].parameters()] for walk in (kept, reread))
            assert all(map(torch.equal, one, other)), f"{part} after {name}"
    kept.end()
    reread.end()


def test_a_state_depends_on_its_weights_and_not_on_the_walk_to_it(unload: ModuleType) -> None:
    dice = random.Random(1)

    def bits(walk: object) -> list[torch.Tensor]:
        return [own.detach().clone() for part in walk.parts.values() for own in part.parameters()]

    fresh, walked = unload.Walk(), unload.Walk()
    for _ in range(20):
        start = [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
        fresh.step("enter", start)
        walked.step("enter", start)
        last = [dice.uniform(-3, 3) for _ in range(6)]
        for name in ("set", "rows", "call", "overflow", "set", "interrupt"):
            walked.step(name, [dice.uniform(-3, 3) for _ in range(6)])
        fresh.step("set", last)
        walked.step("set", last)
        for one, other in zip(bits(fresh), bits(walked), strict=True):
            assert torch.equal(one, other)
        fresh.end()
        walked.end()
