"""Placement: words of a Job to a device and a number format that this machine has."""

from __future__ import annotations

import pytest
import torch

from sakuga.errors import DeviceError
from sakuga.models.device import available, resolve


def test_words() -> None:
    assert resolve("cpu").dtype == resolve("cpu", "fp32").dtype == torch.float32
    assert resolve("cpu", "bf16").dtype == torch.bfloat16 and resolve("cpu", "bf16").full == torch.float32
    assert str(resolve("auto").device) == available()[0]


def test_half_on_a_cpu_is_computed_in_float32_and_said() -> None:
    where = resolve("cpu", "fp16")
    assert where.dtype == torch.float32 and where.note is not None and "fp16" in where.note


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError) as caught:
        resolve("cuda")
    assert caught.value.given == "cuda" and "cpu" in str(caught.value.expected)
    with pytest.raises(DeviceError) as caught:
        resolve("cpuu")
    assert caught.value.nearest == "cpu"


def test_cuda_is_taken_first_and_computes_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    where = resolve()
    assert (str(where.device), where.dtype) == ("cuda:0", torch.float16)
    assert str(resolve("cuda").device) == "cuda:0" and str(resolve("cuda:1").device) == "cuda:1"
    with pytest.raises(DeviceError):
        resolve("cuda:2")


def test_unknown_format() -> None:
    with pytest.raises(DeviceError) as caught:
        resolve("cpu", "fp61")
    assert caught.value.nearest == "fp16"
