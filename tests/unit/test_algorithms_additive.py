"""What the additive algorithms refuse and remark on, from shapes alone, and which leaves choose which of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import ALGORITHMS, Algorithm, Facts, Kind, Shape, choose
from sakuga.lora.algorithms.columns import fitted
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.algorithms.sparse import Sparse

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in ALGORITHMS}
LOHA = {"hada_w1_a": (6, 2), "hada_w1_b": (2, 8), "hada_w2_a": (6, 2), "hada_w2_b": (2, 8)}
CORE = {"hada_w1_a": (2, 6), "hada_w1_b": (3, 8), "hada_w2_a": (2, 6), "hada_w2_b": (3, 8)}


def _meta(name: str, shapes: Mapping[str, Shape], facts: Facts | None = None) -> Algorithm:
    """A record as a file's header gives it."""
    tensors = {leaf: torch.empty(shape, device="meta") for leaf, shape in shapes.items()}
    return KINDS[name].read(tensors, facts or Facts())


@pytest.mark.parametrize("alpha", [0.0, -0.0])
def test_lora_with_alpha_zero_changes_nothing(alpha: float) -> None:
    record = Lora(up=torch.randn(5, 2), down=torch.randn(2, 6), alpha=alpha)
    layer, x = nn.Linear(6, 5), torch.randn(3, 6)
    assert not record.delta(layer.weight).any()
    assert not record.beside(x, layer).any()


@pytest.mark.parametrize(
    ("name", "shapes", "said"),
    [
        ("LoRA", {"up": (5, 3), "down": (2, 6)}, "ranks do not meet"),
        ("LoRA", {"up": (5, 2, 3, 3), "down": (2, 6, 1, 1)}, "not the two factors"),
        ("LoRA", {"up": (5,), "down": (2, 6)}, "not the two factors"),
        ("LoRA", {"up": (5, 2), "down": ()}, "not the two factors"),
        ("LoRA", {"up": (5, 0), "down": (0, 6)}, "not the two factors"),
        ("LoRA", {"up": (5, 21), "down": (21, 6)}, "more than 4 times the smaller side"),
        ("LoRA", {"up": (9000, 1 << 40), "down": (1 << 40, 9000)}, "more than 4 times the smaller side"),
        ("LoCon with a Tucker core", {"up": (5, 2), "mid": (3, 2, 3, 3), "down": (2, 6)}, "ranks do not meet"),
        ("LoCon with a Tucker core", {"up": (5, 2), "mid": (2, 3, 3, 3), "down": (2, 6)}, "ranks do not meet"),
        ("LoCon with a Tucker core", {"up": (5, 2), "mid": (2, 2), "down": (2, 6)}, "are not a LoCon"),
        ("LoCon with a Tucker core", {"up": (5, 900), "mid": (900, 2, 3, 3), "down": (2, 6)}, "more than 4 times"),
        ("LoHa", LOHA | {"hada_w1_a": (6, 3)}, "ranks do not meet"),
        ("LoHa", LOHA | {"hada_w2_a": (7, 2)}, "halves are"),
        ("LoHa", LOHA | {"hada_w2_b": (2, 9)}, "halves are"),
        ("LoHa", LOHA | {"hada_w2_a": (6, 99), "hada_w2_b": (99, 8)}, "more than 4 times"),
        ("LoHa", LOHA | {"hada_t1": (2, 2, 3, 3)}, "halves are|ranks do not meet"),
        ("LoHa", CORE | {"hada_t1": (2, 3, 3, 3), "hada_t2": (3, 2, 3, 3)}, "ranks do not meet"),
        ("LoHa", CORE | {"hada_t1": (2, 3, 3, 3), "hada_t2": (2, 3, 5, 5)}, "halves are"),
        ("LoHa", CORE | {"hada_t1": (2, 3), "hada_t2": (2, 3)}, "not a half"),
        ("LoKr", {"lokr_w1": (2, 2), "lokr_w2_a": (4, 3), "lokr_w2_b": (2, 3)}, "ranks do not meet"),
        ("LoKr", {"lokr_w1": (2, 2), "lokr_w2": (4, 3), "lokr_t2": (2, 2, 3, 3)}, "stored whole and as a pair"),
        ("LoKr", {"lokr_w1": (2, 2, 3, 3), "lokr_w2": (4, 3)}, "first factor of a LoKr has a kernel"),
        ("LoKr", {"lokr_w1": (2,), "lokr_w2": (4, 3)}, "not a factor"),
        ("LoKr", {"lokr_w1": (2, 2), "lokr_w2_a": (4, 1 << 40), "lokr_w2_b": (1 << 40, 3)}, "more than 4 times"),
        (
            "LoKr",
            {"lokr_w1": (2, 2), "lokr_w2_a": (2, 4), "lokr_w2_b": (2, 3), "lokr_t2": (2, 3, 3, 3)},
            "ranks do not meet",
        ),
        ("LoRA of an embedding table", {"lora_embedding_A": (2, 9), "lora_embedding_B": (6, 3)}, "ranks do not meet"),
        ("LoRA of an embedding table", {"lora_embedding_A": (9,), "lora_embedding_B": (6, 3)}, "two factors"),
        ("AdaLoRA", {"up": (5, 2), "down": (2, 6), "lora_E": (3, 1)}, "numbers for each rank"),
        ("sparse residual", {"bias_indices": (3, 4), "bias_values": (4,), "bias_size": (2,)}, "not a sparse residual"),
        ("sparse residual", {"bias_indices": (2, 4), "bias_values": (5,), "bias_size": (2,)}, "not a sparse residual"),
        ("difference of biases", {"diff_b": (5, 1)}, "not one number for an output"),
        ("Full (difference of weights)", {"diff": ()}, "its difference is"),
        ("replacement of weights", {"set_weight": (0, 4)}, "its new weight is"),
    ],
)
def test_factors_that_do_not_belong_together_are_refused_by_their_shapes(
    name: str, shapes: Mapping[str, Shape], said: str
) -> None:
    with pytest.raises(AdapterDoesNotFit, match=said):
        _meta(name, shapes)


@pytest.mark.parametrize("alpha", [math.nan, -math.inf])
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("LoRA", {"up": (5, 2), "down": (2, 6)}),
        ("LoHa", LOHA),
        ("LoKr", {"lokr_w1": (2, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 3)}),
        ("LoCon with a Tucker core", {"up": (5, 2), "mid": (2, 2, 3, 3), "down": (2, 6)}),
    ],
)
def test_an_alpha_that_is_no_number_is_refused(name: str, shapes: Mapping[str, Shape], alpha: float) -> None:
    with pytest.raises(AdapterDoesNotFit, match=f"alpha is {alpha}"):
        _meta(name, shapes, Facts(alpha=alpha))


def test_lokr_fits_only_where_both_products_are_the_weight_s() -> None:
    record = _meta("LoKr", {"lokr_w1": (2, 3), "lokr_w2": (4, 5)})
    assert record.misfit((8, 15)) is None
    assert record.misfit((8, 5, 3))  # 15 columns, but five of them are no whole kernels
    assert record.misfit((8, 5, 3, 1))
    for wrong in ((15, 8), (6, 20), (120,), (8, 15, 3, 3)):
        assert record.misfit(wrong)
    flat = _meta("LoKr", {"lokr_w1": (2, 3), "lokr_w2_a": (4, 1), "lokr_w2_b": (1, 18)})
    assert flat.misfit((8, 6, 3, 3)) is None
    assert flat.misfit((8, 6, 3, 2))


def test_peft_s_lokr_without_the_rank_of_its_config_is_refused_where_the_tensors_do_not_tell_it() -> None:
    whole = {"lokr_w1": (2, 2), "lokr_w2": (4, 3)}
    with pytest.raises(AdapterDoesNotFit, match="the r of its config is not known"):
        _meta("LoKr", whole, Facts(alpha=8.0, dialect="peft"))
    assert _meta("LoKr", whole, Facts(dialect="peft")).remarks() == ()


def test_lora_remarks_on_what_is_legal_but_odd() -> None:
    def remarks(rank: int, alpha: float, count: int = 1) -> str:
        record = Lora(up=torch.zeros(5, rank * count), down=torch.zeros(rank, 6), alpha=alpha)
        return " ".join(record.remarks())

    assert remarks(4, 2.0) == ""
    assert "negative" in remarks(4, -2.0)
    assert "hardly meant" in remarks(4, 1e6)
    assert "above the smaller side" in remarks(6, 1.0)
    assert "3 factors for one down" in remarks(2, 1.0, count=3)


def test_lokr_with_an_alpha_of_zero_says_so_and_whole_factors_do_not_care() -> None:
    pair = {"lokr_w1": (2, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 3)}
    assert "without effect" in " ".join(_meta("LoKr", pair, Facts(alpha=0.0)).remarks())
    assert _meta("LoKr", {"lokr_w1": (2, 2), "lokr_w2": (4, 3)}, Facts(alpha=0.0)).remarks() == ()


@pytest.mark.parametrize("record", [Lora(up=torch.zeros(9, 2), down=torch.zeros(2, 6))])
def test_beside_a_layer_it_does_not_know_it_says_so(record: Algorithm) -> None:
    with pytest.raises(AdapterDoesNotFit, match="Bilinear"):
        record.beside(torch.zeros(3, 6), nn.Bilinear(3, 6, 9))


def test_places_of_a_sparse_residual_that_ran_over_int16_are_refused() -> None:
    size = torch.tensor([40000, 2]).to(torch.int16)
    places = torch.tensor([[39999, 1], [0, 1]]).to(torch.int16)
    assert Sparse(indices=places, values=torch.ones(2), size=size).misfit((40000, 2))
    outside = Sparse(indices=torch.tensor([[6], [0]]), values=torch.ones(1), size=torch.tensor([6, 4]))
    assert "outside" in str(outside.misfit((6, 4)))
    inside = Sparse(indices=torch.tensor([[5], [3]]), values=torch.ones(1), size=torch.tensor([6, 4]))
    assert (inside.misfit((6, 4)), inside.misfit((6, 2, 1, 2))) == (None, None)
    assert "as a matrix" in str(inside.misfit((6, 5)))


def test_the_first_channels_of_an_inpainting_model_are_those_of_the_plain_one() -> None:
    lora = Lora(up=torch.randn(6, 2), down=torch.randn(2, 4, 3, 3))
    record = fitted(lora, (6, 9, 3, 3))
    pair = record.factors()
    assert pair is not None
    assert torch.equal(pair.down[:, :4], lora.factors().down)
    assert not pair.down[:, 4:].any()
    assert record.remarks() == ("made for 4 inputs: the model's 5 more are left as they are",)
    assert fitted(lora, (6, 4, 3, 3)) is lora
    assert fitted(lora, (6, 8, 3, 3)).misfit((6, 8, 3, 3))
    wide = Lora(up=torch.randn(6, 2), down=torch.randn(2, 9, 3, 3))  # the other way round nothing fits
    assert fitted(wide, (6, 4, 3, 3)).misfit((6, 4, 3, 3))
    assert Lora(up=torch.randn(6, 2), down=torch.randn(2, 4)).factors().down_for((6, 4, 1, 1)).shape == (2, 4, 1, 1)


@pytest.mark.parametrize(
    ("leaves", "name", "reason"),
    [
        ({"up", "down"}, "LoRA", ""),
        ({"up", "down", "alpha", "scale", "scalar"}, "LoRA", ""),
        ({"up", "alpha"}, "LoRA", "LoRA without down"),
        ({"up", "mid"}, "LoCon with a Tucker core", "LoCon with a Tucker core without down"),
        ({"up", "down", "bias"}, "LoRA", "LoRA with bias, which it does not know"),
        ({"up", "down", "ranknum"}, "LoRA", "LoRA with ranknum, which it does not know"),
        ({"up", "down", "up_bias", "diff_b"}, "LoRA + difference of biases + bias of a LoRA", ""),
        ({"up", "down", "bias_indices", "bias_values", "bias_size"}, "LoRA + sparse residual", ""),
        ({"up", "down", "bias_size"}, "LoRA", "LoRA with bias_size, which it does not know"),
        ({"diff", "diff_b"}, "Full (difference of weights) + difference of biases", ""),
        ({"w_norm", "b_norm"}, "Norm (difference of norms) + difference of biases", ""),
        ({"hada_w1_a", "hada_w1_b", "hada_w2_a"}, "LoHa", "LoHa without hada_w2_b"),
        ({"lokr_w1", "lokr_w2_a"}, "LoKr", "LoKr without lokr_w2_b"),
        ({"lokr_w1", "lokr_w2", "lokr_t1"}, "LoKr", "LoKr with lokr_t1, which it does not know"),
        ({"up_bias"}, "bias of a LoRA", "bias of a LoRA without down"),
        ({"alpha"}, "", "no algorithm knows alpha"),
    ],
)
def test_leaves_choose_the_algorithm(leaves: set[str], name: str, reason: str) -> None:
    choice = choose(dict.fromkeys(leaves, (2, 2)))
    assert (choice.name, choice.reason) == (name, reason)
    assert bool(choice.parts) == (not reason)
    read = frozenset().union(*(part.leaves for part in choice.parts))
    assert not choice.parts or read | {"alpha", "scale", "scalar"} >= leaves
