"""Samples of the algorithms that look at the weight, with their formulas as whole matrices in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from tests.contract.algorithm_samples.additive import ADDITIVE
from tests.contract.algorithm_samples.base_formulas import (
    cayley,
    of_boft,
    of_dora,
    of_glora,
    of_ia3,
    of_ia3_bias,
    of_oft,
    of_oft_slices,
    of_old_peft_oft,
    of_peft_boft,
    of_rotations,
    of_rotations_apart,
    of_tlora,
    of_triangle,
    skews,
)
from tests.contract.algorithm_samples.sample import Formula, Sample
from torch import Tensor, nn

from sakuga.lora.algorithms import NO_FACTS, Facts, Shape

Layer = Callable[[], nn.Module]
PICTURE = (2, 4, 5, 7)


def _linear() -> nn.Module:
    return nn.Linear(6, 8)


def _square() -> nn.Module:
    return nn.Linear(6, 6)


def _conv(kernel: int = 3, **options: int) -> Layer:
    return lambda: nn.Conv2d(4, 6, kernel, **options)


def _decomposed(sample: Sample, leaf: str, lengths: Shape, axis: int = 0) -> Sample:
    factors = {**sample.factors, leaf: lengths}
    return replace(sample, factors=factors, formula=of_dora(sample.formula, leaf, axis))


def _doras(kind: str, *names: str) -> dict[str, Sample]:
    """Samples of an additive algorithm, each with lengths of rows and of columns in LyCORIS' spelling."""
    found = {}
    for name in names:
        sample = ADDITIVE[kind][name]
        weight = sample.layer().weight
        assert isinstance(weight, Tensor)
        ones = [1] * (weight.ndim - 2)
        found[f"{name}, rows"] = _decomposed(sample, "dora_scale", (len(weight), 1, *ones))
        found[f"{name}, columns"] = _decomposed(sample, "dora_scale", (1, weight.shape[1], *ones), 1)
    return found


def _of(formula: Formula, side: str = "rows", spread: float = 0.5) -> Callable[..., Sample]:
    def made(layer: Layer, x: Shape, facts: Facts | float | None = None, **factors: Shape) -> Sample:
        known = facts if isinstance(facts, Facts) else Facts(alpha=facts)
        return Sample(layer=layer, x=x, factors=factors, formula=formula, facts=known, spread=spread, side=side)  # type: ignore[arg-type]

    return made


def _fixed(sample: Sample, **fixed: Tensor) -> Sample:
    return replace(sample, fixed=fixed)


def peft(**options: float | bool) -> Facts:
    """Facts of a file of PEFT's, with fields of its config."""
    return Facts(dialect="peft", options=options)


oft, triangle, boft, ia3 = _of(of_oft), _of(of_triangle, "columns"), _of(of_boft), _of(of_ia3)
tlora = _of(of_tlora, "both")
glora, old_glora = _of(of_glora(False), "both"), _of(of_glora(True), "both")
KOHYA = Facts(alpha=0.02, dialect="kohya")
LOOSE = Facts(alpha=0.9, dialect="kohya")
SLICES = {"oft_blocks.0": (2, 2, 2), "oft_blocks.1": (1, 2, 2), "oft_blocks.2": (1, 2, 2)}
ROTATIONS = torch.stack([cayley(skew) for skew in skews(torch.linspace(-1, 1, 32).double().reshape(2, 4, 4))])
PAIR = {"up": (6, 2), "down": (2, 6)}
SQUARE = replace(ADDITIVE["LoRA"]["linear"], layer=_square, factors=PAIR)
THREE = ADDITIVE["LoRA"]["3x3"]

MULTIPLICATIVE: Mapping[str, Mapping[str, Sample]] = {
    "DoRA": {
        **_doras("LoRA", "linear", "linear, no alpha", "1x1", "3x3", "3x3, stride", "groups", "conv1d"),
        "square, rows": _decomposed(SQUARE, "dora_scale", (6, 1)),
        "square, columns": _decomposed(SQUARE, "dora_scale", (1, 6), 1),
        "square, one number for each": _decomposed(SQUARE, "dora_scale", (6,)),
        "square, PEFT": _decomposed(SQUARE, "magnitude", (6,)),
        "PEFT, 3x3": _decomposed(THREE, "magnitude", (1, 6, 1, 1)),
        "alpha is 0": _decomposed(replace(SQUARE, facts=NO_FACTS), "magnitude", (6,)),
    },
    "DoRA with a Tucker core": _doras("LoCon with a Tucker core", "3x3"),
    "DoHa": _doras("LoHa", "linear", "3x3 core"),
    "DoKr": _doras("LoKr", "second a pair", "3x3 flat", "PEFT, whole"),
    "DoRA (Full)": _doras("Full (difference of weights)", "linear", "3x3"),
    "IA3": {
        "rows": ia3(_linear, (2, 6), Facts(options={"on_input": 0.0}), weight=(8,)),
        "3x3, rows": ia3(_conv(padding=1), PICTURE, Facts(options={"on_input": 0.0}), weight=(1, 6, 1, 1)),
        "columns": _of(of_ia3, "columns")(_linear, (2, 6), Facts(options={"on_input": 1.0}), weight=(6,)),
        "3x3, columns": _of(of_ia3, "columns")(
            _conv(stride=2, padding=1), PICTURE, Facts(options={"on_input": 1.0}), weight=(1, 4, 1, 1)
        ),
        "PEFT, rows": ia3(_square, (2, 6), ia3_l=(6, 1)),
        "PEFT, columns": _of(of_ia3, "columns")(_square, (2, 6), ia3_l=(1, 6)),
        "PEFT, 3x3": _of(of_ia3, "neither")(_conv(), PICTURE, ia3_l=(1, 6, 1, 1)),
        "PEFT, 3x3, columns": _of(of_ia3, "columns")(_conv(), PICTURE, peft(feedforward=True), ia3_l=(1, 4, 1, 1)),
    },
    "IA3 of the bias": {
        "linear": _of(of_ia3_bias, "both")(_linear, (2, 6), ia3_l=(8, 1)),
        "3x3": _of(of_ia3_bias, "both")(_conv(), PICTURE, peft(feedforward=False), ia3_l=(1, 6, 1, 1)),
    },
    "OFT": {
        "LyCORIS": oft(_linear, (2, 3, 6), oft_blocks=(2, 4, 4)),
        "LyCORIS, alpha 0 is no limit": oft(_linear, (2, 6), 0.0, oft_blocks=(2, 4, 4)),
        "LyCORIS, limit": oft(_linear, (2, 6), 0.05, oft_blocks=(4, 2, 2)),
        "LyCORIS, rescale, 3x3": oft(_conv(padding=1), PICTURE, 0.1, oft_blocks=(2, 3, 3), rescale=(6, 1, 1, 1)),
        "kohya": oft(_linear, (2, 6), KOHYA, oft_blocks=(2, 4, 4)),
        "kohya, 3x3": oft(_conv(stride=2), PICTURE, KOHYA, oft_blocks=(3, 2, 2)),
        "old rotations": _fixed(_of(of_rotations)(_linear, (2, 6), rescale=(8, 1)), oft_diag=ROTATIONS.float()),
        "old, without the identity": _fixed(
            _of(of_rotations_apart)(_linear, (2, 6)), oft_diag=(ROTATIONS - torch.eye(4)).float()
        ),
        "PEFT 0.13": _of(of_old_peft_oft, "neither")(_linear, (2, 6), oft_r=(2, 4, 4)),
        "PEFT 0.13, overhang": _of(of_old_peft_oft, "neither")(_square, (2, 6), oft_r=(4, 2, 2)),
        "PEFT 0.14": _of(of_old_peft_oft, "both")(_linear, (2, 6), oft_r=(3, 2, 2), oft_s=(8, 1)),
        "PEFT 0.14, 3x3": _of(of_old_peft_oft, "both")(_conv(padding=1), PICTURE, oft_r=(12, 3, 3), oft_s=(1, 6)),
        "PEFT": triangle(_linear, (2, 3, 6), peft(), oft_R=(2, 3)),
        "PEFT, three terms": triangle(_linear, (2, 6), peft(num_cayley_neumann_terms=3), oft_R=(2, 3)),
        "PEFT, seven terms": triangle(_linear, (2, 6), peft(num_cayley_neumann_terms=7), oft_R=(2, 3)),
        "PEFT, exact": triangle(_square, (2, 6), peft(use_cayley_neumann=False), oft_R=(2, 3)),
        "PEFT, one block for all": triangle(_linear, (2, 6), peft(), oft_R=(1, 3)),
        "PEFT, bounded": triangle(_linear, (2, 6), peft(coft=True, eps=0.2), oft_R=(2, 3)),
        "PEFT, 1x1": triangle(_conv(1), PICTURE, peft(), oft_R=(2, 1)),
        "OneTrainer": triangle(_linear, (2, 6), Facts(options={"scaled_oft": 1.0}), oft_R=(2, 3)),
        "OneTrainer, 3x3": triangle(_conv(padding=1), PICTURE, Facts(options={"scaled_oft": 1.0}), oft_R=(12, 3)),
        "OneTrainer, 1x1": triangle(_conv(1), PICTURE, oft_R=(1, 6)),
        "kohya, slices": Sample(
            layer=_linear, x=(2, 6), factors=SLICES, formula=of_oft_slices, facts=LOOSE, spread=0.5, side="rows"
        ),
    },
    "BOFT": {
        "two stages": boft(_linear, (2, 3, 6), oft_blocks=(2, 4, 2, 2)),
        "three stages, rescale": boft(_linear, (2, 6), oft_blocks=(3, 4, 2, 2), rescale=(8, 1)),
        "limit, 3x3": boft(
            lambda: nn.Conv2d(4, 8, 3, padding=1), PICTURE, 0.1, oft_blocks=(2, 2, 4, 4), rescale=(8, 1, 1, 1)
        ),
        "old": _fixed(boft(_linear, (2, 6)), oft_diag=torch.stack([ROTATIONS, ROTATIONS.mT]).float()),
        "PEFT": _of(of_peft_boft, "both")(_linear, (2, 6), boft_R=(1, 2, 3, 3), boft_s=(8, 1)),
        "PEFT, 3x3": _of(of_peft_boft, "both")(_conv(), PICTURE, boft_R=(1, 9, 4, 4), boft_s=(1, 6)),
    },
    "GLoRA": {
        "new": glora(_linear, (2, 3, 6), 1.0, a1=(6, 2), a2=(2, 6), b1=(8, 2), b2=(2, 6)),
        "new, square weight": glora(_square, (2, 6), 1.0, a1=(6, 2), a2=(2, 6), b1=(6, 2), b2=(2, 6)),
        "new, all square": glora(_square, (2, 6), a1=(6, 6), a2=(6, 6), b1=(6, 6), b2=(6, 6)),
        "new, 3x3": glora(
            _conv(padding=1), PICTURE, 1.0, a1=(4, 2, 1, 1), a2=(2, 4, 1, 1), b1=(6, 2, 1, 1), b2=(2, 4, 3, 3)
        ),
        "new, groups": glora(_conv(groups=2), PICTURE, 1.0, a1=(2, 1), a2=(1, 2), b1=(6, 1), b2=(1, 2, 3, 3)),
        "old": old_glora(_linear, (2, 6), 1.0, a1=(2, 6), a2=(6, 2), b1=(2, 6), b2=(8, 2)),
        "old, square weight": old_glora(_square, (2, 6), 1.0, a1=(2, 6), a2=(6, 2), b1=(2, 6), b2=(6, 2)),
    },
    "T-LoRA": {
        "linear": _of(of_tlora, "both")(_linear, (2, 6), 1.0, q_layer=(2, 6), p_layer=(8, 2), lambda_layer=(1, 2)),
        "1x1": _of(of_tlora, "both")(
            _conv(1), PICTURE, q_layer=(2, 4, 1, 1), p_layer=(6, 2, 1, 1), lambda_layer=(1, 2)
        ),
    },
}
