"""Live layers of algorithms that look at the base: the change is computed once, kept, counted, and still trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms.dora import Dora
from sakuga.lora.algorithms.ia3 import Ia3
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.algorithms.record import Algorithm
from sakuga.lora.stack import Stack, StackWeight


def _adapter(record: Algorithm) -> Adapter:
    patch = Patch(component="unet", module="q", record=record, keys=("q",))
    common = {"name": "a", "path": Path("a.safetensors"), "sha256": "a", "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=(patch,), leftovers=(), total_keys=1)


def _dora() -> Dora:
    inner = Lora(up=torch.randn(6, 2), down=torch.randn(2, 8))
    return Dora(inner=inner, lengths=torch.rand(6) + 0.5, spelling="magnitude")


def _part() -> nn.ModuleDict:
    torch.manual_seed(4)
    return nn.ModuleDict({"q": nn.Linear(8, 6)})


def test_a_dora_is_computed_once_for_all_calls_and_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    part, record, x = _part(), _dora(), torch.randn(3, 8)
    delta, asked = Dora.delta, []

    def counted(self: Dora, base: Tensor) -> Tensor:
        asked.append(base.shape)
        return delta(self, base)

    change = record.delta(part["q"].weight)
    monkeypatch.setattr(Dora, "delta", counted)
    stack = Stack([(_adapter(record), 1.0)])
    with torch.no_grad(), stack.applied({"unet": part}, live=True) as applied:
        assert applied.summary.factor_bytes == 0
        for strength in (1.0, 0.5, -2.0, 0.5):
            applied.set([StackWeight(unet=strength)])
            expected = part["q"].weight @ x.T + strength * change @ x.T + part["q"].bias[:, None]
            torch.testing.assert_close(part["q"](x), expected.T)
        kept = applied.summary.factor_bytes
    assert len(asked) == 1
    assert kept == 4 * 6 * 8 == stack.needs({"unet": part}, live=True).factors["cpu"]


def test_what_was_computed_in_inference_mode_serves_training() -> None:
    part, x = _part(), torch.randn(3, 8)
    with Stack([(_adapter(_dora()), 1.0)]).applied({"unet": part}, live=True):
        with torch.inference_mode():
            part["q"](x)
        part["q"](x.requires_grad_()).sum().backward()
    assert x.grad is not None


def test_a_dora_that_is_trained_is_computed_in_every_call() -> None:
    part, record, x = _part(), _dora(), torch.randn(3, 8)
    record.lengths.requires_grad_()
    with Stack([(_adapter(record), 1.0)]).applied({"unet": part}, live=True):
        for _ in range(2):
            part["q"](x).sum().backward()
    assert record.lengths.grad is not None and bool(record.lengths.grad.any())


def test_channels_that_are_multiplied_take_no_memory() -> None:
    part = _part()
    record = Ia3(gain=torch.rand(6), centre=1.0, side="rows")
    with torch.no_grad(), Stack([(_adapter(record), 1.0)]).applied({"unet": part}, live=True) as applied:
        part["q"](torch.randn(3, 8))
        assert applied.summary.factor_bytes == 0
