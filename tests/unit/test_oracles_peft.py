"""What PEFT alone writes: AdaLoRA, tables of embeddings, weights stored as in by out; against PEFT and float64."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from tests.contract.algorithm_samples.formulas import (
    of_embedding,
    of_transposed,
)
from tests.unit.agreement import (
    agree,
    exact_of,
    filled,
    linear,
    peft_layer,
    records_of,
)
from torch import nn

from sakuga.lora.algorithms import Facts

os.environ.setdefault("LYCORIS_KERNEL_BACKEND", "torch")
peft = pytest.importorskip("peft")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_adalora_is_what_peft_adds() -> None:
    model = nn.ModuleDict({"a": linear()})
    weight = model["a"].weight
    config = peft.AdaLoraConfig(init_r=6, target_r=2, lora_alpha=3, total_step=9, target_modules=["a"])
    trained = filled(peft.get_peft_model(model, config).base_model.model["a"])
    with torch.no_grad():
        trained.ranknum["default"].fill_(6.0)  # it is a parameter too
    leaves = {f"lora_{leaf}": getattr(trained, f"lora_{leaf}")["default"] for leaf in "ABE"}
    facts = Facts(alpha=3.0, dialect="peft", options={"init_r": 6})
    exact = (
        leaves["lora_B"].detach().double() @ (leaves["lora_A"] * leaves["lora_E"]).detach().double() * 3 / (6 + 1e-5)
    )
    agree(records_of(leaves, facts)["weight"], weight, trained.get_delta_weight("default"), exact=exact)


def test_a_lora_of_an_embedding_table_is_what_peft_adds() -> None:
    table = nn.Embedding(20, 12)
    trained = peft_layer(table, peft.LoraConfig(r=3, lora_alpha=2, target_modules=["a"]))
    leaves = {leaf: getattr(trained, leaf)["default"] for leaf in ("lora_embedding_A", "lora_embedding_B")}
    facts = Facts(alpha=2.0, dialect="peft")
    exact = exact_of(of_embedding, leaves, table.weight, facts)
    records = records_of(leaves, facts)["weight"]
    agree(records, table.weight, trained.get_delta_weight("default"), exact=exact)
    tokens = torch.randint(20, (2, 7))
    torch.testing.assert_close(trained(tokens), table(tokens) + records[0].beside(tokens, table))


def test_a_weight_stored_as_in_by_out_is_changed_as_peft_does() -> None:
    from transformers.pytorch_utils import Conv1D

    layer = Conv1D(16, 24)
    trained = peft_layer(layer, peft.LoraConfig(r=3, lora_alpha=2, fan_in_fan_out=True, target_modules=["a"]))
    state = {f"{leaf}.weight": getattr(trained, leaf)["default"].weight for leaf in ("lora_A", "lora_B")}
    facts = Facts(alpha=2.0, dialect="peft", options={"fan_in_fan_out": True})
    exact = exact_of(of_transposed, state, layer.weight, facts)
    agree(records_of(state, facts)["weight"], layer.weight, trained.get_delta_weight("default"), exact=exact)
