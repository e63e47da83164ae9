"""The rows of the conformance matrix about stacks: on and off again, order, strengths, one file twice, a quantised base
and a compiled model; on small models with the modules of four families.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tests.corpus.tiny import grow
from tests.unit.lora_spellings import file_of, keys_of, names_of, pair_of
from torch import Tensor, nn

from sakuga.lora.adapter import Adapter
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack
from sakuga.lora.targets import names_of as names_of_parts
from sakuga.tensors.seat import Tree

# family → modules of its image model that are changed
CHANGED: Mapping[str, tuple[str, ...]] = {
    "sd15": ("conv_in", "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", "mid_block.resnets.0.conv1"),
    "sdxl": ("down_blocks.0.resnets.0.conv1", "mid_block.attentions.0.proj_in", "add_embedding.linear_1"),
    "flux": ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.0.proj_mlp"),
    "wan": ("blocks.0.attn1.to_q", "blocks.0.ffn.net.0.proj"),
}
each = pytest.mark.parametrize("family", CHANGED)


@cache
def _tree(family: str) -> tuple[str, Tree]:
    component, tree = next(iter(names_of(family).trees.items()))
    return component, {module: tree[module] for module in CHANGED[family]}


def _parts(family: str, dtype: torch.dtype = torch.float16) -> dict[str, nn.Module]:
    torch.manual_seed(2)
    component, tree = _tree(family)
    return {component: grow(tree).to(dtype)}


def _tensors(family: str, seed: int, *, dora: bool = False) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    component, tree = _tree(family)
    pairs = {}
    for module, shapes in tree.items():
        rows, features, *kernel = shapes["weight"]
        up, down = pair_of(rows, features)
        pairs[module] = (up.reshape(rows, -1, *[1] * len(kernel)), down.reshape(-1, features, *[1] * len(kernel)))
        if kernel:
            pairs[module] = (pairs[module][0], torch.randn(down.shape[0], features, *kernel))
    tensors = keys_of(pairs, "peft", f"{component}.")
    if dora:
        lengths = {module: torch.rand(shapes["weight"][0]) + 0.5 for module, shapes in tree.items()}
        tensors |= {f"{component}.{module}.magnitude": values for module, values in lengths.items()}
    return tensors


def _adapter(folder: Path, family: str, seed: int, *, dora: bool = False) -> Adapter:
    folder.mkdir(exist_ok=True)
    file = file_of(folder, _tensors(family, seed, dora=dora))
    return read_adapter(file, names_of_parts(_parts(family)), f"{family}{seed}")


def _bits(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    found = {}
    for part in parts.values():
        for name, tensor in part.state_dict().items():
            found[name] = tensor.clone().view(torch.int16 if tensor.element_size() == 2 else torch.int32)
    return found


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_row_41_fifty_times_on_and_off_leaves_every_bit(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    parts, adapter = _parts(family, dtype), _adapter(tmp_path, family, 1)
    before, inside = _bits(parts), []
    for _ in range(50):
        with Stack([(adapter, 0.7)]).applied(parts):
            inside.append(_bits(parts))
    assert _same(_bits(parts), before)
    assert not _same(inside[0], before)
    assert all(_same(one, inside[0]) for one in inside)


@each
def test_row_42_a_then_b_is_b_then_a(tmp_path: Path, family: str) -> None:
    parts = _parts(family)
    entries = [
        (_adapter(tmp_path / "a", family, 1), 0.8),
        (_adapter(tmp_path / "b", family, 2, dora=True), 0.5),
        (_adapter(tmp_path / "c", family, 3), -0.3),
    ]
    found = []
    for order in (entries, entries[::-1], [entries[1], entries[2], entries[0]]):
        with Stack(order).applied(parts):
            found.append(_bits(parts))
    assert _same(found[0], found[1])
    assert _same(found[0], found[2])


@each
@pytest.mark.parametrize("dora", [False, True])
def test_row_43_strengths_are_factors_and_0_is_nothing(tmp_path: Path, family: str, dora: bool) -> None:
    parts = _parts(family, torch.float32)
    adapter = _adapter(tmp_path, family, 1, dora=dora)
    component = next(iter(parts))
    before = {name: tensor.clone() for name, tensor in parts[component].state_dict().items()}
    whole = {}
    for strength in (1.0, 0.0, -1.0, 1e-3):
        with Stack([(adapter, strength)]).applied(parts):
            now = parts[component].state_dict()
            change = {name: (now[name].double() - before[name].double()) for name in before}
        whole = whole or change
        for name, value in change.items():
            if strength == 0:
                assert not value.any()
            tolerance = 1e-6 * float(before[name].abs().max() + whole[name].abs().max())
            torch.testing.assert_close(value, strength * whole[name], rtol=0, atol=tolerance)


@each
def test_row_44_one_file_read_twice_is_the_same_and_its_tensors_stay(tmp_path: Path, family: str) -> None:
    parts, tensors = _parts(family), _tensors(family, 1)
    given = {name: tensor.clone() for name, tensor in tensors.items()}
    found = []
    for _ in range(2):
        adapter = read_adapter(file_of(tmp_path, tensors), names_of_parts(parts), "a")
        own = [pair for patch in adapter.patches if (pair := patch.record.factors())]
        factors = [(pair.up.clone(), pair.down.clone()) for pair in own]
        with Stack([(adapter, 0.6)]).applied(parts):
            found.append(_bits(parts))
        again = [pair for patch in adapter.patches if (pair := patch.record.factors())]
        assert all(
            torch.equal(pair.up, up) and torch.equal(pair.down, down)
            for pair, (up, down) in zip(again, factors, strict=True)
        )
    assert _same(found[0], found[1])
    assert all(torch.equal(tensor, given[name]) for name, tensor in load_file(tmp_path / "adapter.safetensors").items())
    assert all(torch.equal(tensor, given[name]) for name, tensor in tensors.items())


class _Float8(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias)


def _float8(layer: nn.Linear) -> tuple[nn.Module, Tensor]:
    made = _Float8(layer.in_features, layer.out_features)
    made.load_state_dict(layer.state_dict())
    made.weight = nn.Parameter(layer.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
    return made, made.weight.detach().float()


def _int8(layer: nn.Linear) -> tuple[nn.Module, Tensor]:
    made = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), dtype=torch.qint8)[0]
    return made, made.weight().dequantize()


@pytest.mark.filterwarnings("ignore")  # torch deprecates its own quantised layers
@pytest.mark.parametrize("made", [_float8, _int8])
@pytest.mark.parametrize("family", ["flux", "wan"])
@pytest.mark.parametrize("dora", [False, True])
def test_row_46_a_quantised_base_keeps_its_weights_and_gains_the_same(
    tmp_path: Path, family: str, made: Callable[[nn.Linear], tuple[nn.Module, Tensor]], dora: bool
) -> None:
    parts = _parts(family, torch.float32)
    (component, part), name = next(iter(parts.items())), CHANGED[family][0]
    parent, _, last = name.rpartition(".")
    plain = part.get_submodule(name)
    assert isinstance(plain, nn.Linear)
    layer, numbers = made(plain)
    setattr(part.get_submodule(parent), last, layer)
    adapter = _adapter(tmp_path, family, 1, dora=dora)
    record = next(patch.record for patch in adapter.patches if patch.module == name)
    x = torch.randn(3, plain.in_features)
    with torch.no_grad():
        before = layer(x)
        with Stack([(adapter, 0.8)]).applied({component: part}):
            gain = layer(x) - before
        assert torch.equal(layer(x), before)
    torch.testing.assert_close(gain, 0.8 * F.linear(x, record.delta(numbers)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a compiler")
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
@pytest.mark.parametrize("live", [False, True])
def test_row_47_a_compiled_model_follows_ten_swaps_and_is_compiled_once(tmp_path: Path, live: bool) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    net = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8))
    tensors = {seed: keys_of({"unet.0": pair_of(16, 8), "unet.2": pair_of(8, 16)}, "peft") for seed in range(10)}
    names = names_of_parts({"unet": net})
    adapters = [read_adapter(file_of(tmp_path, own), names, f"a{seed}") for seed, own in tensors.items()]
    compiled = torch.compile(net)
    x = torch.randn(4, 8)
    with torch.no_grad():
        plain = compiled(x)
        torch.testing.assert_close(plain, net(x))
        counts = []
        for adapter in adapters:
            with Stack([(adapter, 0.5)]).applied({"unet": compiled}, live=live):
                torch.testing.assert_close(compiled(x), net(x))
                assert not torch.allclose(compiled(x), plain)
            counts.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        assert torch.equal(compiled(x), plain)
    assert counts == counts[:1] * 10  # other numbers are no other program
    assert live or counts[0] == 1  # layers that have something beside them are compiled once more, in pieces
