"""A stack on parts that are on a GPU: the same formula as on the CPU, and the very bytes back in the same memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.stack import Stack, StackWeight

pytestmark = pytest.mark.gpu


def _adapter(name: str) -> Adapter:
    lora = Lora(up=torch.randn(6, 2), down=torch.randn(2, 8), alpha=1.0)
    patch = Patch(component="unet", module="q", record=lora, keys=("q",))
    common = {"name": name, "path": Path(f"{name}.safetensors"), "sha256": name, "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=(patch,), leftovers=(), total_keys=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_parts_on_a_gpu_are_changed_there_and_come_back(dtype: torch.dtype) -> None:
    unet = nn.ModuleDict({"q": nn.Linear(8, 6)}).to("cuda", dtype)
    weight = unet["q"].weight
    pristine, memory = weight.detach().clone(), weight.data_ptr()
    entries = [(_adapter("ink"), StackWeight(unet=0.7)), (_adapter("flat"), StackWeight(unet=-0.4))]
    wanted = pristine.cpu().double()
    for adapter, strength in entries:
        wanted = wanted + strength.unet * adapter.patches[0].record.delta(torch.empty(6, 8, device="meta")).double()
    with Stack(tuple(entries)).applied({"unet": unet}) as applied:
        assert weight.data_ptr() != memory  # the pristine memory is not written
        assert weight.device.type == "cuda"
        torch.testing.assert_close(weight.detach().cpu().double(), wanted.to(dtype).double(), rtol=1e-2, atol=1e-2)
        first = weight.detach().clone()
        applied.set([StackWeight(unet=0.0), StackWeight(unet=0.0)])
        assert torch.equal(weight, pristine)
    with Stack(tuple(reversed(entries))).applied({"unet": unet}):
        assert torch.equal(weight, first)
    assert torch.equal(weight, pristine)
    assert weight.data_ptr() == memory
