"""LoHa and LoKr held against LyCORIS, PEFT and float64. The number in a test's name is its row of the matrix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pytest
import torch
from tests.contract.algorithm_samples.formulas import of_loha, of_lokr
from tests.unit.agreement import (
    agree,
    conv,
    exact_of,
    filled,
    linear,
    peft_layer,
    peft_state,
    records_of,
    relative,
    state_of,
)
from torch import nn

from sakuga.lora.algorithms import Facts

os.environ.setdefault("LYCORIS_KERNEL_BACKEND", "torch")
peft = pytest.importorskip("peft")

lycoris = pytest.importorskip("lycoris")
loha = pytest.importorskip("lycoris.functional.loha")
lokr = pytest.importorskip("lycoris.functional.lokr")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("tucker", [False, True], ids=["flat", "core"])
@pytest.mark.parametrize("make", [linear, conv])
def test_row_08_loha(make: type[nn.Module], tucker: bool) -> None:
    layer = make()
    module = filled(lycoris.modules.loha.LohaModule("x", layer, lora_dim=4, alpha=3, use_tucker=tucker))
    state = state_of(module)
    factors = [state.get(f"hada_{leaf}") for leaf in ("w1_b", "w1_a", "w2_b", "w2_a", "t1", "t2")]
    functional = loha.diff_weight(*factors, gamma=torch.tensor(3 / 4))
    oracle = module.get_weight(layer.weight.shape)  # its merge takes alpha / r twice
    exact = exact_of(of_loha, state, layer.weight)
    agree(records_of(state)["weight"], layer.weight, functional, oracle, exact=exact)


@pytest.mark.parametrize("effective", [False, True])
@pytest.mark.parametrize("make", [linear, conv])
def test_row_08_loha_is_what_peft_adds(make: type[nn.Module], effective: bool) -> None:
    layer = make()
    config = peft.LoHaConfig(r=4, alpha=3, target_modules=["a"], use_effective_conv2d=effective)
    trained = peft_layer(layer, config)
    state, facts = peft_state(trained), Facts(alpha=3.0, dialect="peft", options={"r": 4})
    exact = exact_of(of_loha, state, layer.weight, facts)
    agree(records_of(state, facts)["weight"], layer.weight, trained.get_delta_weight("default"), exact=exact)


LOKR: Mapping[str, tuple[type[nn.Module], dict[str, object]]] = {
    "whole, alpha means nothing": (linear, {"lora_dim": 100000, "alpha": 1e5, "full_matrix": True}),
    "whole of another rank": (linear, {"lora_dim": 64, "alpha": 1, "factor": 4}),
    "second of low rank": (linear, {"lora_dim": 2, "alpha": 3, "factor": 2}),
    "both of low rank": (linear, {"lora_dim": 1, "alpha": 3, "factor": 4, "decompose_both": True}),
    "rank 1": (linear, {"lora_dim": 1, "alpha": 4, "factor": 2}),
    "first the larger": (linear, {"lora_dim": 64, "alpha": 1, "factor": 2, "unbalanced_factorization": True}),
    "3x3 whole": (conv, {"lora_dim": 64, "alpha": 1, "factor": 2}),
    "3x3 flat": (conv, {"lora_dim": 1, "alpha": 4, "factor": 2}),
    "3x3 core": (conv, {"lora_dim": 1, "alpha": 4, "factor": 2, "use_tucker": True}),
    "3x3 core of rank 2": (conv, {"lora_dim": 2, "alpha": 3, "factor": 1, "use_tucker": True}),
}


@pytest.mark.parametrize("name", LOKR)
def test_row_09_lokr(name: str) -> None:
    make, options = LOKR[name]
    layer = make()
    module = filled(lycoris.modules.lokr.LokrModule("x", layer, **options))
    state = state_of(module)
    oracle = module.get_weight(layer.weight.shape)  # its merge takes alpha / r twice
    exact = exact_of(of_lokr, state, layer.weight)
    agree(records_of(state)["weight"], layer.weight, oracle, exact=exact)
    if "use_tucker" not in options:  # the functional one divides by another size there
        factors = [state.get(f"lokr_{leaf}") for leaf in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")]
        factors[5] = factors[5].unflatten(1, (-1, *layer.weight.shape[2:])) if factors[5] is not None else None
        functional = lokr.diff_weight(*factors, gamma=float(state["alpha"]))
        assert relative(records_of(state)["weight"][0].delta(layer.weight), functional) <= 1e-6


@pytest.mark.parametrize("larger", ["first", "second"])
def test_row_09_lokr_with_either_factor_the_larger(larger: str) -> None:
    sizes = [(8, 6), (2, 4)] if larger == "first" else [(2, 4), (8, 6)]
    state = {f"lokr_w{n}": torch.randn(*size) for n, size in enumerate(sizes, start=1)}
    weight = torch.randn(16, 24)
    kron = torch.kron(state["lokr_w1"], state["lokr_w2"])
    agree(records_of(state)["weight"], weight, kron, exact=exact_of(of_lokr, state, weight))


PEFT_LOKR: Mapping[str, tuple[type[nn.Module], dict[str, object]]] = {
    "whole, times 4": (linear, {"r": 16, "alpha": 64, "decompose_factor": 4}),
    "whole, a quarter": (linear, {"r": 32, "alpha": 8, "decompose_factor": 4}),
    "second of low rank": (linear, {"r": 2, "alpha": 3, "decompose_factor": 2}),
    "both of low rank": (linear, {"r": 1, "alpha": 3, "decompose_factor": 4, "decompose_both": True}),
    "3x3 whole": (conv, {"r": 32, "alpha": 8}),
    "3x3 flat": (conv, {"r": 2, "alpha": 3, "decompose_factor": 1}),
    "3x3 core": (conv, {"r": 2, "alpha": 3, "decompose_factor": 1, "use_effective_conv2d": True}),
}


@pytest.mark.parametrize("name", PEFT_LOKR)
def test_row_10_lokr_of_peft_is_scaled_by_its_config(name: str) -> None:
    make, options = PEFT_LOKR[name]
    layer = make()
    trained = peft_layer(layer, peft.LoKrConfig(target_modules=["a"], **options))
    state = peft_state(trained)
    facts = Facts(alpha=float(str(options["alpha"])), dialect="peft", options={"r": int(str(options["r"]))})
    assert ("lokr_w2" in state) == ("whole" in name)
    exact = exact_of(of_lokr, state, layer.weight, facts)
    agree(records_of(state, facts)["weight"], layer.weight, trained.get_delta_weight("default"), exact=exact)
