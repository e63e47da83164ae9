"""The formulas of the algorithms that look at the weight, as whole matrices in float64."""

from __future__ import annotations

import math

import torch
from tests.contract.algorithm_samples.sample import Formula, Given
from torch import Tensor

from sakuga.lora.algorithms import Facts


def cayley(skew: Tensor) -> Tensor:
    """(I + Q)(I − Q)⁻¹ of one matrix."""
    one = torch.eye(len(skew), dtype=skew.dtype)
    return (one + skew) @ torch.linalg.inv(one - skew)


def series(skew: Tensor, terms: int) -> Tensor:
    """I + 2Q + … + 2Qᵏ⁻¹ + Qᵏ with k = terms − 1, and k = 3 for three terms."""
    last = max(3, terms - 1)
    powers = [torch.linalg.matrix_power(skew, power) for power in range(last + 1)]
    return powers[0] + 2 * sum(powers[1:last], torch.zeros_like(skew)) + powers[last]


def skews(blocks: Tensor) -> list[Tensor]:
    """B − Bᵀ of square blocks; of a row of numbers, the triangle above the diagonal and its mirror."""
    if blocks.ndim == 3:
        return [block - block.T for block in blocks]
    size = round((1 + math.sqrt(1 + 8 * blocks.shape[1])) / 2)
    found = []
    for numbers in blocks:
        skew = torch.zeros(size, size, dtype=blocks.dtype)
        places = [(row, column) for row in range(size) for column in range(row + 1, size)]
        for (row, column), number in zip(places, numbers, strict=True):
            skew[row, column], skew[column, row] = number, -number
        found.append(skew)
    return found


def limited(found: list[Tensor], limit: float | None) -> list[Tensor]:
    """All of them smaller, when their norm together is above the limit."""
    norm = math.sqrt(sum(float((skew**2).sum()) for skew in found))
    return found if limit is None or norm <= limit else [skew * (limit / norm) for skew in found]


def _of_rows(rotations: list[Tensor], base: Tensor, rescale: Tensor | None = None) -> Tensor:
    """Whole matrix times weight, rows scaled, minus weight."""
    matrix = torch.block_diag(*rotations)[: len(base), : len(base)]
    new = (matrix @ base.flatten(1)).reshape(base.shape)
    return (new if rescale is None else new * rescale.reshape(-1, *[1] * (base.ndim - 1))) - base


def _of_columns(rotations: list[Tensor], base: Tensor, rescale: Tensor | None = None) -> Tensor:
    new = base.flatten(1) @ torch.block_diag(*rotations)
    return (new if rescale is None else new * rescale.reshape(-1, 1)).reshape(base.shape) - base


def of_oft(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    limit = facts.alpha * len(base) if facts.alpha else None
    if facts.dialect == "kohya" and facts.alpha == 0:
        return torch.zeros_like(base)
    found = limited(skews(factors["oft_blocks"]), limit)
    return _of_rows([cayley(skew).T for skew in found], base, factors.get("rescale"))


def of_oft_slices(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    rotations = []
    for leaf in sorted(factors):
        blocks = factors[leaf]
        rotations += [cayley(q).T for q in limited(skews(blocks), (facts.alpha or 0) * blocks[..., 0].numel())]
    return _of_rows(rotations, base)


def of_rotations(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    return _of_rows([block.T for block in factors["oft_diag"]], base, factors.get("rescale"))


def of_rotations_apart(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    return _of_rows([block.T + torch.eye(len(block)).double() for block in factors["oft_diag"]], base)


def of_old_peft_oft(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    rotations = [cayley(skew / 2) for skew in skews(factors["oft_r"])]
    if "oft_s" in factors:
        return _of_columns(rotations * (base[0].numel() // sum(map(len, rotations))), base, factors["oft_s"])
    return _of_rows(rotations, base)


def of_triangle(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    found = skews(factors["oft_R"])
    found = found * (base[0].numel() // sum(map(len, found)))
    if facts.options.get("coft"):
        bound = float(facts.options["eps"]) / math.sqrt(len(factors["oft_R"]))
        found = [skew * min(1.0, bound / float(skew.norm())) for skew in found]
    if facts.dialect == "peft" and not facts.options.get("use_cayley_neumann", True):
        return _of_columns([cayley(skew) for skew in found], base)
    terms = int(facts.options.get("num_cayley_neumann_terms", 5))
    scale = 2 * math.sqrt(len(found[0]) - 1) if facts.options.get("scaled_oft") else 1.0
    rotations = [series(skew / scale, terms) for skew in found]
    straight = facts.dialect != "peft" and base.ndim > 2
    return _of_columns([matrix if straight else matrix.T for matrix in rotations], base)


def of_boft(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    """Each stage as one matrix: LyCORIS' exchange of rows there and back around the blocks."""
    stages = factors.get("oft_blocks", factors.get("oft_diag"))
    assert stages is not None
    rows, size = len(base), stages.shape[-1]
    flat = [skew for blocks in stages for skew in skews(blocks)]
    limit = facts.alpha * rows if facts.alpha else None
    rotations = [cayley(skew) for skew in limited(flat, limit)]
    if "oft_diag" in factors:
        rotations = [block for blocks in stages for block in blocks]
    new, count = base.flatten(1), stages.shape[1]
    for stage in range(len(stages)):
        half = size * 2**stage // 2
        exchange = torch.zeros(rows, rows, dtype=torch.float64)
        for row in range(rows):  # row (c, g, k) of two halves g goes to (c, k, g)
            c, g, k = row // (2 * half), row // half % 2, row % half
            exchange[c * 2 * half + k * 2 + g, row] = 1
        blocks = torch.block_diag(*rotations[stage * count : (stage + 1) * count])
        new = exchange.T @ blocks @ exchange @ new
    new = new.reshape(base.shape)
    rescale = factors.get("rescale")
    return (new if rescale is None else new * rescale.reshape(-1, *[1] * (base.ndim - 1))) - base


def of_peft_boft(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    """One stage only: no exchange."""
    assert len(factors["boft_R"]) == 1
    rotations = [cayley(-skew / 2).T for skew in skews(factors["boft_R"][0])]
    return _of_columns(rotations, base, factors["boft_s"])


def of_ia3(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    gain = factors["weight"].reshape(-1) if "weight" in factors else factors["ia3_l"].reshape(-1) - 1
    columns = facts.options.get("on_input") or facts.options.get("feedforward") or len(gain) != len(base)
    if "ia3_l" in factors and factors["ia3_l"].shape == (1, len(gain)):
        columns = True
    return torch.einsum("oi...,i->oi...", base, gain) if columns else torch.einsum("o...,o->o...", base, gain)


def of_ia3_bias(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    return base * (factors["ia3_l"].reshape(-1) - 1)


def of_glora(old: bool) -> Formula:
    def formula(factors: Given, facts: Facts, base: Tensor) -> Tensor:
        a1, a2, b1, b2 = (factors[leaf].flatten(1) for leaf in ("a1", "a2", "b1", "b2"))
        first, second, up, down = (a2, a1, b2, b1) if old else (a1, a2, b1, b2)
        rank = second.shape[0]
        through = torch.einsum("oi...,ir,rj->oj...", base, first, second)
        return (through + (up @ down).reshape(base.shape)) * (facts.alpha or rank) / rank

    return formula


def of_tlora(factors: Given, facts: Facts, base: Tensor) -> Tensor:
    p, q, strengths = factors["p_layer"].flatten(1), factors["q_layer"].flatten(1), factors["lambda_layer"].reshape(-1)
    rank = len(strengths)
    left, values, right = torch.linalg.svd(base.flatten(1), full_matrices=False)
    start = left[:, :rank] @ torch.diag(values[:rank]) @ right[:rank]
    return (p @ torch.diag(strengths) @ q - start).reshape(base.shape) * (facts.alpha or rank) / rank


def of_dora(inner: Formula, leaf: str, axis: int) -> Formula:
    def formula(factors: Given, facts: Facts, base: Tensor) -> Tensor:
        changed = base + inner({own: factor for own, factor in factors.items() if own != leaf}, facts, base)
        lengths = factors[leaf].reshape(-1)
        least = torch.finfo(torch.float32).eps if leaf == "dora_scale" else 0.0
        new = [
            part * length / (math.sqrt(float((part**2).sum())) + least)
            for part, length in zip(changed.movedim(axis, 0), lengths, strict=True)
        ]
        return torch.stack(new).movedim(0, axis) - base

    return formula
