"""Adapters for a layer that takes another number of inputs: those that widen it while they are applied, and those that
an inpainting model takes from the plain one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.corpus.tiny import grow
from tests.unit.adapter_files import saved
from tests.unit.lora_spellings import file_of, keys_of, pair_of, product
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.adapter import Adapter
from sakuga.lora.cache import Cache
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack, StackWeight
from sakuga.lora.survey import survey
from sakuga.lora.targets import names_of
from sakuga.lora.tools.source import opened
from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families.layers import linear, projections, scale, under

WIDE, PICTURE, HINTED = 16, 6, 12
TREE: Tree = {
    "x_embedder": linear(PICTURE, WIDE),
    "context_embedder": linear(8, WIDE),
    "norm_out.linear": linear(WIDE, 2 * WIDE),
    **under("transformer_blocks.0.attn", projections("to_q to_k to_v to_out.0", WIDE, WIDE)),
    "transformer_blocks.0.attn.norm_q": scale(4),
    "single_transformer_blocks.0.proj_mlp": linear(WIDE, 4 * WIDE),
}


@pytest.fixture
def parts() -> dict[str, nn.Module]:
    torch.manual_seed(5)
    return {"transformer": grow(TREE)}


def _control() -> dict[str, Tensor]:
    """A control adapter in Black Forest Labs' keys: factors, biases, and the scale of a norm."""
    torch.manual_seed(7)
    pairs = {
        "img_in": pair_of(WIDE, HINTED),
        "double_blocks.0.img_attn.qkv": pair_of(3 * WIDE, WIDE),
        "final_layer.adaLN_modulation.1": pair_of(2 * WIDE, WIDE),
    }
    biases = {f"{stem}.lora_B.bias": torch.randn(up.shape[0]) for stem, (up, _) in pairs.items()}
    norm = {"double_blocks.0.img_attn.norm.query_norm.scale": torch.rand(4) + 0.5}
    return {**keys_of(pairs, "peft", alpha=False), **biases, **norm}


def _pair(tensors: dict[str, Tensor], stem: str) -> tuple[Tensor, Tensor]:
    return tensors[f"{stem}.lora_B.weight"], tensors[f"{stem}.lora_A.weight"]


def _read(folder: Path, tensors: dict[str, Tensor], parts: dict[str, nn.Module], name: str = "a") -> Adapter:
    return read_adapter(file_of(folder, tensors), names_of(parts), name)


def _first(parts: dict[str, nn.Module]) -> nn.Linear:
    layer = parts["transformer"].x_embedder
    assert isinstance(layer, nn.Linear)
    return layer


def _state(parts: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in parts["transformer"].state_dict().items()}


def _close(found: Tensor, expected: Tensor) -> bool:
    return float((found.detach().double() - expected).norm() / expected.norm()) <= 1e-6


@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_row_29_a_control_lora_widens_its_first_layer_and_gives_it_back(
    tmp_path: Path, parts: dict[str, nn.Module], strength: float
) -> None:
    tensors = _control()
    assert survey(file_of(tmp_path, tensors)).layout_id == "B-CTRL"
    adapter, layer, before = _read(tmp_path, tensors, parts), _first(parts), _state(parts)
    assert (adapter.used_keys, adapter.leftovers) == (len(tensors), ())
    assert any("its layer takes 12 inputs" in note for note in adapter.notes)
    weight, place = layer.weight, layer.weight.data_ptr()
    wide = F.pad(before["x_embedder.weight"].double(), (0, HINTED - PICTURE))
    expected = {
        "x_embedder.weight": wide + strength * product(_pair(tensors, "img_in"), None),
        "x_embedder.bias": before["x_embedder.bias"].double() + strength * tensors["img_in.lora_B.bias"].double(),
    }
    qkv = product(_pair(tensors, "double_blocks.0.img_attn.qkv"), None)
    for n, one in enumerate("qkv"):
        name = f"transformer_blocks.0.attn.to_{one}.weight"
        expected[name] = before[name].double() + strength * qkv[n * WIDE : (n + 1) * WIDE]
    last = product(_pair(tensors, "final_layer.adaLN_modulation.1"), None)
    swapped = torch.cat([last[WIDE:], last[:WIDE]])
    expected["norm_out.linear.weight"] = before["norm_out.linear.weight"].double() + strength * swapped
    norm, new = "transformer_blocks.0.attn.norm_q.weight", tensors["double_blocks.0.img_attn.norm.query_norm.scale"]
    expected[norm] = before[norm].double() + strength * (new - before[norm]).double()
    with Stack([(adapter, strength)]).applied(parts):
        inside = parts["transformer"].state_dict()
        for name, value in expected.items():
            assert inside[name].shape == value.shape, name
            assert _close(inside[name], value), name
        assert (layer.weight is weight, layer.in_features) == (True, HINTED)
        x = torch.randn(2, HINTED)
        torch.testing.assert_close(layer(x), F.linear(x, inside["x_embedder.weight"], inside["x_embedder.bias"]))
    assert (layer.weight is weight, layer.in_features, layer.weight.data_ptr()) == (True, PICTURE, place)
    after = parts["transformer"].state_dict()
    assert all(torch.equal(after[name], value) and after[name].shape == value.shape for name, value in before.items())


def test_row_29_the_layer_is_as_wide_as_what_acts_on_it(tmp_path: Path, parts: dict[str, nn.Module]) -> None:
    layer, before = _first(parts), _state(parts)
    control = _read(tmp_path, _control(), parts, "control")
    pair = pair_of(WIDE, PICTURE)
    plain = _read(tmp_path, keys_of({"transformer.x_embedder": pair}, "peft", alpha=False), parts, "plain")
    narrow = before["x_embedder.weight"].double() + product(pair, None)
    wide = F.pad(narrow, (0, HINTED - PICTURE)) + product(_pair(_control(), "img_in"), None)
    for cache in (None, Cache(host_bytes=2**20)):
        with Stack([(control, 1.0), (plain, 1.0)]).applied(parts, cache=cache) as applied:
            for strength, expected in ((1.0, wide), (0.0, narrow), (1.0, wide)):
                applied.set({"control": StackWeight(unet=strength)})
                assert layer.in_features == layer.weight.shape[1] == expected.shape[1]
                assert _close(layer.weight, expected)
            applied.set([StackWeight(unet=0.0), StackWeight(unet=0.0)])
            assert torch.equal(layer.weight, before["x_embedder.weight"])
        assert torch.equal(layer.weight, before["x_embedder.weight"])


def test_a_layer_that_is_to_be_widened_is_not_live(tmp_path: Path, parts: dict[str, nn.Module]) -> None:
    control, before = _read(tmp_path, _control(), parts), _state(parts)
    with Stack([(control, 1.0)]).applied(parts, live=True) as applied:
        assert any("more inputs than it has" in reason for reason in applied.summary.ways)
        assert _first(parts).in_features == HINTED
        with pytest.raises(AdapterDoesNotFit, match="cannot add its adapters"):
            applied.set_rows([[[1.0, 0.5]]])
    assert _first(parts).in_features == PICTURE
    after = parts["transformer"].state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_what_looks_at_the_narrow_weight_is_not_applied_beside(tmp_path: Path, parts: dict[str, nn.Module]) -> None:
    control = _read(tmp_path, _control(), parts, "control")
    dora = keys_of({"transformer.x_embedder": pair_of(WIDE, PICTURE)}, "peft", alpha=False)
    dora["transformer.x_embedder.lora_magnitude_vector"] = torch.rand(WIDE)
    other = _read(tmp_path, dora, parts, "other")
    with (
        pytest.raises(AdapterDoesNotFit, match="cannot be applied together") as caught,
        Stack([(control, 1.0), (other, 1.0)]).applied(parts),
    ):
        pass
    assert "transformer.x_embedder" in str(caught.value)


def test_a_layer_of_another_kind_is_not_widened(tmp_path: Path) -> None:
    part = grow({"x": (table := {"weight": (6, 4)})})
    part.x = nn.Embedding(*table["weight"])
    tensors = keys_of({"unet.x": pair_of(6, 8)}, "peft", alpha=False) | {"unet.x.reshape_weight": torch.tensor([6, 8])}
    adapter = _read(tmp_path, tensors, {"unet": part})
    with (
        pytest.raises(AdapterDoesNotFit, match="Embedding cannot be given more inputs"),
        Stack([(adapter, 1.0)]).applied({"unet": part}),
    ):
        pass


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_row_29_a_module_that_states_its_shape_widens_its_layer(
    tmp_path: Path, parts: dict[str, nn.Module], dtype: torch.dtype
) -> None:
    pair = pair_of(WIDE, HINTED)
    tensors = keys_of({"img_in": pair}, "kohya", "diffusion_model.")
    tensors["diffusion_model.img_in.reshape_weight"] = torch.tensor([WIDE, HINTED], dtype=dtype)
    adapter, before = _read(tmp_path, tensors, parts), _state(parts)["x_embedder.weight"]
    assert adapter.used_keys == len(tensors)
    with Stack([(adapter, 1.0)]).applied(parts):
        assert _close(_first(parts).weight, F.pad(before.double(), (0, HINTED - PICTURE)) + product(pair))
    assert torch.equal(_first(parts).weight, before)
    tensors["diffusion_model.img_in.reshape_weight"] = torch.tensor([WIDE, HINTED + 1], dtype=dtype)
    with pytest.raises(AdapterDoesNotFit, match=r"reshape_weight is \[16, 13\], the change is \[16, 12\]"):
        _read(tmp_path, tensors, parts)
    for wrong in (torch.tensor(HINTED), torch.tensor([WIDE, HINTED, 1])):
        tensors["diffusion_model.img_in.reshape_weight"] = wrong.to(dtype)
        with pytest.raises(AdapterDoesNotFit, match=r"numbers, the change has 2 sizes"):
            _read(tmp_path, tensors, parts)


def test_a_wide_adapter_that_is_no_control_file_is_refused_by_its_shape(
    tmp_path: Path, parts: dict[str, nn.Module]
) -> None:
    tensors = keys_of({"img_in": pair_of(WIDE, HINTED), "double_blocks.0.img_attn.qkv": pair_of(3 * WIDE, WIDE)})
    with pytest.raises(AdapterDoesNotFit, match=r"its weight is \[16, 6\], the adapter's change is \[16, 12\]"):
        _read(tmp_path, tensors, parts)
    for inputs in (4, 9 * PICTURE):  # fewer, or so many that the weight would be a bomb
        odd = keys_of({"img_in": pair_of(WIDE, inputs)}) | {"img_in.reshape_weight": torch.tensor([WIDE, inputs])}
        with pytest.raises(AdapterDoesNotFit, match=rf"cannot be widened to \[16, {inputs}\]"):
            _read(tmp_path, odd, parts)


def test_tools_for_files_refuse_what_widens_a_layer(tmp_path: Path, parts: dict[str, nn.Module]) -> None:
    path = saved(tmp_path / "control.safetensors", _control())
    with pytest.raises(AdapterDoesNotFit, match="has a layer take more inputs"):
        opened([("control", path)], names_of(parts))


INPAINTING = {
    "LoCon": {"lora_down.weight": (2, 4, 3, 3), "lora_up.weight": (8, 2, 1, 1)},
    "LoHa": {"hada_w1_a": (8, 2), "hada_w1_b": (2, 36), "hada_w2_a": (8, 2), "hada_w2_b": (2, 36)},
    "LoKr": {"lokr_w1": (2, 2), "lokr_w2": (4, 2, 3, 3)},
    "Full": {"diff": (8, 4, 3, 3)},
}


@pytest.mark.parametrize("algorithm", INPAINTING)
def test_row_03_an_inpainting_model_takes_any_change_of_the_plain_one(tmp_path: Path, algorithm: str) -> None:
    plain, inpainting = ({"unet": grow({"conv_in": {"weight": (8, n, 3, 3)}})} for n in (4, 9))
    tensors = {f"lora_unet_conv_in.{leaf}": torch.randn(shape) for leaf, shape in INPAINTING[algorithm].items()}
    adapter, other = _read(tmp_path, tensors, plain), _read(tmp_path, tensors, inpainting)
    assert not any("made for 4 inputs" in note for note in adapter.notes)
    assert "made for 4 inputs: the model's 5 more are left as they are (1 module)" in other.notes
    before = inpainting["unet"].conv_in.weight.detach().clone()
    change = adapter.patches[0].record.delta(torch.zeros(8, 4, 3, 3))
    for live in (False, True):
        x = torch.randn(1, 9, 5, 5)
        with torch.no_grad(), Stack([(other, 1.0)]).applied(inpainting, live=live):
            found = inpainting["unet"].conv_in(x)
        wanted = before + F.pad(change, (0, 0, 0, 0, 0, 5))
        torch.testing.assert_close(found, F.conv2d(x, wanted), rtol=1e-4, atol=1e-4)
    assert torch.equal(inpainting["unet"].conv_in.weight, before)
    if algorithm == "LoCon":  # the other way round there is nowhere to put the mask
        tensors["lora_unet_conv_in.lora_down.weight"] = torch.randn(2, 9, 3, 3)
        assert _read(tmp_path, tensors, inpainting).patches
        with pytest.raises(AdapterDoesNotFit, match=r"its weight is \[8, 4, 3, 3\]"):
            _read(tmp_path, tensors, plain)
