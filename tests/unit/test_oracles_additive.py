"""LoRA in all its shapes, differences and residuals held against LyCORIS, PEFT and float64.

The number in a test's name is its row of the matrix.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.contract.algorithm_samples.formulas import (
    of_first,
    of_loha,
    of_lokr,
    of_lora,
    of_sparse,
    of_tucker,
)
from tests.unit.agreement import (
    agree,
    conv,
    exact_of,
    filled,
    linear,
    merged,
    peft_layer,
    records_of,
    relative,
    state_of,
)
from torch import nn

from sakuga.lora.algorithms import Facts
from sakuga.lora.algorithms.columns import fitted
from sakuga.lora.read import read_adapter
from sakuga.lora.targets import names_of
from sakuga.tensors.file import TensorFile

os.environ.setdefault("LYCORIS_KERNEL_BACKEND", "torch")
peft = pytest.importorskip("peft")

lycoris = pytest.importorskip("lycoris")
locon = pytest.importorskip("lycoris.functional.locon")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_row_01_lora_with_its_own_rank_and_alpha_on_every_module(tmp_path: Path) -> None:
    model = nn.ModuleDict({name: linear() for name in ("to_q", "to_k", "to_v", "to_out")})
    alphas = {
        "to_q": torch.tensor(1.0, dtype=torch.float16),
        "to_k": torch.tensor(6.0, dtype=torch.bfloat16),
        "to_v": torch.tensor([3.0]),
    }
    state = {}
    for rank, name in enumerate(model, start=2):
        state[f"lora_unet_{name}.lora_down.weight"] = torch.randn(rank, 24).half() * 0.3
        state[f"lora_unet_{name}.lora_up.weight"] = torch.randn(16, rank).half() * 0.3
        if name in alphas:
            state[f"lora_unet_{name}.alpha"] = alphas[name]
    save_file(state, tmp_path / "a.safetensors")
    adapter = read_adapter(TensorFile.open(tmp_path / "a.safetensors"), names_of({"unet": model}), "a")
    assert {patch.module for patch in adapter.patches} == set(model)
    for patch in adapter.patches:
        own = {key.split(".", 1)[1]: tensor for key, tensor in state.items() if f"_{patch.module}." in key}
        down, up = own["lora_down.weight"], own["lora_up.weight"]
        scale = float(own["alpha"]) / down.shape[0] if "alpha" in own else 1.0
        oracle = locon.diff_weight(down.float(), up.float(), None, gamma=scale)
        weight = model[patch.module].weight
        agree([patch.record], weight, oracle, exact=exact_of(of_lora, own, weight))


@pytest.mark.parametrize("alpha", [1.0, 4.0, 7.0])
def test_row_01_lora_is_what_peft_adds(alpha: float) -> None:
    model = nn.ModuleDict({"a": linear(), "b": nn.Conv2d(8, 12, 1)})
    weights = {name: layer.weight for name, layer in model.items()}
    trained = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=alpha, target_modules=["a", "b"]))
    for name, weight in weights.items():
        layer = trained.base_model.model[name]
        factors = [filled(getattr(layer, leaf)["default"]).weight for leaf in ("lora_A", "lora_B")]
        state = dict(zip(("lora_A.weight", "lora_B.weight"), factors, strict=True))
        facts = Facts(alpha=alpha, dialect="peft")
        exact = exact_of(of_lora, state, weight, facts)
        agree(records_of(state, facts)["weight"], weight, layer.get_delta_weight("default"), exact=exact)


LOCON: Mapping[str, nn.Module] = {
    "shortcut": nn.Conv2d(8, 12, 1),
    "resnet": nn.Conv2d(8, 12, 3, padding=1),
    "downsampler": nn.Conv2d(8, 8, 3, stride=2, padding=1),
    "time embedding": nn.Linear(24, 16),
    "conv_in": nn.Conv2d(4, 12, 3, padding=1),
    "conv_out": nn.Conv2d(32, 4, 3, padding=1),
}


@pytest.mark.parametrize("name", LOCON)
def test_row_03_locon(name: str) -> None:
    layer = LOCON[name]
    module = filled(lycoris.modules.locon.LoConModule("x", layer, lora_dim=20, alpha=6))
    state = state_of(module)
    down, up = (state[f"lora_{leaf}.weight"].detach() for leaf in ("down", "up"))
    functional = locon.diff_weight(down, up, None, gamma=6 / 20)
    merged = module.get_diff_weight(1.0, shape=layer.weight.shape)[0]
    exact = exact_of(of_lora, state, layer.weight)
    agree(records_of(state)["weight"], layer.weight, functional, merged, exact=exact)


def test_row_03_conv_in_of_an_inpainting_model_takes_a_lora_of_the_plain_one() -> None:
    plain, wide = nn.Conv2d(4, 12, 3, padding=1), nn.Conv2d(9, 12, 3, padding=1)
    state = state_of(filled(lycoris.modules.locon.LoConModule("x", plain, lora_dim=4, alpha=2)))
    down, up = (state[f"lora_{leaf}.weight"].detach() for leaf in ("down", "up"))
    padded = torch.zeros(12, 9, 3, 3)
    padded[:, :4] = locon.diff_weight(down, up, None, gamma=0.5)
    (plain_record,) = records_of(state)["weight"]
    record = fitted(plain_record, tuple(wide.weight.shape))
    assert record.misfit(tuple(wide.weight.shape)) is None
    agree([record], wide.weight, padded, exact=exact_of(of_first(4, of_lora), state, wide.weight))
    assert fitted(plain_record, (12, 8, 3, 3)).misfit((12, 8, 3, 3))


@pytest.mark.parametrize("kernel", [(3,), (3, 3), (1, 3, 3)])
def test_row_04_locon_with_a_tucker_core(kernel: tuple[int, ...]) -> None:
    weight, ones = torch.randn(12, 8, *kernel), [1] * len(kernel)
    state = {
        "lora_up.weight": torch.randn(12, 3, *ones),
        "lora_mid.weight": torch.randn(3, 5, *kernel),
        "lora_down.weight": torch.randn(5, 8, *ones),
        "alpha": torch.tensor(2.0),
    }
    up, mid, down = (state[f"lora_{leaf}.weight"] for leaf in ("up", "mid", "down"))
    oracle = locon.diff_weight(down, up, mid, gamma=2 / 5)
    agree(records_of(state)["weight"], weight, oracle, exact=exact_of(of_tucker, state, weight))


def test_row_04_locon_with_a_tucker_core_that_lycoris_made() -> None:
    layer = conv()
    module = filled(lycoris.modules.locon.LoConModule("x", layer, lora_dim=4, alpha=3, use_tucker=True))
    state = state_of(module)
    assert "lora_mid.weight" in state
    oracle = module.get_diff_weight(1.0, shape=layer.weight.shape)[0]
    agree(records_of(state)["weight"], layer.weight, oracle, exact=exact_of(of_tucker, state, layer.weight))


@pytest.mark.parametrize("kind", ["locon", "loha", "lokr"])
def test_row_14_rank_stabilised_as_lycoris_stores_it(kind: str) -> None:
    layer = linear()
    make, formula = {
        "locon": (lycoris.modules.locon.LoConModule, of_lora),
        "loha": (lycoris.modules.loha.LohaModule, of_loha),
        "lokr": (lycoris.modules.lokr.LokrModule, of_lokr),
    }[kind]
    module = filled(make("x", layer, lora_dim=3, alpha=2, rs_lora=True, factor=2))
    state = state_of(module)
    weight = module.get_diff_weight(1.0)[0] if kind == "locon" else module.get_weight(layer.weight.shape)
    assert float(state["alpha"]) == pytest.approx(2 * math.sqrt(3))
    agree(records_of(state)["weight"], layer.weight, weight, exact=exact_of(formula, state, layer.weight))


def test_row_14_rank_stabilised_by_peft_s_config() -> None:
    layer = linear()
    trained = peft_layer(layer, peft.LoraConfig(r=3, lora_alpha=2, use_rslora=True, target_modules=["a"]))
    state = {f"{leaf}.weight": getattr(trained, leaf)["default"].weight for leaf in ("lora_A", "lora_B")}
    facts = Facts(alpha=2 * math.sqrt(3), dialect="peft")  # what the layout makes of the config
    exact = exact_of(of_lora, state, layer.weight, facts)
    agree(records_of(state, facts)["weight"], layer.weight, trained.get_delta_weight("default"), exact=exact)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("kernel", [None, 3])
def test_row_22_full(kernel: int | None, bias: bool) -> None:
    layer = nn.Conv2d(8, 12, kernel, bias=bias) if kernel else nn.Linear(24, 16, bias=bias)
    state = {"diff": torch.randn_like(layer.weight)} | ({"diff_b": torch.randn_like(layer.bias)} if bias else {})
    kind, parameters = lycoris.modules.get_module({f"x.{leaf}": tensor for leaf, tensor in state.items()}, "x")
    module = lycoris.modules.make_module(kind, parameters, "x", layer)
    weight, its_bias = module.get_diff_weight(1.0)
    found = records_of(state)
    agree(found["weight"], layer.weight, weight, exact=state["diff"].double())
    assert ("bias" in found) == bias
    if bias:
        agree(found["bias"], layer.bias, its_bias, exact=state["diff_b"].double())


@pytest.mark.parametrize("leaves", [("w_norm", "b_norm"), ("w_norm",), ("b_norm",)], ids="+".join)
def test_row_22_norm(leaves: tuple[str, ...]) -> None:
    layer = nn.GroupNorm(4, 12)
    state = {leaf: torch.randn(12) for leaf in leaves}
    found = records_of(state)
    if len(leaves) == 2:
        kind, parameters = lycoris.modules.get_module({f"x.{leaf}": tensor for leaf, tensor in state.items()}, "x")
        merged = lycoris.modules.make_module(kind, parameters, "x", layer).get_merged_weight(1.0)
        oracles = {"w_norm": merged[0] - layer.weight, "b_norm": merged[1] - layer.bias}
    for leaf, parameter in (("w_norm", "weight"), ("b_norm", "bias")):
        if leaf not in leaves:
            assert parameter not in found
            continue
        exact, base = state[leaf].double(), getattr(layer, parameter)
        agree(found[parameter], base, oracles[leaf] if len(leaves) == 2 else exact, exact=exact)


def test_row_22_a_lora_with_a_difference_of_the_bias() -> None:
    layer = linear()
    state = {"lora_A.weight": torch.randn(2, 24), "lora_B.weight": torch.randn(16, 2), "diff_b": torch.randn(16)}
    found = records_of(state)
    agree(found["weight"], layer.weight, exact=exact_of(of_lora, state, layer.weight))
    agree(found["bias"], layer.bias, exact=state["diff_b"].double())


def test_row_22_the_bias_that_peft_trains_on_the_up_factor() -> None:
    layer = linear()
    trained = peft_layer(layer, peft.LoraConfig(r=3, lora_alpha=2, lora_bias=True, target_modules=["a"]))
    up = trained.lora_B["default"]
    state = {"lora_A.weight": trained.lora_A["default"].weight, "lora_B.weight": up.weight, "lora_B.bias": up.bias}
    before = layer.bias.detach().clone()
    found = records_of(state, Facts(alpha=2.0, dialect="peft"))
    exact = exact_of(of_lora, state, layer.weight, Facts(alpha=2.0))
    agree(found["weight"], layer.weight, trained.get_delta_weight("default"), exact=exact)
    trained.merge()
    expected = before + found["bias"][0].delta(before)
    torch.testing.assert_close(trained.base_layer.bias.detach(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("make", [linear, conv])
def test_row_24_sparse_residual_beside_a_lora(make: type[nn.Module]) -> None:
    layer = make()
    difference = torch.randn(layer.weight.shape).flatten(1)
    sparse = lycoris.utils.make_sparse(difference, 0.9).to_sparse().coalesce()
    ones = [1] * (layer.weight.ndim - 2)
    state = {
        "lora_down.weight": torch.randn(2, *layer.weight.shape[1:]).half(),
        "lora_up.weight": torch.randn(layer.weight.shape[0], 2, *ones).half(),
        "alpha": torch.tensor([2.0]).half(),
        "bias_indices": sparse.indices().to(torch.int16),
        "bias_values": sparse.values().half(),
        "bias_size": torch.tensor(difference.shape).to(torch.int16),
    }
    exact = exact_of(of_lora, state, layer.weight) + exact_of(of_sparse, state, layer.weight)
    values = state["bias_values"].double()
    places = torch.sparse_coo_tensor(sparse.indices(), values, difference.shape, check_invariants=True)
    lora = locon.diff_weight(state["lora_down.weight"].float(), state["lora_up.weight"].float(), None, gamma=1.0)
    whole = lora.reshape(layer.weight.shape) + places.to_dense().reshape(layer.weight.shape)
    found = records_of(state)
    assert list(found) == ["weight"]  # whatever the leaves are called, the bias stays
    assert all(record.misfit(tuple(layer.weight.shape)) is None for record in found["weight"])
    agree(found["weight"], layer.weight, whole, exact=exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_row_40_a_slider_at_minus_two(dtype: torch.dtype) -> None:
    weight = torch.randn(16, 24).to(dtype)
    state = {"lora_A.weight": torch.randn(2, 24), "lora_B.weight": torch.randn(16, 2), "alpha": torch.tensor(1.0)}
    (record,) = records_of(state)["weight"]
    new = merged(weight, [record], -2.0)
    assert new is not None
    assert torch.equal(new, (weight.float() + -2 * record.delta(weight)).to(dtype))
    exact = weight.double() - 2 * exact_of(of_lora, state, weight)
    assert relative(new.double(), exact) <= {torch.float32: 1e-6}.get(dtype, torch.finfo(dtype).eps)
