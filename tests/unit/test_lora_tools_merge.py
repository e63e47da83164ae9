"""Merging: side by side it is the stack within rounding, with a rank the best there is; against PEFT and numpy."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from tests.unit.adapter_files import PREFIX, SHAPES, changes, lora, model, names, read, relative, saved, stem
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, OutputError, OutputExists
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack
from sakuga.lora.targets import names_of
from sakuga.lora.tools.lowrank import Keep
from sakuga.lora.tools.merge import merge
from sakuga.lora.tools.output import Place
from sakuga.lora.tools.source import opened
from sakuga.lora.weight import StackWeight
from sakuga.models.library import STARTER
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap
from sakuga.tensors.tables.families import FAMILIES

LORAS = STARTER / "loras"
OUT = "merged.safetensors"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two adapters with other ranks and alphas, of which the second lacks a module."""
    one = saved(tmp_path / "one.safetensors", lora(1))
    two = saved(tmp_path / "two.safetensors", lora(2, rank=5, alpha=None, places=tuple(SHAPES)[1:]))
    return one, two


def _expected(pair: tuple[Path, Path], strengths: tuple[float, float]) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    for path, strength in zip(pair, strengths, strict=True):
        for name, change in changes(path).items():
            total[name] = total.get(name, 0) + strength * change
    return total


def test_side_by_side_is_the_sum(pair: tuple[Path, Path], tmp_path: Path) -> None:
    made = merge(read(*pair, strengths=(0.8, -0.5)), Place(path=tmp_path / OUT))
    expected, found = _expected(pair, (0.8, -0.5)), changes(tmp_path / OUT)
    assert found.keys() == expected.keys() == {stem(place) for place in SHAPES}
    for name, change in expected.items():
        assert relative(found[name], change) < 1e-6
    assert made.ranks == {3: 1, 8: 4}
    assert made.errors is not None and made.errors.overall < 1e-7
    tensors = load_file(tmp_path / OUT)
    assert {float(tensors[f"{name}.alpha"]) for name in found} == {3.0, 8.0}  # alpha is the rank: scale 1


def test_the_merged_file_is_the_stack(pair: tuple[Path, Path], tmp_path: Path) -> None:
    merge(read(*pair, strengths=(0.8, 0.3)), Place(path=tmp_path / OUT))

    def adapter(path: Path):
        return read_adapter(TensorFile.open(path), names(), path.stem)

    one, other = model(), model()
    stack = Stack([(adapter(pair[0]), 0.8), (adapter(pair[1]), 0.3)])
    with stack.applied(one), Stack([(adapter(tmp_path / OUT), 1.0)]).applied(other):
        for component in one:
            here, there = dict(one[component].named_parameters()), dict(other[component].named_parameters())
            for name in here:
                torch.testing.assert_close(there[name], here[name], rtol=1e-6, atol=1e-6)


def test_the_order_of_the_adapters_plays_no_part(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for number, keep in itertools.product(range(2), (None, Keep(rank=2))):
        order, strengths = (pair, (0.7, 0.2)) if number else (pair[::-1], (0.2, 0.7))
        merge(read(*order, strengths=strengths), Place(path=tmp_path / f"{number}{keep and 1}.safetensors"), keep=keep)
    for kind in ("None", "1"):
        assert (tmp_path / f"0{kind}.safetensors").read_bytes() == (tmp_path / f"1{kind}.safetensors").read_bytes()


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_a_rank_gives_the_best_there_is_and_states_the_error(
    pair: tuple[Path, Path], tmp_path: Path, rank: int
) -> None:
    made = merge(read(*pair, strengths=(1, 0.5)), Place(path=tmp_path / OUT), keep=Keep(rank=rank))
    found, missing, meant = changes(tmp_path / OUT), 0.0, 0.0
    assert made.errors is not None
    stated = {name.replace(".", "_"): error for name, error in made.errors.relative().items()}
    for name, change in _expected(pair, (1, 0.5)).items():
        left, values, right = np.linalg.svd(change.numpy(), full_matrices=False)
        best = (left[:, :rank] * values[:rank]) @ right[:rank]
        assert relative(found[name], torch.from_numpy(best)) < 1e-5
        place = next(place for place in SHAPES if stem(place) == name).replace(".", "_")
        assert stated[place] == pytest.approx(relative(found[name], change), rel=1e-4, abs=1e-7)
        missing += float((found[name] - change).norm()) ** 2
        meant += float(change.norm()) ** 2
    assert made.errors.overall == pytest.approx((missing / meant) ** 0.5, rel=1e-4)


def test_half_precision_states_its_rounding(pair: tuple[Path, Path], tmp_path: Path) -> None:
    made = merge(read(*pair, strengths=(0.8, 0.3)), Place(path=tmp_path / OUT), numbers="fp16")
    found, expected = changes(tmp_path / OUT), _expected(pair, (0.8, 0.3))
    gap = sum(float((found[name] - expected[name]).norm()) ** 2 for name in found) ** 0.5
    size = sum(float(change.norm()) ** 2 for change in expected.values()) ** 0.5
    assert made.errors is not None
    assert 1e-5 < made.errors.overall == pytest.approx(gap / size, rel=1e-3)
    assert {tensor.dtype for key, tensor in load_file(tmp_path / OUT).items() if "lora_" in key} >= {torch.float16}


def test_what_is_beyond_half_precision_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    path = saved(tmp_path / "one.safetensors", lora(1, alpha=1e7))
    with pytest.raises(AdapterDoesNotFit, match="beyond the range of fp16"):
        merge(read(path), Place(path=tmp_path / OUT), numbers="fp16")
    assert [file.name for file in tmp_path.iterdir()] == ["one.safetensors"]


def test_a_strength_of_zero_leaves_its_modules_out(pair: tuple[Path, Path], tmp_path: Path) -> None:
    made = merge(read(*pair, strengths=(0.0, 1.0)), Place(path=tmp_path / OUT))
    assert stem("unet.to_q") not in changes(tmp_path / OUT)
    assert made.notes == ("1 modules are left out: nothing changes there",)


def test_an_adapter_that_changes_nothing_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    made = merge(read(pair[0], pair[0], strengths=(0.7, -0.7)), Place(path=tmp_path / OUT))
    assert made.notes[0] == "what is written changes nothing: every change in it is 0"


def test_a_loha_needs_a_rank_and_gets_its_best_pair(tmp_path: Path) -> None:
    key = stem("unet.conv")
    factors = {f"{key}.hada_w{n}_a": torch.randn(12, 2) for n in (1, 2)}
    factors |= {f"{key}.hada_w{n}_b": torch.randn(2, 72) for n in (1, 2)} | {f"{key}.alpha": torch.tensor(1.0)}
    path, plain = saved(tmp_path / "loha.safetensors", factors), saved(tmp_path / "one.safetensors", lora(1))
    with pytest.raises(AdapterDoesNotFit, match="not all of them are pairs"):
        merge(read(path, plain), Place(path=tmp_path / OUT))
    assert not (tmp_path / OUT).exists()
    merge(read(path, plain), Place(path=tmp_path / OUT), keep=Keep(rank=7))
    product = [factors[f"{key}.hada_w{n}_a"].double() @ factors[f"{key}.hada_w{n}_b"].double() for n in (1, 2)]
    exact = 0.5 * product[0] * product[1] + changes(plain)[key]  # of rank 4 + 3
    assert relative(changes(tmp_path / OUT)[key], exact) < 1e-6


def test_a_dora_is_taken_from_the_weights_of_the_base(tmp_path: Path) -> None:
    place, base = "unet.to_q", model()
    factors = lora(4, places=(place,)) | {f"{stem(place)}.dora_scale": torch.rand(24, 1) + 0.5}
    path = saved(tmp_path / "dora.safetensors", factors)
    with pytest.raises(AdapterDoesNotFit, match="looks at the weights of the base"):
        merge(read(path), Place(path=tmp_path / OUT), keep=Keep(rank=16))

    def weigh(component: str, module: str, parameter: str) -> Tensor:
        return dict(base[component].named_parameters())[f"{module}.{parameter}"].detach()

    merge(read(path, strengths=(0.5,)), Place(path=tmp_path / OUT), keep=Keep(rank=16), weigh=weigh)
    weight = weigh("unet", "to_q", "weight").double()
    changed = weight + changes(factors)[stem(place)]
    wanted = factors[f"{stem(place)}.dora_scale"].double() * changed / changed.norm(dim=1, keepdim=True) - weight
    assert relative(changes(tmp_path / OUT)[stem(place)], 0.5 * wanted) < 1e-5


def test_biases_and_norms_are_summed(tmp_path: Path) -> None:
    def whole(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return {
            "lora_unet_norm.w_norm": torch.randn(16),
            "lora_unet_norm.b_norm": torch.randn(16),
            "lora_unet_to_q.diff_b": torch.randn(24),
        }

    paths = [saved(tmp_path / f"{seed}.safetensors", whole(seed)) for seed in (1, 2)]
    merge(read(*paths, strengths=(2.0, 0.5)), Place(path=tmp_path / OUT))
    found, one, two = load_file(tmp_path / OUT), whole(1), whole(2)
    for old, new in (("norm.w_norm", "norm.diff"), ("norm.b_norm", "norm.diff_b"), ("to_q.diff_b", "to_q.diff_b")):
        expected = 2 * one[PREFIX["unet"] + old] + 0.5 * two[PREFIX["unet"] + old]
        torch.testing.assert_close(found[PREFIX["unet"] + new], expected)


def test_the_file_says_what_it_was_made_of(tmp_path: Path) -> None:
    alike = {"ss_base_model_version": "sd_v1", "sshs_model_hash": "0", "ss_network_dim": "3"}
    paths = [saved(tmp_path / f"{n}.safetensors", lora(n), alike | {"ss_tag": str(n)}) for n in (1, 2)]
    merge(read(*paths, strengths=(1.0, 0.5)), Place(path=tmp_path / OUT))
    metadata = TensorFile.open(tmp_path / OUT).metadata
    assert metadata.keys() == {"ss_base_model_version", "sakuga_merge"}
    told = {one["name"]: one["weight"] for one in json.loads(metadata["sakuga_merge"])}
    assert told == {"1": 1.0, "2": 0.5}


def test_an_output_that_is_there_is_only_replaced_when_allowed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / OUT).write_text("mine")
    with pytest.raises(OutputExists):
        merge(read(*pair), Place(path=tmp_path / OUT))
    assert (tmp_path / OUT).read_text() == "mine"
    merge(read(*pair), Place(path=tmp_path / OUT, overwrite=True))
    assert changes(tmp_path / OUT)


@pytest.mark.parametrize("kind", ["cat", "svd"])
def test_it_is_what_peft_makes(tmp_path: Path, kind: str) -> None:
    base = nn.ModuleDict({"to_q": nn.Linear(16, 24), "proj": nn.Linear(24, 16)})
    config = {"target_modules": ["to_q", "proj"], "init_lora_weights": False}
    wrapped = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=6, **config), adapter_name="one")
    wrapped.add_adapter("two", peft.LoraConfig(r=2, lora_alpha=1, **config))
    wrapped.save_pretrained(str(tmp_path / "files"))
    more = {"svd_rank": 3} if kind == "svd" else {}
    wrapped.base_model.add_weighted_adapter(["one", "two"], [0.7, 0.4], "both", combination_type=kind, **more)
    known = names_of({"unet": nn.ModuleDict({"to_q": nn.Linear(16, 24), "proj": nn.Linear(24, 16)})})
    paths = [tmp_path / "files" / name / "adapter_model.safetensors" for name in ("one", "two")]
    sources = read(*paths, strengths=(0.7, 0.4), known=known)
    merge(sources, Place(path=tmp_path / OUT), keep=Keep(rank=3) if kind == "svd" else None)
    for name in ("to_q", "proj"):
        theirs = wrapped.base_model.model[name].get_delta_weight("both").detach()
        assert relative(changes(tmp_path / OUT)[f"lora_unet_{name}"], theirs) < 1e-5


def test_a_fused_module_falls_into_its_parts_where_another_file_has_only_one(tmp_path: Path) -> None:
    known = NameMap.of(next(one for one in FAMILIES if one.name == "sd3").trees())
    fused, single = "lora_unet_joint_blocks_0_x_block_attn_qkv", "transformer.transformer_blocks.0.attn.to_k"
    whole = {f"{fused}.lora_up.weight": torch.randn(4608, 2), f"{fused}.lora_down.weight": torch.randn(2, 1536)}
    part = {f"{single}.lora_B.weight": torch.randn(1536, 1), f"{single}.lora_A.weight": torch.randn(1, 1536)}
    paths = saved(tmp_path / "whole.safetensors", whole), saved(tmp_path / "part.safetensors", part)
    merge(read(paths[0], known=known), Place(path=tmp_path / OUT))
    assert set(changes(tmp_path / OUT)) == {fused}  # one file alone keeps it whole
    made = merge(read(*paths, strengths=(1.0, 0.5), known=known), Place(path=tmp_path / "both.safetensors"))
    assert sorted(made.ranks.items()) == [(2, 2), (3, 1)]
    (source,) = read(tmp_path / "both.safetensors", known=known)
    exact = whole[f"{fused}.lora_up.weight"].double() @ whole[f"{fused}.lora_down.weight"].double()
    extra = part[f"{single}.lora_B.weight"].double() @ part[f"{single}.lora_A.weight"].double()
    for module in source.modules:
        (_, record), (seat,) = next(source.records(module)), module.seats
        row = ("to_q", "to_k", "to_v").index(seat.module.rpartition(".")[2])
        wanted = exact[1536 * row : 1536 * (row + 1)] + (0.5 * extra if row == 1 else 0)
        assert relative(record.delta(torch.empty(1536, 1536, device="meta")), wanted) < 1e-5


def test_weights_of_text_encoder_and_unet_are_told_apart(tmp_path: Path) -> None:
    path = saved(tmp_path / "one.safetensors", lora(1))
    sources = opened([("one", path)], names(), strengths=[StackWeight(unet=2.0, text_encoder=-1.0)])
    merge(sources, Place(path=tmp_path / OUT))
    before, after = changes(path), changes(tmp_path / OUT)
    assert relative(after[stem("unet.conv")], 2 * before[stem("unet.conv")]) < 1e-6
    assert relative(after[stem("text_encoder.fc1")], -before[stem("text_encoder.fc1")]) < 1e-6


def test_a_folder_of_peft_with_two_parts_is_replaced_and_a_model_s_folder_is_not(tmp_path: Path) -> None:
    ink = LORAS / "ink.safetensors"
    place = Place(path=tmp_path / "out", layout="peft")
    merge(opened([("ink", ink)]), place)
    assert {path.name for path in place.path.iterdir()} == {"unet", "text_encoder"}
    with pytest.raises(OutputExists):
        place.check()
    merge(opened([("ink", ink)]), Place(path=place.path, layout="peft", overwrite=True))
    (place.path / "unet" / "config.json").write_text("{}")
    with pytest.raises(OutputError, match="not ours to replace"):
        Place(path=place.path, layout="peft", overwrite=True).check()
