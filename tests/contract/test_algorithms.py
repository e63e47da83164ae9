"""What every entry of ALGORITHMS keeps: live equals fused, the formula to 1e-6, gradients to the factors, nothing in
place. A new algorithm needs one line among the samples, or the first test fails.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from tests.contract.algorithm_samples.additive import ADDITIVE
from tests.contract.algorithm_samples.multiplicative import MULTIPLICATIVE
from tests.contract.algorithm_samples.sample import Sample
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import ALGORITHMS, SCALARS, Algorithm, Kind, choose
from sakuga.lora.algorithms.columns import fitted

SAMPLES: Mapping[str, Mapping[str, Sample]] = {**ADDITIVE, **MULTIPLICATIVE}
CASES = [(kind, name) for kind in ALGORITHMS for name in SAMPLES.get(kind.name, {})]
each = pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind.name}: {name}" for kind, name in CASES])


def _made(kind: Kind, name: str, dtype: torch.dtype = torch.float32) -> tuple[Sample, dict[str, Tensor], Algorithm]:
    sample = SAMPLES[kind.name][name]
    factors = sample.draw(dtype)
    return sample, factors, _read(kind, sample, factors)


def _read(kind: Kind, sample: Sample, factors: Mapping[str, Tensor]) -> Algorithm:
    """The record as it changes the sample's layer."""
    return fitted(kind.read(factors, sample.facts), tuple(_base(kind, sample.layer()).shape))


def _base(kind: Kind, layer: nn.Module) -> nn.Parameter:
    parameter = getattr(layer, kind.parameter)
    assert isinstance(parameter, nn.Parameter)
    return parameter


def _relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


def test_every_algorithm_is_proven_here() -> None:
    assert {kind.name for kind in ALGORITHMS} == set(SAMPLES)


@each
def test_its_leaves_choose_it(kind: Kind, name: str) -> None:
    sample = SAMPLES[kind.name][name]
    scalars = {leaf: () for leaf in sample.facts.options if leaf in SCALARS}
    choice = choose({leaf: tuple(tensor.shape) for leaf, tensor in sample.draw().items()} | scalars | {"alpha": ()})
    assert kind in [part.kind for part in choice.parts], choice


@each
def test_live_equals_fused(kind: Kind, name: str) -> None:
    sample, _, record = _made(kind, name)
    layer, x = sample.layer(), sample.input()
    live = layer(x) + record.beside(x, layer)
    with torch.no_grad():
        base = _base(kind, layer)
        base += record.delta(base)
    assert live.shape == layer(x).shape
    assert _relative(live, layer(x)) <= 1e-5


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_delta_is_the_formula(kind: Kind, name: str, dtype: torch.dtype) -> None:
    sample, factors, record = _made(kind, name, dtype)
    base = _base(kind, sample.layer()).to(dtype)
    delta = record.delta(base)
    assert delta.dtype == torch.float32
    assert delta.shape == base.shape
    assert _relative(delta, sample.expected(factors, base)) <= 1e-6


@each
def test_a_meta_base_is_enough_where_values_are_not_needed(kind: Kind, name: str) -> None:
    sample, _, record = _made(kind, name)
    if record.needs_base:
        pytest.skip("this algorithm looks at the values of the weight")
    base = _base(kind, sample.layer())
    assert torch.equal(record.delta(base.to("meta")), record.delta(base))


@each
def test_factors_are_the_delta(kind: Kind, name: str) -> None:
    sample, _, record = _made(kind, name)
    pair, base = record.factors(), _base(kind, sample.layer())
    if pair is None:
        pytest.skip("this algorithm is not one of low rank")
    product = pair.up @ pair.down_for(tuple(base.shape)).flatten(1)
    assert _relative(product.reshape(base.shape), record.delta(base)) <= 1e-6


@each
@pytest.mark.parametrize("way", ["delta", "beside"])
def test_gradients_flow_to_every_factor(kind: Kind, name: str, way: str) -> None:
    sample, factors, _ = _made(kind, name)
    layer, x = sample.layer(), sample.input()
    leaves = {leaf: factor.clone() for leaf, factor in factors.items()}
    floating = [leaf for leaf, factor in leaves.items() if factor.is_floating_point()]
    for leaf in floating:
        leaves[leaf].requires_grad_()

    def loss(given: Mapping[str, Tensor]) -> Tensor:
        record = _read(kind, sample, given)
        change = record.delta(_base(kind, layer)) if way == "delta" else record.beside(x, layer)
        return (change * torch.linspace(-1, 1, change.numel()).reshape(change.shape)).sum()

    loss(leaves).backward()
    for leaf in floating:
        direction = torch.randn_like(factors[leaf])
        step = 0.01
        higher = loss({**factors, leaf: factors[leaf] + step * direction})
        lower = loss({**factors, leaf: factors[leaf] - step * direction})
        grad = leaves[leaf].grad
        assert grad is not None, leaf
        measured, stated = (higher - lower).item() / (2 * step), (grad * direction).sum().item()
        assert stated == pytest.approx(measured, rel=1e-2, abs=1e-3), leaf
        assert abs(stated) > 1e-4, leaf


@each
def test_nothing_is_changed_in_place(kind: Kind, name: str) -> None:
    sample, factors, record = _made(kind, name)
    layer, x = sample.layer(), sample.input()
    base = _base(kind, layer)
    before = [tensor.clone() for tensor in (*factors.values(), base, x)]
    with torch.no_grad():
        first = record.delta(base)
        record.beside(x, layer)
        record.factors()
        first.mul_(7)  # whoever gets a delta may write into it, without the next one being another
    after = (*factors.values(), base, x)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert _relative(record.delta(base) * 7, first) <= 1e-6


@each
def test_a_weight_of_another_shape_is_no_match(kind: Kind, name: str) -> None:
    sample, _, record = _made(kind, name)
    shape = tuple(_base(kind, sample.layer()).shape)
    assert record.misfit(shape) is None
    grown = [(*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]) for axis in range(len(shape))]
    for wrong in (*grown, (*shape, 2), shape[:1] if len(shape) > 1 else ()):
        assert record.misfit(wrong) or not sample.tells(shape, wrong), wrong


@each
def test_shapes_alone_answer_for_the_header(kind: Kind, name: str) -> None:
    sample, factors, record = _made(kind, name)
    shape = tuple(_base(kind, sample.layer()).shape)
    meta = _read(kind, sample, {leaf: factor.to("meta") for leaf, factor in factors.items()})
    assert (meta.rank, meta.remarks(), meta.misfit(shape)) == (record.rank, record.remarks(), None)
    wrong = (shape[0] + 1, *shape[1:])
    assert meta.misfit(wrong) or sample.fixed or not sample.tells(shape, wrong)  # indices tell more than their shapes


@each
def test_rows_are_rows_of_the_whole(kind: Kind, name: str) -> None:
    sample, _, record = _made(kind, name)
    base = _base(kind, sample.layer())
    total, rest = base.shape[0], tuple(base.shape[1:])
    take = ((total - 2, total), (0, 1))
    try:
        part = record.rows(take, total)
    except AdapterDoesNotFit:
        assert record.needs_base  # it looks at the whole weight
        return
    rows = torch.cat([base.detach()[first:end] for first, end in take])
    assert part.misfit((3, *rest)) is None
    assert part.misfit((4, *rest)) or not sample.tells((3, *rest), (4, *rest))
    expected = record.delta(base)
    assert _relative(part.delta(rows), torch.cat([expected[first:end] for first, end in take])) <= 1e-6
    if not record.needs_base:
        assert torch.equal(part.delta(rows.to("meta")), part.delta(rows))
    for wrong in (((0, total + 1),), ((1, 1),), ((-1, 1),)):
        with pytest.raises(AdapterDoesNotFit):
            record.rows(wrong, total)
    try:  # told at once, or where shapes are compared
        problem = record.rows(((0, 1),), total + 1).misfit((1, *rest))
    except AdapterDoesNotFit as refusal:
        problem = refusal.title
    assert problem or not sample.tells((1, *rest), (2, *rest))
