"""What a stack leaves alone: Parameter objects, pristine memory, rows and parameters that no adapter names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import sakuga
from sakuga.errors import AdapterDoesNotFit, SakugaError
from sakuga.lora import making, plan
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import Algorithm
from sakuga.lora.algorithms.bias import Bias
from sakuga.lora.algorithms.dora import Dora
from sakuga.lora.algorithms.full import Full
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.stack import Stack, StackWeight
from sakuga.lora.targets import parts_of, trees_of


def _patch(module: str, record: Algorithm, **more: object) -> Patch:
    return Patch(component="unet", module=module, record=record, keys=(module,), **more)


def _adapter(name: str, *patches: Patch) -> Adapter:
    common = {"name": name, "path": Path(f"{name}.safetensors"), "sha256": name, "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=patches, leftovers=(), total_keys=len(patches))


def _lora(out: int = 6, features: int = 8) -> Lora:
    return Lora(up=torch.randn(out, 2), down=torch.randn(2, features))


def _full(*shape: int) -> Full:
    return Full(diff=torch.randn(shape))


def _state(part: nn.Module) -> Mapping[str, object]:
    """All that must be the same afterwards."""
    return {
        name: (
            id(own),
            own.untyped_storage()._cdata,
            own.data_ptr(),
            own.dtype,
            own.stride(),
            own.requires_grad,
            own.detach().contiguous().view(torch.uint8).numpy().tobytes(),
        )
        for name, own in part.named_parameters(remove_duplicate=False)
    }


def test_parameters_are_the_same_objects_on_the_same_memory_afterwards() -> None:
    unet = nn.ModuleDict({"a": nn.Linear(8, 6), "b": nn.Linear(8, 6)})
    unet["b"].weight.requires_grad_(False)
    before = _state(unet)
    objects = dict(unet.named_parameters())
    with Stack([(_adapter("ink", _patch("a", _lora()), _patch("b", _lora())), 1.0)]).applied(unet):
        for name, own in unet.named_parameters():
            assert own is objects[name]
            assert own.requires_grad == (name != "b.weight")
            assert own.untyped_storage().nbytes() == own.nbytes  # what saves it saves it alone
    assert _state(unet) == before


def test_a_backward_pass_through_other_weights_says_so() -> None:
    unet, x = nn.ModuleDict({"a": nn.Linear(8, 6)}), torch.randn(1, 8, requires_grad=True)
    with Stack([(_adapter("ink", _patch("a", _lora())), 1.0)]).applied(unet):
        loss = unet["a"](x).sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_layer_without_a_bias_grows_one_for_the_length_of_the_block() -> None:
    unet, x = nn.ModuleDict({"a": nn.Linear(8, 6, bias=False)}), torch.randn(2, 8)
    before, plain = _state(unet), unet["a"](x)
    values = torch.randn(6)
    assert trees_of({"unet": unet})["unet"]["a"]["bias"] == (6,)
    adapter = _adapter("ink", _patch("a", Bias(values=values), parameter="bias"))
    with Stack([(adapter, 0.5)]).applied(unet) as applied:
        torch.testing.assert_close(unet["a"](x), plain + 0.5 * values)
        assert not unet["a"].bias.requires_grad
        applied.set([StackWeight(unet=0.0)])
        assert unet["a"].bias is None
        applied.set([StackWeight(unet=-1.0)])
        torch.testing.assert_close(unet["a"](x), plain - values)
    assert unet["a"].bias is None
    assert "bias" in unet["a"]._parameters
    assert _state(unet) == before


def test_a_norm_has_its_weight_and_its_bias_changed() -> None:
    unet, x = nn.ModuleDict({"norm": nn.GroupNorm(2, 8)}), torch.randn(2, 8, 3)
    weight, bias = torch.randn(8), torch.randn(8)
    adapter = _adapter("ink", _patch("norm", Full(diff=weight)), _patch("norm", Bias(values=bias), parameter="bias"))
    wanted = nn.GroupNorm(2, 8)
    with torch.no_grad():
        wanted.weight += weight
        wanted.bias += bias
    for live in (False, True):
        with Stack([(adapter, 1.0)]).applied(unet, live=live) as applied:
            torch.testing.assert_close(unet["norm"](x), wanted(x), rtol=1e-5, atol=1e-5)
            assert (applied.summary.tensors, applied.summary.live) == ((0, 1) if live else (2, 0))


def test_several_changes_of_one_adapter_on_one_weight_add_up() -> None:
    unet = nn.ModuleDict({"a": nn.Linear(8, 6)})
    lora, full = _lora(), _full(6, 8)
    wanted = unet["a"].weight.detach() + 0.5 * (lora.delta(unet["a"].weight) + full.diff)
    with Stack([(_adapter("ink", _patch("a", lora), _patch("a", full)), 0.5)]).applied(unet):
        torch.testing.assert_close(unet["a"].weight.detach(), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_rows_that_no_adapter_names_keep_every_bit(dtype: torch.dtype) -> None:
    unet = nn.ModuleDict({"qkv": nn.Linear(8, 18)}).to(dtype)
    weight = unet["qkv"].weight
    with torch.no_grad():
        weight[0, 0] = weight[17, 0] = -0.0
    before = weight.detach().clone()
    q, v, whole = _lora(), _full(6, 8), _lora(18)
    middle = _adapter("middle", _patch("qkv", q, into=(3, 9)), _patch("qkv", v, into=(9, 15)))
    change = torch.zeros(18, 8)
    change[3:9] += q.delta(torch.empty(6, 8, device="meta"))
    change[9:15] += v.diff
    with Stack([(middle, 1.0)]).applied(unet) as applied:
        torch.testing.assert_close(weight.detach(), (before.float() + change).to(dtype))
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
        for rows in (slice(0, 3), slice(15, 18)):
            assert torch.equal(weight.detach()[rows].view(bits), before[rows].view(bits))
        x = torch.randn(4, 8).to(dtype)
        fused = unet["qkv"](x)
        applied.set([StackWeight(unet=0.0)])
    with Stack([(middle, 1.0)]).applied(unet, live=True):
        torch.testing.assert_close(unet["qkv"](x), fused, rtol=2e-2, atol=2e-2)
    with Stack([(middle, 1.0), (_adapter("whole", _patch("qkv", whole)), 2.0)]).applied(unet):
        change += 2 * whole.delta(torch.empty(18, 8, device="meta"))
        torch.testing.assert_close(weight.detach(), (before.float() + change).to(dtype), rtol=2e-2, atol=2e-2)


def test_rows_of_an_adapter_that_looks_at_the_weight_see_those_rows() -> None:
    unet, x = nn.ModuleDict({"qkv": nn.Linear(8, 18)}), torch.randn(2, 8)
    weight = unet["qkv"].weight.detach().clone()
    dora = Dora(inner=_lora(), lengths=torch.rand(6, 1), spelling="dora_scale")
    adapter = _adapter("ink", _patch("qkv", dora, into=(6, 12)))
    with Stack([(adapter, 0.5)]).applied(unet):
        wanted = weight.clone()
        wanted[6:12] += 0.5 * dora.delta(weight[6:12])
        torch.testing.assert_close(unet["qkv"].weight.detach(), wanted)
        fused = unet["qkv"](x)
    with Stack([(adapter, 0.5)]).applied(unet, live=True):
        torch.testing.assert_close(unet["qkv"](x), fused, rtol=1e-5, atol=1e-5)


def test_weights_that_overlap_in_memory_are_refused() -> None:
    unet = nn.ModuleDict({"qkv": nn.Linear(8, 18), "q": nn.Linear(8, 6)})
    unet["q"].weight = nn.Parameter(unet["qkv"].weight.detach()[:6])
    before = _state(unet)
    for adapter in (_adapter("ink", _patch("q", _lora())), _adapter("ink", _patch("qkv", _lora(18)))):
        with pytest.raises(AdapterDoesNotFit, match="same memory in different ways") as caught:
            Stack([(adapter, 1.0)]).needs(unet)
        assert caught.value.given == "unet.q.weight and unet.qkv.weight"
    assert _state(unet) == before


def test_what_is_too_large_for_the_memory_is_refused_with_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = nn.ModuleDict({"a": nn.Linear(1024, 1024)})
    adapter = _adapter("ink", _patch("a", _lora(1024, 1024)))
    stack = Stack([(adapter, 1.0)])
    assert stack.needs(unet).fresh == {"cpu": 4 * 2**20}
    assert stack.needs(unet, live=True).factors == {"cpu": 4 * 2 * 2048}
    monkeypatch.setattr(plan, "free_bytes", lambda device: 3 * 2**20)
    with pytest.raises(SakugaError, match="not enough memory") as caught, stack.applied(unet):
        pytest.fail("it was applied")
    assert caught.value.given == "4 MiB of changed weights and 0 MiB of factors on cpu"
    assert caught.value.expected == "at most 3 MiB, which is what is free there"
    with stack.applied(unet, live=True), Stack([(adapter, 0.0)]).applied(nn.ModuleDict({"a": nn.Linear(1024, 1024)})):
        pass


def test_a_large_weight_is_the_same_sum_in_every_chunk() -> None:
    unet = nn.ModuleDict({"a": nn.Linear(1500, 1700)})
    lora = _lora(1700, 1500)
    wanted = unet["a"].weight.detach().double() + 0.5 * lora.up.double() @ lora.down.double()
    with Stack([(_adapter("ink", _patch("a", lora)), 0.5)]).applied(unet):
        torch.testing.assert_close(unet["a"].weight.detach().double(), wanted, rtol=1e-6, atol=1e-6)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    unet = nn.ModuleDict({name: nn.Linear(1024, 1536) for name in "abc"})
    stack = Stack([(_adapter(name, *(_patch(own, _lora(1536, 1024)) for own in "abc")), 0.5) for name in "xyz"])
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            with stack.applied(unet):
                found.append([unet[name].weight.detach().clone() for name in "abc"])
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for one, two, four in zip(*found, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, four)


def test_an_interrupt_in_a_thread_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = nn.ModuleDict({name: nn.Linear(1024, 1024) for name in "abcd"})
    before, threads, make = _state(unet), torch.get_num_threads(), making.fused

    def interrupted(pristine: Tensor, *words: object) -> bool:
        if pristine.data_ptr() == unet["c"].weight.data_ptr():
            raise KeyboardInterrupt
        return make(pristine, *words)

    monkeypatch.setattr(making, "fused", interrupted)
    stack = Stack([(_adapter("ink", *(_patch(name, _lora(1024, 1024)) for name in "abcd")), 1.0)])
    try:
        torch.set_num_threads(3)
        with pytest.raises(KeyboardInterrupt), stack.applied(unet):
            pytest.fail("it was applied")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert _state(unet) == before


@pytest.mark.parametrize("switch", ["high", "medium"])
def test_switches_for_faster_products_do_not_reach_the_sum(switch: str) -> None:
    unet = nn.ModuleDict({"a": nn.Linear(256, 256)})
    stack = Stack([(_adapter("ink", _patch("a", _lora(256, 256))), 0.5)])
    with stack.applied(unet):
        exact = unet["a"].weight.detach().clone()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(switch)
        with stack.applied(unet):
            assert torch.equal(unet["a"].weight, exact)
        assert torch.get_float32_matmul_precision() == switch
    finally:
        torch.set_float32_matmul_precision(before)


class _Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_in, self.time_embedding = nn.Conv2d(4, 6, 3), nn.Linear(4, 4)
        self.down_blocks, self.up_blocks = nn.ModuleList([nn.Linear(8, 6)]), nn.ModuleList()


def test_trees_have_the_shapes_of_meta_parts() -> None:
    trees = trees_of({"unet": _Unet().to("meta")})
    assert trees["unet"]["conv_in"] == {"weight": (6, 4, 3, 3), "bias": (6,)}
    assert list(trees["unet"]) == ["", "conv_in", "time_embedding", "down_blocks", "down_blocks.0", "up_blocks"]


def test_a_lone_module_is_told_by_its_children() -> None:
    assert list(parts_of(_Unet())) == ["unet"]
    assert list(parts_of(nn.ModuleDict({"text_model": nn.Linear(1, 1)}))) == ["text_encoder"]
    assert list(parts_of(nn.ModuleDict({"transformer_blocks": nn.Linear(1, 1)}))) == ["transformer"]
    assert list(parts_of(nn.Linear(1, 1))) == ["unet"]
    assert list(parts_of({"unet": nn.Linear(1, 1), "scheduler": object(), "vae": None})) == ["unet"]
    with pytest.raises(SakugaError, match="no module to apply adapters to"):
        parts_of({"scheduler": object()})


def test_load_lora_and_stack_are_all_that_a_program_needs(tmp_path: Path) -> None:
    unet, path = _Unet(), tmp_path / "ink.v1.safetensors"
    up, down = torch.randn(6, 2, 1, 1), torch.randn(2, 4, 3, 3)
    save_file({"lora_unet_conv_in.lora_up.weight": up, "lora_unet_conv_in.lora_down.weight": down}, path)
    adapter = sakuga.load_lora(path, unet)
    assert adapter.name == "ink.v1"
    assert sakuga.load_lora(str(path), {"unet": unet}, name="ink").name == "ink"
    before, weight = _state(unet), unet.conv_in.weight.detach().clone()
    with sakuga.Stack([(adapter, 0.5)]).applied(unet) as applied:
        change = torch.einsum("or,rihw->oihw", up[..., 0, 0], down)
        torch.testing.assert_close(unet.conv_in.weight.detach(), weight + 0.5 * change)
        applied.set({"ink.v1": StackWeight(unet=-1.0)})
        torch.testing.assert_close(unet.conv_in.weight.detach(), weight - change)
    assert _state(unet) == before
