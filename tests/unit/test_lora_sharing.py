"""Weights that two models share, two threads at one model, copies: no applied stack is stacked upon unseen."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from torch import nn

from sakuga.errors import SakugaError
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.carrying import spoil, spoiled
from sakuga.lora.stack import Stack


def _model() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 6))


def _stack() -> Stack:
    record = Lora(up=torch.ones(6, 2), down=torch.ones(2, 8))
    common = {"name": "ink", "path": Path("ink.safetensors"), "sha256": "ink", "family": None, "layout": "kohya"}
    patch = Patch(component="unet", module="0", record=record, keys=("0",))
    return Stack([(Adapter(**common, metadata={}, patches=(patch,), leftovers=(), total_keys=1), 1.0)])


def _same_parameter(model: nn.Sequential) -> nn.Sequential:
    other = _model()
    other[0].weight = model[0].weight
    return other


def _same_memory(model: nn.Sequential) -> nn.Sequential:
    other = _model()
    other.load_state_dict(model.state_dict(), assign=True)
    return other


def _same_module(model: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(model[0])


@pytest.mark.parametrize("share", [_same_parameter, _same_memory, _same_module])
def test_a_weight_that_two_models_share_is_not_changed_twice(
    share: Callable[[nn.Sequential], nn.Sequential],
) -> None:
    model = _model()
    other = share(model)
    before = model[0].weight.detach().clone()
    with _stack().applied({"unet": model}):
        once = model[0].weight.detach().clone()
        with pytest.raises(SakugaError, match="already carry"), _stack().applied({"unet": other}):
            pytest.fail("it was applied twice")
        assert torch.equal(model[0].weight, once)
    assert torch.equal(model[0].weight, before) and torch.equal(other[0].weight, before)
    with _stack().applied({"unet": other}):
        assert torch.equal(other[0].weight, once)
    assert torch.equal(model[0].weight, before) and torch.equal(other[0].weight, before)


def test_models_that_share_nothing_may_be_left_in_any_order() -> None:
    model, other = _model(), _model()
    before = model[0].weight.detach().clone()
    first, second = ExitStack(), ExitStack()
    first.enter_context(_stack().applied({"unet": model}))
    second.enter_context(_stack().applied({"unet": other}))
    first.close()
    second.close()
    assert torch.equal(model[0].weight, before) and torch.equal(other[0].weight, before)


def test_a_model_on_the_memory_of_a_weight_that_could_not_be_taken_back_is_refused() -> None:
    model = _model()
    other, apart = _same_memory(model), _model()
    spoil([model[0].weight])
    assert spoiled({"one": model, "other": other, "apart": apart}) == ["one", "other"]
    with pytest.raises(SakugaError, match="could not be taken back"), _stack().applied({"unet": other}):
        pytest.fail("it was applied")
    model.load_state_dict(apart.state_dict())
    assert spoiled({"one": model, "other": other}) == []


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_a_copy_of_a_model_does_not_keep_its_live_adapters_for_ever(copied: Callable[[nn.Module], object]) -> None:
    model = _model()
    before = copy.deepcopy(model.state_dict())
    with _stack().applied({"unet": model}, live=True):
        with pytest.raises(SakugaError, match="cannot be copied or pickled") as caught:
            copied(model)
        assert caught.value.given == "unet.0"
        within = copy.deepcopy(model.state_dict())
    after = copy.deepcopy(model).state_dict()
    assert all(torch.equal(after[key], tensor) and torch.equal(within[key], tensor) for key, tensor in before.items())


def test_threads_at_one_model_are_told() -> None:
    model = _model()
    before = model[0].weight.detach().clone()
    told: list[str] = []
    start = threading.Barrier(4)

    def go() -> None:
        for _ in range(25):
            start.wait()
            try:
                with _stack().applied({"unet": model}):
                    told.append("applied")
            except Exception as problem:
                told.append(f"{type(problem).__name__}: {problem}".splitlines()[0])

    threads = [threading.Thread(target=go) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(told) == 100 and "applied" in told
    assert set(told) <= {"applied", "SakugaError: these parts already carry an applied stack"}
    assert torch.equal(model[0].weight, before)
