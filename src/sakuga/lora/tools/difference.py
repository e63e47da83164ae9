"""Difference: what two adapters do not have in common: modules, ranks, alphas, and their changes, module by module.

Changes of low rank are compared through their factors and never multiplied out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.changes import Weigh
from sakuga.lora.module import Module
from sakuga.lora.tools.gather import Sum, Summer, Target, Use, gathered
from sakuga.lora.tools.lowrank import pair_norm
from sakuga.lora.tools.source import Source, nameless, unlike_shapes
from sakuga.lora.tools.spelling import Spelling
from sakuga.progress import Progress

SCHEMA = 1
SHOWN = 10  # modules of one kind that the text names
ROUNDING = 1e-3  # what a change of number formats makes of factors, relative to the change

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One module that both have. ``relative`` is ‖A − B‖ beside the larger of ‖A‖ and ‖B‖; None: it cannot be told
    without a base.
    """

    module: str
    algorithms: tuple[str, str]
    ranks: tuple[int | None, int | None]
    alphas: tuple[float | None, float | None]
    relative: float | None
    cosine: float | None


@dataclass(kw_only=True)
class Difference:
    """Two adapters side by side. ``overall`` is as ``relative`` of all modules together, those of one side included."""

    files: tuple[Path, Path]
    same_bytes: bool
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    overall: float = 0.0
    cosine: float = 0.0

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.same_bytes:
            return "the two files are the same, byte for byte"
        unknown = sum(row.relative is None for row in self.rows)
        if self.only_first or self.only_second or unknown:
            return "they differ" if not unknown else f"{unknown} modules cannot be compared without a base (--base)"
        if all(row.relative == 0 for row in self.rows):
            return "they are one and the same adapter: every change is equal, to the bit"
        if self.overall < ROUNDING:
            return f"they are one adapter but for rounding ({self.overall:.2g})"
        return f"they differ by {self.overall:.3g} of the larger; the cosine of their changes is {self.cosine:.4f}"

    def told(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "schema": SCHEMA,
            "files": [str(path) for path in self.files],
            "verdict": self.verdict,
            "same_bytes": self.same_bytes,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "relative_difference": self.overall,
            "cosine": self.cosine,
            "modules": [vars(row) for row in self.rows],
        }

    def lines(self) -> list[str]:
        """A few lines for a terminal."""
        lines = [self.verdict]
        for path, names in zip(self.files, (self.only_first, self.only_second), strict=True):
            lines += _listed(f"only in {path.name}", names)
        for what, values in (("algorithm", "algorithms"), ("rank", "ranks"), ("alpha", "alphas")):
            unlike = [(row.module, *getattr(row, values)) for row in self.rows if len(set(getattr(row, values))) > 1]
            lines += _listed(f"another {what}", [f"{name}: {_word(one)} and {_word(two)}" for name, one, two in unlike])
        changed = sorted((row for row in self.rows if row.relative), key=lambda row: -(row.relative or 0))
        lines += _listed("another change", [f"{row.module}: {row.relative:.3g}" for row in changed])
        return lines


def difference(
    one: Source, other: Source, *, weigh: Weigh | None = None, progress: Progress | None = None
) -> Difference:
    """Compare two adapters that were opened together. Raises AdapterDoesNotFit where their names are not known."""
    names = one.found.names
    if names is None:
        raise nameless([one, other])
    progress = progress or Progress()
    found = Difference(files=(one.file.path, other.file.path), same_bytes=one.sha256 == other.sha256)
    spelling, summer = Spelling(names), Summer(names=names, weigh=weigh)
    targets = gathered((one, other), split=False)
    progress.begin("compare", len(targets))
    firsts = seconds = missing = product = 0.0
    with torch.no_grad():
        for target, uses in targets.items():
            name = spelling.label(target.seats).name + ("" if target.parameter == "weight" else " (bias)")
            sides = tuple([use for use in uses if use.source is side] for side in (one, other))
            sums = [_sum(summer, target, side) for side in sides]
            sizes = [_inner(side, side) if side else 0.0 for side in sums]
            firsts, seconds = firsts + sizes[0], seconds + sizes[1]
            if not all(sides):
                (found.only_first if sides[0] else found.only_second).append(name)
                missing += sum(sizes)
            else:
                _check_shapes(name, sums, (one, other))
                gap, inner = _compared(sums[0], sums[1])
                missing += gap**2
                product += inner
                found.rows.append(_row(name, sides, sizes, gap, inner, known=all(sums), same=_same_factors(*sides)))
            progress.advance()
    larger = max(firsts, seconds)
    found.overall = math.sqrt(missing / larger) if larger else 0.0
    found.cosine = product / math.sqrt(firsts * seconds) if firsts and seconds else 0.0
    return found


def _sum(summer: Summer, target: Target, uses: Sequence[Use]) -> Sum | None:
    """The change of one side; None where there is none, or where it cannot be told without a base."""
    try:
        return summer.sum(target, uses) if uses else None
    except AdapterDoesNotFit:
        return None


def _row(
    name: str,
    sides: Sequence[Sequence[Use]],
    sizes: Sequence[float],
    gap: float,
    inner: float,
    *,
    known: bool,
    same: bool,
) -> Row:
    first, second = (side[0].module for side in sides)
    larger = math.sqrt(max(sizes))
    relative = (gap / larger if larger else 0.0) if known else None
    whole = math.sqrt(sizes[0] * sizes[1])
    return Row(
        module=name,
        algorithms=(first.algorithm, second.algorithm),
        ranks=(first.rank, second.rank),
        alphas=(_alpha(first), _alpha(second)),
        relative=0.0 if same else relative,
        cosine=inner / whole if known and whole else None,
    )


def _alpha(module: Module) -> float | None:
    """The alpha of a module; one that is not stated is the rank."""
    alpha, rank = module.facts.alpha, module.rank
    return float(rank) if alpha is None and rank is not None else alpha


def _check_shapes(name: str, sums: Sequence[Sum | None], sources: Sequence[Source]) -> None:
    shapes = [found.shape for found in sums if found is not None]
    if len({(shape[0], math.prod(shape)) for shape in shapes}) > 1:
        raise unlike_shapes(name, list(zip(sources, shapes, strict=True)))


def _compared(one: Sum | None, other: Sum | None) -> tuple[float, float]:
    """(‖A − B‖, the inner product). A change that is not known counts as none."""
    if one is None or other is None:
        return 0.0, 0.0
    if one.whole is None and other.whole is None:
        (up, down), (other_up, other_down) = _pair(one), _pair(other)
        if torch.equal(up, other_up) and torch.equal(down, other_down):
            return 0.0, _inner(one, other)
        gap = pair_norm(torch.cat([up, -other_up], 1), torch.cat([down, other_down]))
        return gap, _inner(one, other)
    return float(torch.linalg.vector_norm(_dense(one) - _dense(other))), _inner(one, other)


def _inner(one: Sum, other: Sum) -> float:
    if one.whole is None and other.whole is None:
        (up, down), (other_up, other_down) = _pair(one), _pair(other)
        return float(((up.T @ other_up) * (down @ other_down.T)).sum())
    return float((_dense(one) * _dense(other)).sum())


def _pair(found: Sum) -> Pair:
    up = torch.cat([pair.up for pair in found.pairs], 1).double()
    return up, torch.cat([pair.down_for(found.shape).flatten(1) for pair in found.pairs]).double()


def _dense(found: Sum) -> Tensor:
    whole = torch.zeros(found.shape, dtype=torch.float64).flatten(1 if len(found.shape) > 1 else 0)
    if found.whole is not None:
        whole = whole + found.whole.double().reshape(whole.shape)
    return whole + torch.matmul(*_pair(found)) if found.pairs else whole


def _same_factors(one: Sequence[Use], other: Sequence[Use]) -> bool:
    """Whether both sides are the same factors under the same rules, whatever they make of a weight."""
    if len(one) != 1 or len(other) != 1 or one[0].seat != other[0].seat:
        return False
    first, second = one[0], other[0]
    if first.module.facts != second.module.facts or first.module.algorithm != second.module.algorithm:
        return False
    here, there = first.source.factors(first.module), second.source.factors(second.module)
    return here.keys() == there.keys() and all(_equal(here[leaf], there[leaf]) for leaf in here)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether these are the same numbers, in whatever formats."""
    return one.shape == other.shape and torch.equal(one.double(), other.double())


def _listed(title: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = [f"    and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return [f"  {title} ({len(names)})", *(f"    {name}" for name in names[:SHOWN]), *more]


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
