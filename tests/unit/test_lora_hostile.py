"""Hostile and broken contents: whatever the shapes and the numbers in an adapter are, it is used or refused by name,
nothing large is made, and not a bit of the model stays changed.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.corpus.tiny import SD, grown
from tests.corpus.written import Written, written
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.adapter import Adapter
from sakuga.lora.museum import Exhibit
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack
from sakuga.lora.survey import Module, survey
from sakuga.lora.targets import names_of
from sakuga.tensors.file import TensorFile

PATH = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"  # 8 x 8
CONV = "mid_block.resnets.0.conv1"  # 16 x 16 x 3 x 3
STEM, CONV_STEM = ("lora_unet_" + path.replace(".", "_") for path in (PATH, CONV))
NAMES = SD.names()
SAMPLES = [one for one in written() if one.name.startswith(("kohya:", "PEFT:"))]
HUGE = 2**40


@pytest.fixture
def parts() -> Iterator[dict[str, nn.Module]]:
    """A tiny model that has to be as it was in the end, to the bit."""
    made = grown(SD)
    before = _bits(made)
    yield made
    assert _bits(made) == before


def _bits(parts: Mapping[str, nn.Module]) -> bytes:
    tensors = [one.detach().reshape(-1) for part in parts.values() for one in part.parameters()]
    return torch.cat(tensors).numpy().tobytes()


def _header(leaves: Mapping[str, tuple[int, ...]], stem: str = STEM) -> Exhibit:
    """A header alone: shapes of any size, and no bytes."""
    tensors = {f"{stem}.{leaf}": ["F16", list(shape)] for leaf, shape in leaves.items()}
    return Exhibit(
        {"file": "x.safetensors", "tensors": tensors, "numbers": {}, "metadata": {}, "extras": {}}, Path("x")
    )


def _judged(leaves: Mapping[str, tuple[int, ...]], stem: str = STEM) -> Module:
    begun = time.process_time()
    (module,) = survey(_header(leaves, stem), NAMES).modules
    assert time.process_time() - begun < 1
    return module


def _read(folder: Path, tensors: Mapping[str, Tensor], parts: Mapping[str, nn.Module]) -> Adapter:
    save_file(dict(tensors), folder / "style.safetensors")
    with TensorFile.open(folder / "style.safetensors") as file:
        return read_adapter(file, names_of(parts), "style")


@pytest.mark.parametrize(
    ("leaves", "said"),
    [
        ({"lora_down.weight": (4096, 8), "lora_up.weight": (8, 4096)}, "rank 4096"),
        ({"lora_down.weight": (HUGE, 8), "lora_up.weight": (8, HUGE)}, f"rank {HUGE}"),
        ({"lora_down.weight": (2, HUGE), "lora_up.weight": (HUGE, 2)}, "its weight is"),
        ({"hada_w1_a": (8, HUGE), "hada_w1_b": (HUGE, 8), "hada_w2_a": (8, 2), "hada_w2_b": (2, 8)}, f"rank {HUGE}"),
        ({"lokr_w1": (2**30, 2**30), "lokr_w2": (2**30, 2**30)}, "its weight is"),
        ({"lokr_w1": (2, 2), "lokr_w2_a": (4, HUGE), "lokr_w2_b": (HUGE, 4)}, f"rank {HUGE}"),
        ({"oft_blocks": (2**20, 2**20, 2**20)}, "its weight"),
        ({"oft_blocks": (0, 4, 4)}, "are not those of an OFT"),
        ({"oft_blocks": (60, 2, 4, 4)}, "no butterfly of 60 stages"),
        ({"oft_R.weight": (2, 2**41)}, "are not those of an OFT"),
        ({"diff": (2**20, 2**20)}, "its weight is"),
        (
            {"a1.weight": (8, HUGE), "a2.weight": (HUGE, 8), "b1.weight": (8, HUGE), "b2.weight": (HUGE, 8)},
            "its weight is",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_a_rank_bomb_is_refused_by_its_header(leaves: Mapping[str, tuple[int, ...]], said: str) -> None:
    module = _judged(leaves)
    assert module.refused and said in module.reason


PAIR = {"lora_down.weight": (2, 8), "lora_up.weight": (8, 2)}


@pytest.mark.parametrize(
    "leaves",
    [
        {**PAIR, "dora_scale": (1, 1)},
        {**PAIR, "dora_scale": (1,)},
        {**PAIR, "dora_scale": ()},
        {**PAIR, "dora_scale": (8, 8)},
        {**PAIR, "dora_scale": (8, 2)},
        {**PAIR, "magnitude": (1,)},
        {**PAIR, "lora_magnitude_vector": (4,)},
        {**PAIR, "diff_b": (1,)},
        {**PAIR, "lora_B.bias": (1,)},
        {"oft_blocks": (2, 4, 4), "rescale": (1,)},
        {"oft_blocks": (2, 4, 4), "rescale": (1, 8)},
        {"boft_R": (1, 2, 4, 4), "boft_s": (1, 1)},
        {"diff": (1,)},
        {"diff": (1, 1)},
        {"diff": (8,)},
        {"set_weight": (1, 8)},
        {"weight": (1,), "on_input": ()},
        {"ia3_l": (1, 1)},
        {"lora_mid.weight": (2, 3), **PAIR},
    ],
    ids=lambda leaves: " ".join(f"{leaf}{list(shape)}" for leaf, shape in leaves.items()),
)
def test_nothing_is_stretched_to_fit(leaves: Mapping[str, tuple[int, ...]]) -> None:
    assert _judged(leaves).refused


@pytest.mark.parametrize("mid", [(2, 3, 3, 3), (3, 2, 3, 3), (2, 2, 3), (2, 2, 5, 5), (2, 2, 3, 3, 1)], ids=str)
def test_a_tucker_core_that_does_not_meet_its_factors_is_refused(mid: tuple[int, ...]) -> None:
    pair = {"lora_down.weight": (2, 16, 1, 1), "lora_up.weight": (16, 2, 1, 1)}
    assert not _judged({**pair, "lora_mid.weight": (2, 2, 3, 3)}, CONV_STEM).refused
    assert _judged({**pair, "lora_mid.weight": mid}, CONV_STEM).refused


def test_norms_are_not_stretched(parts: dict[str, nn.Module]) -> None:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_norm1"
    assert not _judged({"w_norm": (8,), "b_norm": (8,)}, stem).refused
    for size in ((1,), (), (8, 1), (1, 8)):
        assert _judged({"w_norm": size}, stem).refused


@pytest.mark.parametrize("sample", SAMPLES, ids=[one.name for one in SAMPLES])
@pytest.mark.parametrize("number", [math.nan, math.inf], ids=str)
def test_a_number_that_is_none_is_found_wherever_it_is(
    sample: Written, number: float, tmp_path: Path, parts: dict[str, nn.Module]
) -> None:
    broken = 0
    for key, tensor in sample.tensors.items():
        if tensor.is_floating_point():
            wrong = tensor.clone()
            wrong.view(-1)[-1] = number
            with pytest.raises(AdapterDoesNotFit, match=r"holds NaN or infinity|is (nan|inf)"):
                _read(tmp_path, {**sample.tensors, key: wrong}, parts)
            broken += 1
    assert broken


@pytest.mark.parametrize("sample", SAMPLES, ids=[one.name for one in SAMPLES])
@pytest.mark.parametrize("number", [1e30, -1e30, 1e-30, 0.0], ids=str)
def test_numbers_beyond_reason_are_applied_or_refused_and_taken_off(
    sample: Written, number: float, tmp_path: Path, parts: dict[str, nn.Module]
) -> None:
    floats = {key: torch.full_like(one, number) for key, one in sample.tensors.items() if one.is_floating_point()}
    try:
        adapter = _read(tmp_path, {**sample.tensors, **floats}, parts)
        with Stack([(adapter, 1.0)]).applied(parts):
            assert all(bool(one.isfinite().all()) for part in parts.values() for one in part.parameters())
    except AdapterDoesNotFit as refusal:
        assert refusal.title


def test_dora_on_a_weight_of_zeros_divides_by_nothing(tmp_path: Path, parts: dict[str, nn.Module]) -> None:
    layer = parts["unet"].get_submodule(PATH)
    with torch.no_grad():
        kept = layer.weight.clone()
        layer.weight.zero_()
    tensors = {f"{STEM}.lora_down.weight": torch.zeros(2, 8), f"{STEM}.lora_up.weight": torch.zeros(8, 2)}
    adapter = _read(tmp_path, {**tensors, f"{STEM}.dora_scale": torch.ones(8, 1)}, parts)
    with Stack([(adapter, 1.0)]).applied(parts):
        assert bool(layer.weight.isfinite().all())
    with torch.no_grad():
        layer.weight.copy_(kept)


@pytest.mark.parametrize("spread", [1e18, 1e30, 3e38])
def test_a_rotation_beyond_the_reach_of_its_numbers_is_refused_or_applied_and_taken_off(
    spread: float, tmp_path: Path, parts: dict[str, nn.Module]
) -> None:
    blocks = torch.rand(2, 4, 4) * spread
    adapter = _read(tmp_path, {f"{STEM}.oft_blocks": blocks}, parts)
    try:
        with Stack([(adapter, 1.0)]).applied(parts):
            assert bool(parts["unet"].get_submodule(PATH).weight.isfinite().all())
    except AdapterDoesNotFit as refusal:
        assert refusal.title


def test_rotations_that_are_none_are_told(tmp_path: Path, parts: dict[str, nn.Module]) -> None:
    adapter = _read(tmp_path, {f"{STEM}.oft_diag": torch.randn(2, 4, 4) * 3}, parts)
    assert any("they stretch" in patch for one in adapter.patches for patch in one.record.remarks())


def test_a_file_in_two_layouts_at_once_is_refused_and_names_both(tmp_path: Path, parts: dict[str, nn.Module]) -> None:
    samples = {one.name: one.tensors for one in written()}
    both = {**samples["kohya: lora"], **samples["kohya, LDM names: lora"]}
    with pytest.raises(AdapterDoesNotFit, match="fits only in part") as caught:
        _read(tmp_path, both, parts)
    assert f"two of its names mean {PATH}" in str(caught.value)


@pytest.mark.parametrize("value", [10**400, "1", b"1", None, True, [1.0], 1e400], ids=lambda value: str(value)[:6])
def test_an_alpha_of_a_pickle_that_is_no_number_is_refused(
    value: object, tmp_path: Path, parts: dict[str, nn.Module]
) -> None:
    path = tmp_path / "style.pt"
    factors = {f"{STEM}.lora_down.weight": torch.ones(2, 8), f"{STEM}.lora_up.weight": torch.ones(8, 2)}
    torch.save({**factors, f"{STEM}.alpha": value}, path)
    with pytest.raises(AdapterDoesNotFit, match="alpha"):
        read_adapter(TensorFile.open(path), names_of(parts), "style")


def test_an_adapter_of_peft_that_is_not_applied_is_called_by_its_name(tmp_path: Path) -> None:
    config = {"peft_type": "VERA", "r": 4, "target_modules": ["to_q"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({f"base_model.model.{PATH}.vera_lambda_b": torch.ones(8)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterDoesNotFit, match="its PEFT config says VERA, which this version does not apply"):
        survey(TensorFile.open(tmp_path / "adapter_model.safetensors"), NAMES)


def test_a_config_imports_nothing(tmp_path: Path, parts: dict[str, nn.Module]) -> None:
    sample = next(one for one in SAMPLES if one.name == "PEFT: lora")
    (tmp_path / "trap_of_a_config.py").write_text("raise SystemExit('a config was obeyed')", encoding="utf-8")
    mapping = {"base_model_class": "Trap", "parent_library": "trap_of_a_config"}
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "auto_mapping": mapping, "custom_modules": mapping}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(dict(sample.tensors), tmp_path / "adapter_model.safetensors")
    with TensorFile.open(tmp_path / "adapter_model.safetensors") as file:
        adapter = read_adapter(file, names_of(parts), "style")
    assert adapter.used_keys == len(sample.tensors) and "trap_of_a_config" not in sys.modules


def test_a_few_strange_keys_are_all_named_and_only_consent_leaves_them_out(
    tmp_path: Path, parts: dict[str, nn.Module]
) -> None:
    sample = next(one for one in SAMPLES if one.name == "kohya: lora")
    strange = {f"somewhere.else.{number}.thing": torch.zeros(1) for number in range(3)}
    with pytest.raises(AdapterDoesNotFit) as caught:
        _read(tmp_path, {**sample.tensors, **strange}, parts)
    assert all(key in str(caught.value) for key in strange)
    with TensorFile.open(tmp_path / "style.safetensors") as file:
        adapter = read_adapter(file, names_of(parts), "style", allow_partial=True)
    assert {left.key for left in adapter.refused} == set(strange)
    assert adapter.used_keys == len(sample.tensors)
