"""Samples of the algorithms that do not look at the weight, one for each way to store and to use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from tests.contract.algorithm_samples.formulas import (
    of_adalora,
    of_embedding,
    of_first,
    of_loha,
    of_lokr,
    of_lora,
    of_new_weight,
    of_sparse,
    of_transposed,
    of_tucker,
    of_up_bias,
    stored,
)
from tests.contract.algorithm_samples.sample import Formula, Sample
from torch import nn

from sakuga.lora.algorithms import Facts, Shape

Layer = Callable[[], nn.Module]


def _of(formula: Formula) -> Callable[..., Sample]:
    def made(layer: Layer, x: Shape, facts: Facts | float | None = None, **factors: Shape) -> Sample:
        known = facts if isinstance(facts, Facts) else Facts(alpha=facts)
        return Sample(layer=layer, x=x, factors=factors, formula=formula, facts=known)

    return made


def _linear() -> nn.Module:
    return nn.Linear(6, 5)


def _even() -> nn.Module:
    return nn.Linear(6, 8)


def _conv(kernel: int = 3, **options: int) -> Layer:
    return lambda: nn.Conv2d(4, 6, kernel, **options)


lora, tucker, loha, lokr = _of(of_lora), _of(of_tucker), _of(of_loha), _of(of_lokr)
PICTURE = (2, 4, 5, 7)
INPAINTING = "into an inpainting model"
WIDE: tuple[Layer, Shape] = (lambda: nn.Conv2d(9, 6, 3, padding=1), (2, 9, 5, 5))
FLAT = {"hada_w1_a": (6, 2), "hada_w1_b": (2, 36), "hada_w2_a": (6, 2), "hada_w2_b": (2, 36)}
CORE = {"hada_w1_a": (2, 6), "hada_w1_b": (3, 4), "hada_w2_a": (2, 6), "hada_w2_b": (3, 4)}
PEFT = Facts(alpha=8.0, dialect="peft", options={"r": 2})

ADDITIVE: Mapping[str, Mapping[str, Sample]] = {
    "LoRA": {
        "linear": lora(_linear, (2, 3, 6), 2.0, up=(5, 4), down=(4, 6)),
        "linear, no alpha": lora(lambda: nn.Linear(6, 5, bias=False), (2, 6), up=(5, 2), down=(2, 6)),
        "linear, conv factors": lora(_linear, (2, 6), 1.0, up=(5, 2, 1, 1), down=(2, 6, 1, 1)),
        "negative alpha": lora(_linear, (2, 6), -3.0, up=(5, 2), down=(2, 6)),
        "its own scale": lora(_linear, (2, 6), Facts(alpha=9.0, options={"scale": 0.3}), up=(5, 2), down=(2, 6)),
        "scalar": lora(_linear, (2, 6), Facts(alpha=1.0, options={"scalar": 0.7}), up=(5, 2), down=(2, 6)),
        "scalar, no alpha": lora(_linear, (2, 6), Facts(options={"scalar": 0.7}), up=(5, 2), down=(2, 6)),
        "two ups for one down": lora(_linear, (2, 6), 1.0, up=(5, 4), down=(2, 6)),
        "rank above a side": lora(lambda: nn.Linear(3, 5), (2, 3), 1.0, up=(5, 4), down=(4, 3)),
        "1x1": lora(_conv(1), PICTURE, 2.0, up=(6, 2, 1, 1), down=(2, 4, 1, 1)),
        "1x1, linear factors": lora(_conv(1), PICTURE, 2.0, up=(6, 2), down=(2, 4)),
        "3x3": lora(_conv(padding=1), PICTURE, 1.0, up=(6, 3, 1, 1), down=(3, 4, 3, 3)),
        "3x3, stride": lora(_conv(stride=2, padding=1), (1, 4, 8, 8), 1.0, up=(6, 3, 1, 1), down=(3, 4, 3, 3)),
        "3x3, one picture": lora(_conv(), (4, 5, 7), 1.0, up=(6, 3, 1, 1), down=(3, 4, 3, 3)),
        "dilation, 'same'": lora(
            lambda: nn.Conv2d(4, 6, 3, padding="same", dilation=2), PICTURE, 1.0, up=(6, 2, 1, 1), down=(2, 4, 3, 3)
        ),
        "circular": lora(
            lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), PICTURE, 1.0, up=(6, 2), down=(2, 4, 3, 3)
        ),
        "1x3": lora(lambda: nn.Conv2d(4, 6, (1, 3)), PICTURE, 1.0, up=(6, 2, 1, 1), down=(2, 4, 1, 3)),
        "groups": lora(_conv(groups=2), PICTURE, 1.0, up=(6, 2, 1, 1), down=(2, 2, 3, 3)),
        "conv1d": lora(lambda: nn.Conv1d(4, 6, 3), (2, 4, 9), 1.0, up=(6, 2, 1), down=(2, 4, 3)),
        "conv3d": lora(
            lambda: nn.Conv3d(4, 6, 3, padding=1), (1, 4, 3, 4, 4), 1.0, up=(6, 2, 1, 1, 1), down=(2, 4, 3, 3, 3)
        ),
        INPAINTING: _of(of_first(4, of_lora))(*WIDE, 1.0, up=(6, 2, 1, 1), down=(2, 4, 3, 3)),
        "thin layer, high rank": lora(lambda: nn.Linear(40, 4), (2, 40), 16.0, up=(4, 32), down=(32, 40)),
        "weight stored as [in, out]": Sample(
            layer=_linear,
            x=(2, 6),
            factors={"up": (6, 2), "down": (2, 5)},
            formula=of_transposed,
            facts=Facts(alpha=3.0, dialect="peft", options={"fan_in_fan_out": True}),
        ),
        "embedding": Sample(
            layer=lambda: nn.Embedding(9, 6),
            x=(2, 7),
            factors={"up": (9, 2), "down": (2, 6)},
            formula=of_lora,
            vocabulary=9,
        ),
    },
    "LoCon with a Tucker core": {
        "3x3": tucker(_conv(padding=1), PICTURE, 2.0, up=(6, 3, 1, 1), mid=(3, 3, 3, 3), down=(3, 4, 1, 1)),
        "uneven core": tucker(
            _conv(stride=2, padding=1), PICTURE, 1.0, up=(6, 2, 1, 1), mid=(2, 3, 3, 3), down=(3, 4, 1, 1)
        ),
        "circular, no alpha": tucker(
            lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
            PICTURE,
            up=(6, 2),
            mid=(2, 3, 3, 3),
            down=(3, 4),
        ),
        "1x3, one picture": tucker(
            lambda: nn.Conv2d(4, 6, (1, 3)), (4, 5, 7), up=(6, 2), mid=(2, 2, 1, 3), down=(2, 4)
        ),
        INPAINTING: _of(of_first(4, of_tucker))(*WIDE, up=(6, 3, 1, 1), mid=(3, 3, 3, 3), down=(3, 4, 1, 1)),
        "groups": tucker(_conv(groups=2), PICTURE, 1.0, up=(6, 2, 1, 1), mid=(2, 2, 3, 3), down=(2, 2, 1, 1)),
        "conv1d": tucker(lambda: nn.Conv1d(4, 6, 3), (2, 4, 9), 1.0, up=(6, 2, 1), mid=(2, 2, 3), down=(2, 4, 1)),
        "conv3d": tucker(
            lambda: nn.Conv3d(4, 6, 3),
            (1, 4, 4, 4, 4),
            1.0,
            up=(6, 2, 1, 1, 1),
            mid=(2, 3, 3, 3, 3),
            down=(3, 4, 1, 1, 1),
        ),
    },
    "LoHa": {
        "linear": loha(_linear, (2, 6), 1.0, hada_w1_a=(5, 2), hada_w1_b=(2, 6), hada_w2_a=(5, 2), hada_w2_b=(2, 6)),
        "linear, thin": loha(
            lambda: nn.Linear(24, 20),
            (2, 24),
            2.0,
            hada_w1_a=(20, 2),
            hada_w1_b=(2, 24),
            hada_w2_a=(20, 2),
            hada_w2_b=(2, 24),
        ),
        "uneven ranks": loha(
            _linear, (2, 6), 1.0, hada_w1_a=(5, 2), hada_w1_b=(2, 6), hada_w2_a=(5, 3), hada_w2_b=(3, 6)
        ),
        "3x3 flat": loha(_conv(padding=1), PICTURE, Facts(alpha=1.0, options={"scalar": 0.5}), **FLAT),
        "3x3 flat, thin": loha(
            lambda: nn.Conv2d(4, 16, 3, stride=2, padding=1),
            PICTURE,
            1.0,
            hada_w1_a=(16, 2),
            hada_w1_b=(2, 36),
            hada_w2_a=(16, 2),
            hada_w2_b=(2, 36),
        ),
        INPAINTING: _of(of_first(4, of_loha))(*WIDE, 1.0, **FLAT),
        "3x3 core": loha(_conv(padding=1), PICTURE, 2.0, hada_t1=(2, 3, 3, 3), hada_t2=(2, 3, 3, 3), **CORE),
        "conv1d core": loha(lambda: nn.Conv1d(4, 6, 3), (2, 4, 9), 2.0, hada_t1=(2, 3, 3), hada_t2=(2, 3, 3), **CORE),
    },
    "LoKr": {
        "whole, alpha means nothing": lokr(_even, (2, 3, 6), 1e5, lokr_w1=(2, 2), lokr_w2=(4, 3)),
        "whole, its own scale": lokr(
            _even, (2, 6), Facts(alpha=9.0, options={"scale": 0.3}), lokr_w1=(2, 2), lokr_w2=(4, 3)
        ),
        INPAINTING: _of(of_first(4, of_lokr))(*WIDE, lokr_w1=(2, 2), lokr_w2=(3, 2, 3, 3)),
        "second a pair": lokr(_even, (2, 6), 1.0, lokr_w1=(2, 2), lokr_w2_a=(4, 2), lokr_w2_b=(2, 3)),
        "first a pair": lokr(_even, (2, 6), 1.0, lokr_w1_a=(2, 2), lokr_w1_b=(2, 2), lokr_w2=(4, 3)),
        "both pairs, uneven ranks": lokr(
            _even, (2, 6), 1.0, lokr_w1_a=(2, 1), lokr_w1_b=(1, 2), lokr_w2_a=(4, 2), lokr_w2_b=(2, 3)
        ),
        "rank 1": lokr(_even, (2, 6), 4.0, lokr_w1=(2, 2), lokr_w2_a=(4, 1), lokr_w2_b=(1, 3)),
        "first the larger": lokr(_even, (2, 6), None, lokr_w1=(4, 3), lokr_w2=(2, 2)),
        "3x3 whole": lokr(_conv(padding=1), PICTURE, 1.0, lokr_w1=(2, 2), lokr_w2=(3, 2, 3, 3)),
        "3x3 flat": lokr(_conv(stride=2), PICTURE, 1.0, lokr_w1=(2, 2), lokr_w2_a=(3, 2), lokr_w2_b=(2, 18)),
        "3x3, kernel in the pair": lokr(
            _conv(), (4, 5, 7), 1.0, lokr_w1=(2, 2), lokr_w2_a=(3, 2), lokr_w2_b=(2, 2, 3, 3)
        ),
        "3x3 core": lokr(
            _conv(padding=1),
            PICTURE,
            1.0,
            lokr_w1_a=(2, 1),
            lokr_w1_b=(1, 2),
            lokr_t2=(2, 2, 3, 3),
            lokr_w2_a=(2, 3),
            lokr_w2_b=(2, 2),
        ),
        "1x1, linear factors": lokr(_conv(1), PICTURE, 1.0, lokr_w1=(2, 2), lokr_w2=(3, 2)),
        "linear, conv factors": lokr(_even, (2, 6), 1.0, lokr_w1=(2, 2), lokr_w2=(4, 3, 1, 1)),
        "groups": lokr(_conv(groups=2), PICTURE, 1.0, lokr_w1=(2, 1), lokr_w2=(3, 2, 3, 3)),
        "conv1d": lokr(lambda: nn.Conv1d(4, 6, 3), (2, 4, 9), 1.0, lokr_w1=(2, 2), lokr_w2=(3, 2, 3)),
        "conv3d": lokr(lambda: nn.Conv3d(4, 6, 3), (1, 4, 4, 4, 4), 1.0, lokr_w1=(2, 2), lokr_w2=(3, 2, 3, 3, 3)),
        "PEFT, whole": lokr(_even, (2, 6), PEFT, lokr_w1=(2, 2), lokr_w2=(4, 3)),
        "PEFT, a pair": lokr(_even, (2, 6), PEFT, lokr_w1=(2, 2), lokr_w2_a=(4, 2), lokr_w2_b=(2, 3)),
    },
    "AdaLoRA": {
        "linear": _of(of_adalora)(
            _linear, (2, 6), Facts(alpha=3.0, options={"ranknum": 6}), up=(5, 4), down=(4, 6), lora_E=(4, 1)
        ),
    },
    "LoRA of an embedding table": {
        "embedding": Sample(
            layer=lambda: nn.Embedding(9, 6),
            x=(2, 7),
            factors={"lora_embedding_A": (3, 9), "lora_embedding_B": (6, 3)},
            formula=of_embedding,
            facts=Facts(alpha=2.0),
            vocabulary=9,
        ),
    },
    "sparse residual": {
        name: Sample(
            layer=layer,
            x=x,
            factors={"bias_values": (4,)},
            fixed={
                "bias_indices": torch.tensor([[0, 5, 1, 0], [3, 0, 2, 3]], dtype=torch.int16),
                "bias_size": torch.tensor([6, columns], dtype=torch.int16),
            },
            formula=of_sparse,
        )
        for name, layer, x, columns in (
            ("linear", lambda: nn.Linear(4, 6), (2, 4), 4),
            ("3x3", _conv(padding=1), PICTURE, 36),
        )
    },
    "Full (difference of weights)": {
        "linear": _of(stored("diff"))(_linear, (2, 6), 7.0, diff=(5, 6)),
        "3x3": _of(stored("diff"))(_conv(padding=1), PICTURE, diff=(6, 4, 3, 3)),
        INPAINTING: _of(of_first(4, stored("diff")))(*WIDE, diff=(6, 4, 3, 3)),
        "1x1, linear": _of(stored("diff"))(_conv(1), PICTURE, diff=(6, 4)),
        "norm": _of(stored("diff"))(lambda: nn.LayerNorm(6), (2, 3, 6), diff=(6,)),
        "embedding": Sample(
            layer=lambda: nn.Embedding(9, 6), x=(7,), factors={"diff": (9, 6)}, formula=stored("diff"), vocabulary=9
        ),
    },
    "Norm (difference of norms)": {
        "group": _of(stored("w_norm"))(lambda: nn.GroupNorm(3, 6), (2, 6, 4, 4), w_norm=(6,)),
        "layer": _of(stored("w_norm"))(lambda: nn.LayerNorm(6), (2, 3, 6), w_norm=(6,)),
        "rms": _of(stored("w_norm"))(lambda: nn.RMSNorm(6), (2, 3, 6), w_norm=(6,)),
    },
    "difference of biases": {
        "linear": _of(stored("diff_b"))(_linear, (2, 6), diff_b=(5,)),
        "3x3": _of(stored("diff_b"))(_conv(stride=2), PICTURE, diff_b=(6,)),
        "one picture": _of(stored("diff_b"))(_conv(), (4, 5, 7), diff_b=(6,)),
        "group": _of(stored("b_norm"))(lambda: nn.GroupNorm(3, 6), (2, 6, 4, 4), b_norm=(6,)),
        "layer": _of(stored("b_norm"))(lambda: nn.LayerNorm(6), (2, 3, 6), b_norm=(6,)),
    },
    "bias of a LoRA": {
        "linear": Sample(
            layer=_linear,
            x=(2, 6),
            factors={"up_bias": (5,)},
            # of these the shapes are all that is looked at
            fixed={"up": torch.zeros(5, 4, dtype=torch.int8), "down": torch.zeros(4, 6, dtype=torch.int8)},
            formula=of_up_bias,
            facts=Facts(alpha=3.0),
        ),
    },
    "replacement of weights": {
        "linear": _of(of_new_weight)(_linear, (2, 6), set_weight=(5, 6)),
        "3x3": _of(of_new_weight)(_conv(padding=1), PICTURE, set_weight=(6, 4, 3, 3)),
        "norm": _of(of_new_weight)(lambda: nn.LayerNorm(6), (2, 3, 6), set_weight=(6,)),
    },
    "replacement of biases": {
        "linear": _of(of_new_weight)(_linear, (2, 6), set_bias=(5,)),
        "3x3": _of(of_new_weight)(_conv(stride=2), PICTURE, set_bias=(6,)),
        "layer": _of(of_new_weight)(lambda: nn.LayerNorm(6), (2, 3, 6), set_bias=(6,)),
    },
}
