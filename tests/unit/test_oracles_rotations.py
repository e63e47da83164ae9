"""OFT and BOFT in every dialect held against LyCORIS, PEFT and float64. The number in a test's name is its row of the
conformance matrix.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pytest
import torch
from tests.contract.algorithm_samples import base_formulas as formulas
from tests.unit.agreement import conv, filled, linear, records_of, relative, state_of
from tests.unit.agreement_base import held, peft_saved, peft_weights, point, square
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import Facts

os.environ.setdefault("LYCORIS_KERNEL_BACKEND", "torch")
peft = pytest.importorskip("peft")
pytest.importorskip("lycoris")
modules = pytest.importorskip("lycoris.modules")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.02, 5.0], ids=["no limit", "limit at work", "limit far off"])
@pytest.mark.parametrize("make", [linear, conv])
def test_row_17_diag_oft(make: type[nn.Module], alpha: float, rescaled: bool) -> None:
    layer = make()
    module = filled(modules.DiagOFTModule("x", layer, lora_dim=4, constraint=alpha, rescaled=rescaled))
    held(state_of(module), layer.weight, formulas.of_oft, module.get_merged_weight(1)[0])


def test_row_17_old_diag_oft_is_the_rotation_or_its_difference_from_one() -> None:
    layer = linear()
    rotations = torch.stack([formulas.cayley(skew) for skew in formulas.skews(torch.randn(4, 4, 4).double())]).float()
    held({"oft_diag": rotations}, layer.weight, formulas.of_rotations)
    held({"oft_diag": rotations - torch.eye(4)}, layer.weight, formulas.of_rotations_apart)
    (stretched,) = records_of({"oft_diag": torch.randn(4, 4, 4)})["weight"]
    assert "stretch" in stretched.remarks()[0]


@pytest.mark.parametrize("alpha", [0.0, 0.02, 0.9])
@pytest.mark.parametrize("make", [linear, conv])
def test_row_18_oft_of_kohya(make: type[nn.Module], alpha: float) -> None:
    layer = make()
    state = {"oft_blocks": torch.randn(4, len(layer.weight) // 4, len(layer.weight) // 4), "alpha": torch.tensor(alpha)}
    facts = Facts(dialect="kohya")
    if alpha:
        held(state, layer.weight, formulas.of_oft, facts=facts)
        return
    (identity,) = records_of(state, facts)["weight"]
    assert not identity.delta(layer.weight).any()
    assert "no rotation at all" in identity.remarks()[0]


def test_row_19_oft_of_kohya_on_flux_slices() -> None:
    layer = nn.Linear(8, 3 * 8 + 16)
    sizes, alpha = (8, 8, 8, 16), 0.02
    state = {f"oft_blocks.{index}": torch.randn(2, size // 2, size // 2) for index, size in enumerate(sizes)}
    pieces = []
    for index, rows in enumerate(layer.weight.detach().double().split(sizes)):
        q = state[f"oft_blocks.{index}"].double()
        q = q - q.mT
        norm = q.norm()
        q = q * (norm.clamp(max=alpha * sizes[index]) + 1e-8) / (norm + 1e-8)
        one = torch.eye(q.shape[-1]).double()
        rotation = (one + q) @ (one - q).inverse()
        pieces.append(torch.einsum("knm,knp->kmp", rotation, rows.reshape(2, -1, 8)).reshape(-1, 8))
    state["alpha"] = torch.tensor(alpha)
    record = held(state, layer.weight, formulas.of_oft_slices, torch.cat(pieces))
    split = record.rows(((8, 16), (0, 4)), 40).delta(torch.cat([layer.weight[8:16], layer.weight[:4]]))
    whole = record.delta(layer.weight)
    assert relative(split, torch.cat([whole[8:16], whole[:4]])) <= 1e-6
    with pytest.raises(AdapterDoesNotFit, match="across the parts"):
        record.rows(((0, 3),), 40)


OFT_OF_PEFT: Mapping[str, Mapping[str, object]] = {
    "series": {},
    "exact": {"use_cayley_neumann": False},
    "series of 3": {"num_cayley_neumann_terms": 3},
    "series of 8": {"num_cayley_neumann_terms": 8},
    "shared": {"block_share": True},
    "bounded": {"coft": True, "eps": 0.5},
}


@pytest.mark.parametrize("options", OFT_OF_PEFT.values(), ids=OFT_OF_PEFT)
@pytest.mark.parametrize("make", [linear, square, point])
def test_row_20_oft_of_peft(make: type[nn.Module], options: Mapping[str, object]) -> None:
    layer = make()
    weight = layer.weight.detach().clone()
    config = peft.OFTConfig(target_modules=["a"], oft_block_size=4, r=0, **{"use_cayley_neumann": True, **options})
    model, state = peft_saved(layer, config)
    fields = ("use_cayley_neumann", "num_cayley_neumann_terms", "coft", "eps", "block_share")
    facts = Facts(dialect="peft", options={name: getattr(config, name) for name in fields})
    held(state, weight, formulas.of_triangle, peft_weights(model).weight, facts=facts)


def test_row_20_oft_of_peft_without_a_config_is_its_default_and_says_so() -> None:
    model, state = peft_saved(linear(), peft.OFTConfig(target_modules=["a"], oft_block_size=4, r=0))
    (record,) = records_of(state, Facts(dialect="peft"))["weight"]
    weight = model.base_model.model["a"].base_layer.weight.detach()
    assert relative(record.delta(weight.float()), peft_weights(model).weight - weight) <= 2e-6
    assert "no config says which way" in record.remarks()[0]


def test_row_20_oft_of_peft_on_a_kernel_above_1_is_refused_as_no_weight_equals_it() -> None:
    model, state = peft_saved(nn.Conv2d(8, 12, 3), peft.OFTConfig(target_modules=["a"], oft_block_size=4, r=0))
    x = torch.randn(1, 8, 6, 6).double()
    merged = peft_weights(model)
    assert relative(merged(x), model.base_model.model["a"](x)) > 0.05  # PEFT disagrees with itself
    (record,) = records_of(state, Facts(dialect="peft"))["weight"]
    assert "which no change of the weight equals" in str(record.misfit((12, 8, 3, 3)))


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("make", [linear, point, conv])
def test_row_20_oft_of_onetrainer_turns_convolutions_the_other_way(make: type[nn.Module], scaled: bool) -> None:
    layer = make()
    count = layer.weight[0].numel() // 4
    state = {"oft_R.weight": 0.1 * torch.randn(count, 6)}
    facts = Facts(dialect="onetrainer", options={"scaled_oft": 1.0} if scaled else {})
    held(state, layer.weight, formulas.of_triangle, facts=facts)


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("make", [linear, lambda: nn.Conv2d(4, 16, 3)], ids=["linear", "conv"])
def test_row_21_boft_of_lycoris(make: type[nn.Module], alpha: float, rescaled: bool) -> None:
    layer = make()
    module = filled(modules.ButterflyOFTModule("x", layer, lora_dim=4, constraint=alpha, rescaled=rescaled))
    assert len(module.oft_blocks) >= 2
    held(state_of(module), layer.weight, formulas.of_boft, module.get_merged_weight(1)[0])


@pytest.mark.parametrize("make", [linear, square, conv])
def test_row_21_boft_of_peft(monkeypatch: pytest.MonkeyPatch, make: type[nn.Module]) -> None:
    monkeypatch.setattr("peft.tuners.boft.layer.get_fbd_cuda", lambda: None)  # without a compiler it takes one stage
    layer = make()
    weight = layer.weight.detach().clone()
    model, state = peft_saved(layer, peft.BOFTConfig(target_modules=["a"], boft_block_size=4))
    held(state, weight, formulas.of_peft_boft, peft_weights(model).weight)


def test_row_21_boft_of_peft_with_three_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blocks:  # what PEFT's CUDA extension computes
        @staticmethod
        def apply(stages: Tensor) -> Tensor:
            return torch.stack([torch.block_diag(*stage) for stage in stages])

    monkeypatch.setattr("peft.tuners.boft.layer.get_fbd_cuda", lambda: True)
    monkeypatch.setattr("peft.tuners.boft.layer.FastBlockDiag", Blocks)
    layer = linear()
    weight = layer.weight.detach().clone()
    config = peft.BOFTConfig(target_modules=["a"], boft_block_num=0, boft_block_size=2, boft_n_butterfly_factor=3)
    model, state = peft_saved(layer, config)
    assert len(state["boft_R"]) == 3
    (record,) = records_of(state)["weight"]
    oracle = peft_weights(model).weight
    assert relative(record.delta(weight), oracle - weight.double()) <= 1e-6
