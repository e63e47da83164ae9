"""How an algorithm is held against another library: its records from that library's factors, float64 by a formula of
the contract's samples, and the merged weights in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from tests.contract.algorithm_samples.sample import Formula
from torch import Tensor, nn

from sakuga.lora.algorithms import NO_FACTS, SCALARS, Algorithm, Facts, choose
from sakuga.lora.formats.leaves import canonical
from sakuga.lora.fused import Part, Scratch, fused


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


def leaves_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {canonical(key)[0]: tensor.detach() for key, tensor in state.items()}


def facts_of(leaves: Mapping[str, Tensor], facts: Facts = NO_FACTS) -> Facts:
    scalars = {leaf: float(leaves[leaf]) for leaf in SCALARS & leaves.keys()}
    alpha = scalars.pop("alpha", facts.alpha)
    return Facts(alpha=alpha, dialect=facts.dialect, options={**facts.options, **scalars})


def records_of(state: Mapping[str, Tensor], facts: Facts = NO_FACTS) -> dict[str, list[Algorithm]]:
    """parameter → records, chosen by the leaves alone."""
    leaves = leaves_of(state)
    choice = choose({leaf: tuple(tensor.shape) for leaf, tensor in leaves.items()})
    assert choice.parts, choice.reason
    found: dict[str, list[Algorithm]] = {}
    for part in choice.parts:
        record = part.kind.read({leaf: leaves[leaf] for leaf in part.leaves}, facts_of(leaves, facts))
        found.setdefault(part.kind.parameter, []).append(record)
    return found


def exact_of(formula: Formula, state: Mapping[str, Tensor], weight: Tensor, facts: Facts = NO_FACTS) -> Tensor:
    leaves = leaves_of(state)
    wide = {
        leaf: tensor.double() if tensor.is_floating_point() else tensor
        for leaf, tensor in leaves.items()
        if leaf not in SCALARS
    }
    return formula(wide, facts_of(leaves, facts), weight.detach().double())


def ulps(found: Tensor, expected: Tensor) -> int:
    """How many numbers of the format lie between the two, at most."""

    def ordered(tensor: Tensor) -> Tensor:
        bits = tensor.view(torch.int16).int()
        return torch.where(bits < 0, -(bits & 0x7FFF), bits)

    return int((ordered(found) - ordered(expected)).abs().max())


def merged(pristine: Tensor, records: Sequence[Algorithm], strength: float = 1.0) -> Tensor | None:
    """The weight with all of them fused into it; None when nothing changes."""
    out = torch.empty_like(pristine)
    return (
        out if fused(pristine, [Part(strength=strength, record=record) for record in records], out, Scratch()) else None
    )


def agree(records: Sequence[Algorithm], weight: Tensor, *expected: Tensor, exact: Tensor) -> None:
    """ΔW against every oracle and float64; merged halves against the rounded fp32 sum, and against float64."""
    weight = weight.detach()
    for other in (*expected, exact):
        found = sum((record.delta(weight) for record in records), torch.zeros_like(weight))
        assert relative(found, other.reshape(weight.shape)) <= 1e-6
    for dtype in (torch.float16, torch.bfloat16):
        pristine = weight.to(dtype)
        new = merged(pristine, records)
        assert new is not None
        total = records[0].delta(pristine)
        for record in records[1:]:
            total = total + record.delta(pristine)
        assert torch.equal(new, (pristine.float() + total).to(dtype))
        assert ulps(new, (pristine.double() + exact).to(dtype)) <= 1


def linear() -> nn.Linear:
    return nn.Linear(24, 16)


def conv() -> nn.Conv2d:
    return nn.Conv2d(8, 12, 3, padding=1)


def filled(module: nn.Module) -> nn.Module:
    """``module`` with random factors of a size that training gives."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def state_of(module: nn.Module) -> dict[str, Tensor]:
    found = module.custom_state_dict() or module.state_dict()
    return {key: tensor for key, tensor in found.items() if not key.startswith("org_module")}


def peft_layer(layer: nn.Module, config: object) -> nn.Module:
    import peft

    trained = peft.get_peft_model(nn.ModuleDict({"a": layer}), config).base_model.model["a"]
    for name, parameter in trained.named_parameters():
        if "base_layer" not in name:
            nn.init.normal_(parameter, std=0.3)
    return trained


def peft_state(layer: nn.Module) -> dict[str, Tensor]:
    found = layer.state_dict().items()
    return {key.removesuffix(".default"): tensor for key, tensor in found if key.endswith(".default")}
