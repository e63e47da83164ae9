"""DoRA, IA3, GLoRA and T-LoRA held against LyCORIS, PEFT and float64. The number in a test's name is its row of the
conformance matrix.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.contract.algorithm_samples import base_formulas as formulas
from tests.contract.algorithm_samples.formulas import of_loha, of_lokr, of_lora
from tests.contract.algorithm_samples.sample import Formula
from tests.unit.agreement import conv, filled, linear, records_of, relative, state_of
from tests.unit.agreement_base import held, peft_saved, peft_weights, point, square
from torch import nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import Facts, choose
from sakuga.lora.algorithms.tlora import TLora
from sakuga.lora.read import read_adapter
from sakuga.lora.targets import names_of
from sakuga.tensors.file import TensorFile

os.environ.setdefault("LYCORIS_KERNEL_BACKEND", "torch")
peft = pytest.importorskip("peft")
pytest.importorskip("lycoris")
modules = pytest.importorskip("lycoris.modules")
general = pytest.importorskip("lycoris.functional.general")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _dora(inner: Formula, axis: int, leaf: str = "dora_scale") -> Formula:
    return formulas.of_dora(inner, leaf, axis)


@pytest.mark.parametrize("rows", [False, True], ids=["row 11, columns", "row 12, rows"])
@pytest.mark.parametrize("make", [linear, square, conv])
def test_rows_11_and_12_dora_of_lycoris(make: type[nn.Module], rows: bool) -> None:
    layer = make()
    module = filled(
        modules.LoConModule("x", layer, lora_dim=4, alpha=3, weight_decompose=True, wd_on_out=rows, use_tucker=False)
    )
    state = state_of(module)
    held(state, layer.weight, _dora(of_lora, 0 if rows else 1), module.get_merged_weight(1)[0])
    kept, _ = module.get_merged_weight(0)  # LyCORIS' own strength 0 is not the weight: it keeps ΔW
    assert relative(kept, layer.weight) > 1e-3


@pytest.mark.parametrize("make", [linear, square, conv, point])
def test_row_12_dora_of_peft(make: type[nn.Module]) -> None:
    layer = make()
    weight = layer.weight.detach().clone()
    config = peft.LoraConfig(r=4, lora_alpha=3, target_modules=["a"], use_dora=True)
    model, state = peft_saved(layer, config)
    facts = Facts(alpha=3.0, dialect="peft")
    held(state, weight, _dora(of_lora, 0, "magnitude"), peft_weights(model).weight, facts=facts)


def test_row_12_dora_of_ai_toolkit_on_a_fused_qkv() -> None:
    layer = nn.Linear(16, 48)
    state = {"lora_A.weight": torch.randn(4, 16), "lora_B.weight": torch.randn(48, 4), "magnitude": torch.rand(48)}
    record = held(state, layer.weight, _dora(of_lora, 0, "magnitude"))
    whole = record.delta(layer.weight)
    for first in (0, 16, 32):  # q, k and v of a model that has them apart
        own = record.rows(((first, first + 16),), 48).delta(layer.weight[first : first + 16])
        assert relative(own, whole[first : first + 16]) <= 1e-6
    columns = records_of({**state, "magnitude": torch.rand(1, 16)})["weight"][0]
    with pytest.raises(AdapterDoesNotFit, match="whole columns"):
        columns.rows(((0, 16),), 48)


def test_a_magnitude_never_broadcasts() -> None:
    pair = {"lora_A.weight": torch.randn(2, 6), "lora_B.weight": torch.randn(5, 2)}
    for shape, said in (((6,), "magnitude"), ((1, 5), "magnitude"), ((5, 6), "one number"), ((2, 1), "magnitude")):
        with pytest.raises(AdapterDoesNotFit, match=said):
            record = records_of({**pair, "dora_scale": torch.rand(shape)})["weight"][0]
            raise AdapterDoesNotFit(record.misfit((5, 6)) or "")
    guessed = records_of({**pair, "dora_scale": torch.rand(1, 1)})["weight"][0]
    assert "rows are taken" in " ".join(guessed.remarks())
    assert guessed.misfit((5, 6))


@pytest.mark.parametrize("rows", [False, True], ids=["columns", "rows"])
@pytest.mark.parametrize("make", [linear, conv])
@pytest.mark.parametrize("name", ["DoHa", "DoKr"])
def test_row_13_doha_and_dokr(name: str, make: type[nn.Module], rows: bool) -> None:
    layer = make()
    made = modules.LohaModule if name == "DoHa" else modules.LokrModule
    module = filled(made("x", layer, lora_dim=2, alpha=3, weight_decompose=True, wd_on_out=rows, factor=4))
    state = state_of(module)
    changed = layer.weight + module.get_weight(layer.weight.shape)  # its merge takes alpha / r twice
    oracle = general.weight_decompose(changed, module.dora_scale, 1, rows)
    formula = of_loha if name == "DoHa" else of_lokr
    record = held(state, layer.weight, _dora(formula, 0 if rows else 1), oracle)
    if isinstance(layer, nn.Linear):  # its forward is the reference
        module.apply_to()
        x = torch.randn(3, 24)
        gain = layer(x) - module.org_forward(x)
        assert relative(record.beside(x, layer), gain) <= 2e-6


@pytest.mark.parametrize("on_input", [False, True])
@pytest.mark.parametrize("make", [linear, conv])
def test_row_15_ia3_of_lycoris(make: type[nn.Module], on_input: bool) -> None:
    layer = make()
    module = filled(modules.IA3Module("x", layer, train_on_input=on_input))
    held(state_of(module), layer.weight, formulas.of_ia3, module.get_merged_weight(1)[0])


@pytest.mark.parametrize("feedforward", [False, True])
@pytest.mark.parametrize("make", [linear, conv])
def test_row_15_ia3_of_peft_scales_the_bias_with_the_output(make: type[nn.Module], feedforward: bool) -> None:
    layer = make()
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    config = peft.IA3Config(target_modules=["a"], feedforward_modules=["a"] if feedforward else [])
    model, state = peft_saved(layer, config)
    new = peft_weights(model)
    held(state, weight, formulas.of_ia3, new.weight)
    changes = records_of(state).get("bias", [])
    change = sum((record.delta(bias) for record in changes), torch.zeros_like(bias))
    torch.testing.assert_close(bias.double() + change.double(), new.bias.detach(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("make", [linear, square, conv])
def test_row_16_glora(make: type[nn.Module]) -> None:
    layer = make()
    module = filled(modules.GLoRAModule("x", layer, lora_dim=4, alpha=3))
    held(state_of(module), layer.weight, formulas.of_glora(False), module.get_merged_weight(1)[0])


def test_row_16_old_glora_and_what_cannot_be_told() -> None:
    old = {"a1.weight": (4, 24), "a2.weight": (24, 4), "b1.weight": (4, 24), "b2.weight": (16, 4)}
    state = {key: torch.randn(shape) for key, shape in old.items()}
    held({**state, "alpha": torch.tensor(2.0)}, linear().weight, formulas.of_glora(True))
    state = {key: torch.randn(16, 16) for key in old}
    new = held(state, square().weight, formulas.of_glora(False))
    assert "nothing tells an old GLoRA" in new.remarks()[0]
    told = held(state, square().weight, formulas.of_glora(True), facts=Facts(options={"old_glora": True}))
    assert told.remarks() == ()


def _tlora(layer: nn.Module, kind: str = "principal") -> nn.Module:
    return modules.tlora.TLoraModule("x", layer, lora_dim=4, alpha=3, sig_type=kind, use_data_init=True)


@pytest.mark.parametrize("make", [linear, point])
def test_row_23_tlora(make: type[nn.Module]) -> None:
    layer = make()
    untouched = _tlora(layer)
    (record,) = records_of(state_of(untouched))["weight"]
    assert float(record.delta(layer.weight).detach().norm()) < 1e-5  # what was not trained changes nothing
    module = _tlora(layer)
    for parameter in (module.q_layer.weight, module.p_layer.weight, module.lambda_layer):
        nn.init.normal_(parameter, std=0.3)
    state = state_of(module)
    record = held(state, layer.weight, formulas.of_tlora)
    oracle = module.get_diff_weight(1)[0].reshape(layer.weight.shape)
    assert relative(record.delta(layer.weight), oracle) <= 1e-5  # its start comes from an SVD in fp32
    assert isinstance(record, TLora)
    assert "cannot be verified" in record.remarks()[0]
    assert "all act in all" in record.remarks()[1]
    for ranks in (0, 1, 3, 4):
        modules.tlora.set_timestep_mask((torch.arange(4) < ranks).float()[None])
        expected = module.get_diff_weight(1)[0].reshape(layer.weight.shape)
        modules.tlora.clear_timestep_mask()
        step = record.at(ranks).grounded(layer.weight)
        pair = step.factors()
        assert pair is not None
        torch.testing.assert_close(step.delta(layer.weight), expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close((pair.up @ pair.down).reshape(expected.shape), expected, rtol=1e-4, atol=1e-6)


def test_row_23_tlora_that_did_not_begin_at_the_greatest_values_is_why_it_cannot_be_verified() -> None:
    layer = linear()
    (record,) = records_of(state_of(_tlora(layer, "last")))["weight"]
    assert float(record.delta(layer.weight).detach().norm()) > 0.1  # untrained, yet a change


def test_row_23_tlora_on_a_kernel_above_1_is_refused() -> None:
    (record,) = records_of(state_of(_tlora(conv())))["weight"]
    assert record.misfit((12, 8, 3, 3))


FOUR = {"a1": (8, 4), "a2": (4, 8), "b1": (8, 4), "b2": (4, 8)}


@pytest.mark.parametrize(
    ("shapes", "name", "reason"),
    [
        ({"up": (8, 4), "down": (4, 8), "alpha": (), "dora_scale": (8, 1)}, "DoRA", ""),
        ({"up": (8, 4), "down": (4, 8), "magnitude": (8,), "diff_b": (8,)}, "DoRA + difference of biases", ""),
        ({"diff": (8, 8), "dora_scale": (8, 1)}, "DoRA (Full)", ""),
        ({**FOUR, "dora_scale": (8, 1)}, "GLoRA", "GLoRA with dora_scale, which it does not know"),
        ({"oft_blocks": (2, 4, 4), "dora_scale": (8, 1)}, "OFT", "OFT with dora_scale, which it does not know"),
        ({"weight": (8,)}, "IA3", "IA3 in a form that it does not know"),
        ({"oft_blocks": (2, 4)}, "OFT", "OFT in a form that it does not know"),
        ({"oft_blocks": (2, 4, 4), "oft_s": (8, 1)}, "OFT", ""),  # refused by its record, whole as well
        ({"oft_blocks": (2, 2, 4, 4), "alpha": ()}, "BOFT", ""),
        ({"glora_A": (4, 4)}, "GLoRA of PEFT", "GLoRA of PEFT is not applied by this version"),
        ({"up": (8, 4), "down": (4, 8), "lora_diag": (4,)}, "KaSA", "KaSA is not applied by this version"),
    ],
)
def test_what_stands_beside_what(shapes: Mapping[str, tuple[int, ...]], name: str, reason: str) -> None:
    choice = choose(shapes)
    assert (choice.name, choice.reason) == (name, reason)


def test_a_magnitude_beside_two_changes_of_one_weight_is_refused() -> None:
    choice = choose({"up": (8, 4), "down": (4, 8), "dora_scale": (8, 1), "diff": (8, 8)})
    assert not choice.parts
    assert "on one weight" in choice.reason
    with pytest.raises(AdapterDoesNotFit, match="OFT with oft_blocks and oft_s"):
        records_of({"oft_blocks": torch.zeros(2, 4, 4), "oft_s": torch.ones(8, 1)})


def test_ia3_of_peft_on_layers_with_and_without_a_bias(tmp_path: Path) -> None:
    model = nn.ModuleDict({"to_k": nn.Linear(6, 8, bias=False), "to_v": nn.Linear(6, 8)})
    gains = {name: torch.rand(8, 1) for name in model}
    state = {f"base_model.model.{name}.ia3_l": gain for name, gain in gains.items()}
    save_file(state, tmp_path / "a.safetensors")
    adapter = read_adapter(TensorFile.open(tmp_path / "a.safetensors"), names_of({"unet": model}), "a")
    x = torch.randn(3, 6)
    gained = {name: layer(x) for name, layer in model.items()}
    for patch in adapter.patches:
        layer = model[patch.module]
        if layer.bias is None and patch.parameter == "bias":  # a bias that is not there is one of zeros
            assert not patch.record.delta(torch.zeros(8)).any()
        gained[patch.module] = gained[patch.module] + patch.record.beside(x, layer)
    for name, layer in model.items():
        torch.testing.assert_close(gained[name], layer(x) * gains[name].flatten())
