"""What every entry of ALGORITHMS keeps: live equals fused, the formula to 1e-6, gradients to the factors, nothing in
place. A new algorithm needs one line in SAMPLES, or the first test fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import ALGORITHMS, Algorithm, Kind, choose
from sakuga.lora.algorithms.lora import Lora


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A layer with an input for it, factors for it, and its ΔW in float64 by another way than the record's."""

    layer: Callable[[], nn.Module]
    x: tuple[int, ...]
    factors: Mapping[str, tuple[int, ...]]
    alpha: float | None
    formula: Callable[[Mapping[str, Tensor], float | None, tuple[int, ...]], Tensor]


def _lora(factors: Mapping[str, Tensor], alpha: float | None, shape: tuple[int, ...]) -> Tensor:
    up, down = factors["up"].double(), factors["down"].double()
    rank = down.shape[0]
    total = torch.zeros(shape[0], math.prod(shape[1:]), dtype=torch.float64)
    for row in range(rank):
        total += torch.outer(up[:, row].reshape(-1), down[row].reshape(-1))
    return (total * (1.0 if alpha is None else alpha / rank)).reshape(shape)


def _sample(
    layer: Callable[[], nn.Module], x: tuple[int, ...], up: tuple[int, ...], down: tuple[int, ...], alpha: float | None
) -> Sample:
    return Sample(layer=layer, x=x, factors={"up": up, "down": down}, alpha=alpha, formula=_lora)


SAMPLES: Mapping[str, Mapping[str, Sample]] = {
    "LoRA": {
        "linear": _sample(lambda: nn.Linear(6, 5), (2, 3, 6), (5, 4), (4, 6), 2.0),
        "linear, no alpha": _sample(lambda: nn.Linear(6, 5, bias=False), (2, 6), (5, 2), (2, 6), None),
        "linear, conv factors": _sample(lambda: nn.Linear(6, 5), (2, 6), (5, 2, 1, 1), (2, 6, 1, 1), 1.0),
        "negative alpha": _sample(lambda: nn.Linear(6, 5), (2, 6), (5, 2), (2, 6), -3.0),
        "rank above a side": _sample(lambda: nn.Linear(3, 5), (2, 3), (5, 4), (4, 3), 1.0),
        "1x1": _sample(lambda: nn.Conv2d(4, 6, 1), (2, 4, 5, 7), (6, 2, 1, 1), (2, 4, 1, 1), 2.0),
        "1x1, linear factors": _sample(lambda: nn.Conv2d(4, 6, 1), (2, 4, 5, 7), (6, 2), (2, 4), 2.0),
        "3x3": _sample(lambda: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 5, 7), (6, 3, 1, 1), (3, 4, 3, 3), 1.0),
        "3x3, stride": _sample(lambda: nn.Conv2d(4, 6, 3, 2, 1), (1, 4, 8, 8), (6, 3, 1, 1), (3, 4, 3, 3), 1.0),
        "3x3, one picture": _sample(lambda: nn.Conv2d(4, 6, 3), (4, 5, 7), (6, 3, 1, 1), (3, 4, 3, 3), 1.0),
        "dilation, 'same'": _sample(
            lambda: nn.Conv2d(4, 6, 3, padding="same", dilation=2), (1, 4, 9, 9), (6, 2, 1, 1), (2, 4, 3, 3), 1.0
        ),
        "circular": _sample(
            lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (1, 4, 6, 6), (6, 2), (2, 4, 3, 3), 1.0
        ),
        "1x3": _sample(lambda: nn.Conv2d(4, 6, (1, 3)), (1, 4, 6, 6), (6, 2, 1, 1), (2, 4, 1, 3), 1.0),
        "groups": _sample(lambda: nn.Conv2d(4, 6, 3, groups=2), (1, 4, 6, 6), (6, 2, 1, 1), (2, 2, 3, 3), 1.0),
        "conv1d": _sample(lambda: nn.Conv1d(4, 6, 3), (2, 4, 9), (6, 2, 1), (2, 4, 3), 1.0),
        "conv3d": _sample(
            lambda: nn.Conv3d(4, 6, 3, padding=1), (1, 4, 3, 4, 4), (6, 2, 1, 1, 1), (2, 4, 3, 3, 3), 1.0
        ),
    }
}
CASES = [(kind, name) for kind in ALGORITHMS for name in SAMPLES.get(kind.name, {})]
each = pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind.name}: {name}" for kind, name in CASES])


def _made(kind: Kind, name: str, dtype: torch.dtype = torch.float32) -> tuple[Sample, dict[str, Tensor], Algorithm]:
    sample = SAMPLES[kind.name][name]
    factors = {leaf: torch.randn(shape).to(dtype) for leaf, shape in sample.factors.items()}
    return sample, factors, kind.read(factors, sample.alpha)


def _relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


def test_every_algorithm_is_proven_here() -> None:
    assert {kind.name for kind in ALGORITHMS} == set(SAMPLES)


@each
def test_live_equals_fused(kind: Kind, name: str) -> None:
    sample, _, record = _made(kind, name)
    layer, x = sample.layer(), torch.randn(sample.x)
    live = layer(x) + record.beside(x, layer)
    with torch.no_grad():
        layer.weight += record.delta(layer.weight)
    assert live.shape == layer(x).shape
    assert _relative(live, layer(x)) <= 1e-5


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_delta_is_the_formula(kind: Kind, name: str, dtype: torch.dtype) -> None:
    sample, factors, record = _made(kind, name, dtype)
    base = sample.layer().weight.to(dtype)
    delta = record.delta(base)
    assert delta.dtype == torch.float32
    assert delta.shape == base.shape
    assert _relative(delta, sample.formula(factors, sample.alpha, tuple(base.shape))) <= 1e-6


@each
def test_a_meta_base_is_enough_where_values_are_not_needed(kind: Kind, name: str) -> None:
    sample, _, record = _made(kind, name)
    if record.needs_base:
        pytest.skip("this algorithm looks at the values of the weight")
    weight = sample.layer().weight
    assert torch.equal(record.delta(weight.to("meta")), record.delta(weight))


@each
def test_factors_are_the_delta(kind: Kind, name: str) -> None:
    sample, _, record = _made(kind, name)
    pair, base = record.factors(), sample.layer().weight
    if pair is None:
        pytest.skip("this algorithm is not one of low rank")
    assert _relative((pair.up @ pair.down.flatten(1)).reshape(base.shape), record.delta(base)) <= 1e-6


@each
@pytest.mark.parametrize("way", ["delta", "beside"])
def test_gradients_flow_to_every_factor(kind: Kind, name: str, way: str) -> None:
    sample, factors, _ = _made(kind, name)
    layer, x = sample.layer(), torch.randn(sample.x)
    leaves = {leaf: factor.clone().requires_grad_() for leaf, factor in factors.items()}

    def loss(given: Mapping[str, Tensor]) -> Tensor:
        record = kind.read(given, sample.alpha)
        change = record.delta(layer.weight) if way == "delta" else record.beside(x, layer)
        return (change * torch.linspace(-1, 1, change.numel()).reshape(change.shape)).sum()

    loss(leaves).backward()
    for leaf, factor in leaves.items():
        direction = torch.randn_like(factor)
        step = 0.05
        higher = loss({**factors, leaf: factors[leaf] + step * direction})
        lower = loss({**factors, leaf: factors[leaf] - step * direction})
        assert factor.grad is not None
        measured, stated = (higher - lower).item() / (2 * step), (factor.grad * direction).sum().item()
        assert stated == pytest.approx(measured, rel=1e-2, abs=1e-3)
        assert abs(stated) > 1e-4


@each
def test_nothing_is_changed_in_place(kind: Kind, name: str) -> None:
    sample, factors, record = _made(kind, name)
    layer, x = sample.layer(), torch.randn(sample.x)
    before = [tensor.clone() for tensor in (*factors.values(), layer.weight, x)]
    first = record.delta(layer.weight)
    record.beside(x, layer)
    record.factors()
    first.mul_(7)  # whoever gets a delta may write into it, without the next one being another
    after = (*factors.values(), layer.weight, x)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert _relative(record.delta(layer.weight) * 7, first) <= 1e-6


@each
def test_a_weight_of_another_shape_is_no_match(kind: Kind, name: str) -> None:
    sample, _, record = _made(kind, name)
    shape = tuple(sample.layer().weight.shape)
    assert record.misfit(shape) is None
    for wrong in ((shape[0] + 1, *shape[1:]), (shape[0], shape[1] + 1, *shape[2:]), (shape[0],), (*shape, 2)):
        assert record.misfit(wrong), wrong


@pytest.mark.parametrize("alpha", [0.0, -0.0])
def test_lora_with_alpha_zero_changes_nothing(alpha: float) -> None:
    record = Lora(up=torch.randn(5, 2), down=torch.randn(2, 6), alpha=alpha)
    layer, x = nn.Linear(6, 5), torch.randn(3, 6)
    assert not record.delta(layer.weight).any()
    assert not record.beside(x, layer).any()


@pytest.mark.parametrize(
    ("up", "down", "alpha", "said"),
    [
        ((5, 3), (2, 6), None, "ranks do not meet"),
        ((5, 4), (2, 6), None, "ranks do not meet"),  # "fused" ups are not guessed at
        ((5, 2, 3, 3), (2, 6, 1, 1), None, "not the two factors"),
        ((5,), (2, 6), None, "not the two factors"),
        ((5, 0), (0, 6), None, "not the two factors"),
        ((5, 21), (21, 6), None, "more than 4 times the smaller side"),
        ((5, 2), (2, 6), math.nan, "alpha is nan"),
        ((5, 2), (2, 6), -math.inf, "alpha is -inf"),
    ],
)
def test_lora_refuses_factors_that_do_not_belong_together(
    up: tuple[int, ...], down: tuple[int, ...], alpha: float | None, said: str
) -> None:
    with pytest.raises(AdapterDoesNotFit, match=said):
        Lora(up=torch.zeros(up), down=torch.zeros(down), alpha=alpha)


def test_lora_remarks_on_what_is_legal_but_odd() -> None:
    def remarks(rank: int, alpha: float) -> str:
        return " ".join(Lora(up=torch.zeros(5, rank), down=torch.zeros(rank, 6), alpha=alpha).remarks())

    assert remarks(4, 2.0) == ""
    assert "negative" in remarks(4, -2.0)
    assert "hardly meant" in remarks(4, 1e6)
    assert "above the smaller side" in remarks(6, 1.0)


def test_lora_beside_a_layer_it_does_not_know_says_so() -> None:
    record = Lora(up=torch.zeros(9, 2), down=torch.zeros(2, 6))
    with pytest.raises(AdapterDoesNotFit, match="Embedding"):
        record.beside(torch.zeros(3, dtype=torch.long), nn.Embedding(9, 6))


@pytest.mark.parametrize(
    ("leaves", "name", "reason"),
    [
        ({"up", "down"}, "LoRA", ""),
        ({"up", "down", "alpha"}, "LoRA", ""),
        ({"up", "alpha"}, "LoRA", "LoRA without down"),
        ({"up", "down", "weight"}, "LoRA", "LoRA with weight, which it does not know"),
        ({"alpha"}, "", "no algorithm knows alpha"),
        ({"up", "down", "alpha", "magnitude"}, "DoRA", "DoRA is not applied by this version"),
        ({"hada_w1_a", "hada_w1_b", "magnitude"}, "LoHa", "LoHa is not applied by this version"),
    ],
)
def test_leaves_choose_the_algorithm(leaves: set[str], name: str, reason: str) -> None:
    choice = choose(leaves)
    assert (choice.name, choice.reason) == (name, reason)
    assert (choice.kind is None) == bool(reason)
