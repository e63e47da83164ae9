"""The cache: the same bits as computed anew, the least used goes first, and nothing of a model that has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import sakuga.lora.making
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.cache import Cache, factor_bytes
from sakuga.lora.stack import Stack, StackWeight
from sakuga.lora.targets import names_of

SIZE = 4 * 6 * 8  # bytes of a weight


def _adapter(name: str) -> Adapter:
    torch.manual_seed(len(name))
    patches = tuple(
        Patch(
            component="unet", module=module, record=Lora(up=torch.randn(6, 2), down=torch.randn(2, 8)), keys=(module,)
        )
        for module in "ab"
    )
    common = {"name": name, "path": Path(f"{name}.safetensors"), "sha256": name, "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=patches, leftovers=(), total_keys=2)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every tensor that was computed, in order."""
    found: list[Tensor] = []
    make = sakuga.lora.making.fused
    monkeypatch.setattr(
        sakuga.lora.making,
        "fused",
        lambda pristine, parts, out, scratch: (found.append(out), make(pristine, parts, out, scratch))[1],
    )
    return found


def _unet() -> nn.ModuleDict:
    torch.manual_seed(1)
    return nn.ModuleDict({name: nn.Linear(8, 6) for name in "ab"})


def _weights(unet: nn.ModuleDict) -> list[Tensor]:
    return [unet[name].weight.detach().clone() for name in "ab"]


def test_a_switch_between_two_stacks_computes_nothing_anew(made: list[Tensor]) -> None:
    unet, cache = _unet(), Cache(host_bytes=4 * SIZE)
    stacks = [Stack([(_adapter("ink"), 0.5)]), Stack([(_adapter("flat!"), 1.0), (_adapter("ink"), -1.0)])]
    seen = []
    for stack in (*stacks, *stacks):
        with stack.applied(unet, cache=cache):
            seen.append(_weights(unet))
    assert len(made) == 4  # two weights of two stacks
    assert all(torch.equal(one, other) for one, other in zip(seen[0] + seen[1], seen[2] + seen[3], strict=True))
    assert (cache.counts.hits, cache.counts.misses, cache.counts.host_bytes) == (4, 4, 4 * SIZE)


def test_a_switch_inside_a_block_computes_nothing_anew(made: list[Tensor]) -> None:
    unet, cache = _unet(), Cache(host_bytes=4 * SIZE)
    with Stack([(_adapter("ink"), 0.5)]).applied(unet, cache=cache) as applied:
        first = _weights(unet)
        applied.set([StackWeight(unet=2.0)])
        applied.set([StackWeight(unet=0.0)])
        applied.set([StackWeight(unet=0.5)])
        assert all(torch.equal(one, other) for one, other in zip(first, _weights(unet), strict=True))
    assert len(made) == 4


def test_the_least_recently_used_goes_first_and_its_memory_is_not_written(made: list[Tensor]) -> None:
    unet, cache = _unet(), Cache(host_bytes=3 * SIZE)
    with Stack([(_adapter("ink"), 0.5)]).applied(unet, cache=cache) as applied:
        for weight in (1.0, 1.5, 2.0, 2.5):
            applied.set([StackWeight(unet=weight)])
            assert cache.counts.host_bytes <= 3 * SIZE
        now = _weights(unet)
        count = len(made)
        applied.set([StackWeight(unet=2.5)])
        assert len(made) == count
        applied.set([StackWeight(unet=0.5)])
        assert len(made) == count + 2  # both went
    fresh = _unet()
    with Stack([(_adapter("ink"), 2.5)]).applied(fresh):
        assert all(torch.equal(one, other) for one, other in zip(now, _weights(fresh), strict=True))


def test_without_room_the_same_memory_serves_every_weight(made: list[Tensor]) -> None:
    unet = _unet()
    for cache in (None, Cache(host_bytes=SIZE - 1)):
        made.clear()
        with Stack([(_adapter("ink"), 0.5)]).applied(unet, cache=cache) as applied:
            applied.set([StackWeight(unet=1.0)])
            applied.set([StackWeight(unet=2.0)])
        assert len({tensor.data_ptr() for tensor in made}) == 2


@pytest.mark.parametrize("how", ["written", "pointed elsewhere", "another model"])
def test_nothing_of_a_weight_that_has_changed_is_used(made: list[Tensor], how: str) -> None:
    unet, cache = _unet(), Cache(host_bytes=100 * SIZE)
    stack = Stack([(_adapter("ink"), 0.5)])
    with stack.applied(unet, cache=cache):
        pass
    with torch.no_grad():
        if how == "written":
            unet["a"].weight.add_(1)
        elif how == "pointed elsewhere":
            unet["a"].weight.data = unet["a"].weight + 1
        else:
            unet = _unet()
            unet["a"].weight.add_(1)
    pristine = unet["a"].weight.detach().clone()
    made.clear()
    with stack.applied(unet, cache=cache):
        change = 0.5 * _adapter("ink").patches[0].record.delta(pristine)
        torch.testing.assert_close(unet["a"].weight.detach(), pristine + change)
    assert len(made) == (2 if how == "another model" else 1)


def test_what_somebody_wrote_into_while_it_was_applied_is_forgotten() -> None:
    unet, cache = _unet(), Cache(host_bytes=100 * SIZE)
    stack = Stack([(_adapter("ink"), 0.5)])
    with stack.applied(unet, cache=cache), torch.no_grad():
        wanted = _weights(unet)
        unet["a"].weight.zero_()
    with stack.applied(unet, cache=cache):
        assert all(torch.equal(one, other) for one, other in zip(wanted, _weights(unet), strict=True))


def test_a_file_is_read_once_as_long_as_it_is_the_same(tmp_path: Path) -> None:
    path, unet = tmp_path / "ink.safetensors", _unet()
    save_file({"lora_unet_a.lora_up.weight": torch.ones(6, 2), "lora_unet_a.lora_down.weight": torch.ones(2, 8)}, path)
    cache, names = Cache(host_bytes=10_000), names_of({"unet": unet})
    first = cache.adapter(path, names, "ink")
    assert cache.counts.host_bytes == factor_bytes(first) == 4 * (12 + 16)
    assert cache.adapter(path, names, "ink") is first
    other = cache.adapter(path, names, "other")
    assert (other.name, other.patches) == ("other", first.patches)
    assert cache.adapter(path, names_of({"unet": unet}), "ink") is not first  # perhaps another model
    os.utime(path, (1, 1))
    assert cache.adapter(path, names, "ink") is not first
    cache.clear()
    assert cache.counts.host_bytes == 0
