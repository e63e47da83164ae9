"""How an algorithm that looks at the weight is held against another library: several strengths, half precision too.

Others solve in fp32 by an inverse, so they are asked for 2e-6; float64 always for 1e-6.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import peft
import torch
from tests.contract.algorithm_samples.sample import Formula
from tests.unit.agreement import exact_of, merged, records_of, relative, ulps
from torch import Tensor, nn

from sakuga.lora.algorithms import NO_FACTS, Algorithm, Facts


def square() -> nn.Linear:
    return nn.Linear(16, 16)


def point() -> nn.Conv2d:
    return nn.Conv2d(8, 12, 1)


def held(
    state: Mapping[str, Tensor], weight: Tensor, formula: Formula, *others: Tensor, facts: Facts = NO_FACTS
) -> Algorithm:
    """ΔW against float64 and against the new weights of others; merged halves against float64 of the half weight."""
    (record,) = records_of(state, facts)["weight"]
    weight = weight.detach()
    exact = exact_of(formula, state, weight, facts)
    assert relative(record.delta(weight), exact) <= 1e-6
    for new in others:
        assert relative(record.delta(weight), new.detach().double() - weight.double()) <= 2e-6
    for strength in (1.0, 0.5, -1.0, 1e-3):  # one rule: W + s (W' − W)
        new = merged(weight, [record], strength)
        assert new is not None
        assert torch.equal(new, weight + strength * record.delta(weight))
    assert merged(weight, [record], 0.0) is None  # the very bytes stay
    for dtype in (torch.float16, torch.bfloat16):
        pristine = weight.to(dtype)
        new = merged(pristine, [record])
        assert new is not None
        assert torch.equal(new, (pristine.float() + record.delta(pristine)).to(dtype))
        assert ulps(new, (pristine.double() + exact_of(formula, state, pristine, facts)).to(dtype)) <= 1
    return record


def peft_saved(layer: nn.Module, config: object) -> tuple[nn.Module, dict[str, Tensor]]:
    """PEFT's layer with random factors, in float64, and its file's tensors."""
    model = peft.get_peft_model(nn.ModuleDict({"a": layer}), config)
    for name, parameter in model.named_parameters():
        if "base_layer" not in name:
            nn.init.normal_(parameter, std=0.3)
    saved = peft.get_peft_model_state_dict(model)
    state = {key.removeprefix("base_model.model.a."): tensor.clone() for key, tensor in saved.items()}
    return model.double(), state


def peft_weights(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).merge_and_unload()["a"]
