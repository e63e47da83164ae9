"""The formulas of the algorithms that do not look at the weight, as plain sums over the ranks in float64."""

from __future__ import annotations

import math

import torch
from tests.contract.algorithm_samples.sample import Formula, Given
from torch import Tensor

from sakuga.lora.algorithms import Facts


def _scale(facts: Facts, rank: int) -> float:
    scale = 1.0 if facts.alpha is None else facts.alpha / rank
    return float(facts.options.get("scale", scale)) * float(facts.options.get("scalar", 1.0))


def of_first(columns: int, formula: Formula) -> Formula:
    """Only the first columns of the weight are changed."""

    def of_all(factors: Given, facts: Facts, base: Tensor) -> Tensor:
        return torch.cat([formula(factors, facts, base[:, :columns]), torch.zeros_like(base[:, columns:])], 1)

    return of_all


def of_lora(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    up, down = factors["up"], factors["down"]
    rank, columns = down.shape[0], math.prod(base.shape[1:])
    total = torch.zeros(base.shape[0], columns, dtype=torch.float64)
    for row in range(up.shape[1]):
        total += torch.outer(up[:, row].reshape(-1), down[row % rank].reshape(-1))
    return (total * _scale(facts, rank)).reshape(base.shape)


def of_transposed(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    return (factors["up"] @ factors["down"]).T * _scale(facts, factors["down"].shape[0])


def _core(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Σ core[m, n, …] left[m, p] right[n, q]."""
    total = torch.zeros(left.shape[1], right.shape[1], *core.shape[2:], dtype=torch.float64)
    for m in range(core.shape[0]):
        for n in range(core.shape[1]):
            outer = torch.outer(left[m], right[n])
            total += outer.reshape(*outer.shape, *[1] * (core.ndim - 2)) * core[m, n]
    return total


def of_tucker(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    up, down = factors["up"].flatten(1), factors["down"].flatten(1)
    return _core(factors["mid"], up.T, down) * _scale(facts, down.shape[0])


def of_loha(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    halves = []
    for n in (1, 2):
        a, b = factors[f"hada_w{n}_a"], factors[f"hada_w{n}_b"]
        t = factors.get(f"hada_t{n}")
        halves.append(_core(t, a, b) if t is not None else torch.einsum("or,ri->oi", a, b.flatten(1)))
    product = halves[0].reshape(base.shape) * halves[1].reshape(base.shape)
    return product * _scale(facts, factors["hada_w1_b"].shape[0])


def of_lokr(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    sides, rank = [], None
    for n in (1, 2):
        a, b, t = (factors.get(f"lokr_{name}") for name in (f"w{n}_a", f"w{n}_b", f"t{n}"))
        if a is None or b is None:
            sides.append(factors[f"lokr_w{n}"])
            continue
        rank = b.shape[0]
        sides.append(_core(t, a, b) if t is not None else torch.einsum("or,ri->oi", a, b.flatten(1)))
    one, two = sides
    two = two.reshape(two.shape[0], -1, *base.shape[2:])
    expected = torch.zeros(base.shape, dtype=torch.float64)
    for row in range(one.shape[0]):
        for column in range(one.shape[1]):
            rows = slice(row * two.shape[0], (row + 1) * two.shape[0])
            columns = slice(column * two.shape[1], (column + 1) * two.shape[1])
            expected[rows, columns] = one[row, column] * two
    if facts.dialect == "peft":
        rank = int(facts.options["r"])
    plain = Facts(options=facts.options) if rank is None else facts
    return expected * _scale(plain, rank or 1)


def of_sparse(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    total = torch.zeros(base.shape[0], math.prod(base.shape[1:]), dtype=torch.float64)
    for (row, column), value in zip(factors["bias_indices"].T.tolist(), factors["bias_values"], strict=True):
        total[row, column] += value
    return total.reshape(base.shape)


def of_embedding(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    a, b = factors["lora_embedding_A"], factors["lora_embedding_B"]
    return torch.einsum("rv,dr->vd", a, b) * _scale(facts, a.shape[0])


def of_adalora(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    product = torch.einsum("or,r,ri->oi", factors["up"], factors["lora_E"][:, 0], factors["down"])
    return product * (facts.alpha or 0) / (float(facts.options["ranknum"]) + 1e-5)


def stored(leaf: str) -> Formula:
    return lambda factors, facts, base: factors[leaf].reshape(base.shape)


def of_up_bias(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    return factors["up_bias"] * _scale(facts, factors["down"].shape[0])


def of_new_weight(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    (whole,) = factors.values()
    return whole.reshape(base.shape) - base
