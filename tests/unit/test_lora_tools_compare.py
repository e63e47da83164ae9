"""Resizing, and what differs between two adapters: against numpy, in several layouts, with words for each finding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.unit.adapter_files import SHAPES, changes, lora, model, read, relative, saved, stem
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.tools.convert import convert
from sakuga.lora.tools.difference import difference
from sakuga.lora.tools.lowrank import Keep
from sakuga.lora.tools.output import Place
from sakuga.lora.tools.resize import resize
from sakuga.lora.tools.spelling import Layout
from sakuga.tensors.file import TensorFile

OUT = "out.safetensors"


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
@pytest.mark.parametrize("rank", [1, 3])
def test_each_module_is_cut_to_its_best_and_keeps_its_strength(tmp_path: Path, rank: int, layout: Layout) -> None:
    path = saved(tmp_path / "one.safetensors", lora(1, rank=6, alpha=2.5), {"ss_network_dim": "6", "ss_tag": "x"})
    made = resize(read(path)[0], Place(path=tmp_path / OUT, layout=layout), Keep(rank=rank))
    if layout == "diffusers":
        convert(read(tmp_path / OUT)[0], Place(path=tmp_path / "kohya.safetensors"))
    result = tmp_path / (OUT if layout == "kohya" else "kohya.safetensors")
    found, missing, meant = changes(result), 0.0, 0.0
    for name, change in changes(path).items():
        left, values, right = np.linalg.svd(change.numpy(), full_matrices=False)
        assert relative(found[name], torch.from_numpy((left[:, :rank] * values[:rank]) @ right[:rank])) < 1e-5
        assert float(load_file(result)[f"{name}.alpha"]) == pytest.approx(2.5 / 6 * rank)
        missing += float((found[name] - change).norm()) ** 2
        meant += float(change.norm()) ** 2
    assert made.errors is not None and made.errors.overall == pytest.approx((missing / meant) ** 0.5, rel=1e-4)
    assert made.ranks == {rank: len(SHAPES)}
    assert TensorFile.open(tmp_path / OUT).metadata.get("ss_tag") == "x"
    assert "ss_network_dim" not in TensorFile.open(tmp_path / OUT).metadata


def test_what_is_small_enough_keeps_its_bits(tmp_path: Path) -> None:
    tensors = lora(1, rank=2, alpha=0.7, dtype=torch.float16) | {"lora_unet_to_q.diff_b": torch.randn(24).half()}
    path = saved(tmp_path / "one.safetensors", tensors)
    made = resize(read(path)[0], Place(path=tmp_path / OUT), Keep(rank=4))
    found = load_file(tmp_path / OUT)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) for key in tensors if not key.endswith(".alpha"))
    assert made.errors is not None and made.errors.overall == 0.0


def test_each_module_gets_the_rank_that_holds_the_share(tmp_path: Path) -> None:
    path = saved(tmp_path / "one.safetensors", lora(1, rank=8))
    made = resize(read(path)[0], Place(path=tmp_path / OUT), Keep(rank=8, method="sv_fro", value=0.9))
    assert made.errors is not None
    assert all(error <= (1 - 0.81) ** 0.5 + 1e-6 for error in made.errors.relative().values())
    for name, change in changes(path).items():
        values = np.linalg.svd(change.numpy(), compute_uv=False)
        shares = np.sqrt(np.cumsum(values**2) / np.sum(values**2))
        assert load_file(tmp_path / OUT)[f"{name}.lora_down.weight"].shape[0] == int(np.sum(shares < 0.9)) + 1


def test_a_dora_is_not_resized_alone(tmp_path: Path) -> None:
    tensors = lora(1, places=("unet.to_q",)) | {"lora_unet_to_q.dora_scale": torch.rand(24, 1)}
    path = saved(tmp_path / "one.safetensors", tensors)
    with pytest.raises(AdapterDoesNotFit, match="rank cannot be changed alone") as caught:
        resize(read(path)[0], Place(path=tmp_path / OUT), Keep(rank=1))
    assert "--base" in str(caught.value)


def _compared(tmp_path: Path, one: dict[str, Tensor], two: dict[str, Tensor]):
    paths = [saved(tmp_path / f"{name}.safetensors", tensors) for name, tensors in (("one", one), ("two", two))]
    return difference(*read(*paths))


def test_the_difference_is_that_of_the_changes(tmp_path: Path) -> None:
    one, two = lora(1), lora(2, rank=5, alpha=1.0)
    found = _compared(tmp_path, one, two)
    inner = gaps = 0.0
    sizes = [0.0, 0.0]
    for row in found.rows:
        here, there = (changes(tensors)[stem(row.module)] for tensors in (one, two))
        larger = max(here.norm(), there.norm())
        assert row.relative == pytest.approx(float((here - there).norm() / larger), rel=1e-6)
        cosine = float((here * there).sum() / here.norm() / there.norm())
        assert row.cosine == pytest.approx(cosine, rel=1e-5, abs=1e-7)
        assert (row.ranks, row.alphas) == ((3, 5), (2.0, 1.0))
        inner, gaps = inner + float((here * there).sum()), gaps + float((here - there).norm()) ** 2
        sizes = [sizes[0] + float(here.norm()) ** 2, sizes[1] + float(there.norm()) ** 2]
    assert len(found.rows) == len(SHAPES)
    assert found.overall == pytest.approx((gaps / max(sizes)) ** 0.5, rel=1e-6)
    assert found.cosine == pytest.approx(inner / (sizes[0] * sizes[1]) ** 0.5, rel=1e-6)
    assert found.verdict.startswith("they differ by ")


def test_modules_of_one_side_are_named(tmp_path: Path) -> None:
    found = _compared(tmp_path, lora(1, places=("unet.to_q", "unet.conv")), lora(1, places=("unet.conv",)))
    assert (found.only_first, found.only_second) == (["unet.to_q"], [])
    assert found.verdict == "they differ"
    assert "  only in one.safetensors (1)" in found.lines()


def test_one_adapter_in_several_layouts_is_one_adapter(tmp_path: Path) -> None:
    path = saved(tmp_path / "one.safetensors", lora(1))
    for layout, out in (("diffusers", tmp_path / OUT), ("kohya", tmp_path / "again.safetensors")):
        convert(read(path)[0], Place(path=out, layout=layout))
    assert "one and the same adapter" in difference(*read(path, tmp_path / OUT)).verdict
    assert "byte for byte" in difference(*read(path, path)).verdict


def test_rounding_and_a_changed_alpha_are_told_apart(tmp_path: Path) -> None:
    half = {key: tensor.half() for key, tensor in lora(1).items()}
    assert "but for rounding" in _compared(tmp_path, lora(1), half).verdict
    found = _compared(tmp_path, lora(1, alpha=2.0), lora(1, alpha=1.0))
    assert found.overall == pytest.approx(0.5) and found.cosine == pytest.approx(1.0)
    assert "  another alpha (5)" in found.lines()


def test_an_alpha_that_is_not_stated_is_the_rank(tmp_path: Path) -> None:
    found = _compared(tmp_path, lora(1, rank=3, alpha=None), lora(1, rank=3, alpha=3.0))
    assert "to the bit" in found.verdict and found.lines() == [found.verdict]


def test_doras_are_compared_by_a_base_or_by_their_factors(tmp_path: Path) -> None:
    def dora(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return lora(1, places=("unet.to_q",)) | {"lora_unet_to_q.dora_scale": torch.rand(24, 1) + 0.5}

    found = _compared(tmp_path, dora(1), dora(2))
    assert "cannot be compared without a base" in found.verdict
    (tmp_path / "three.safetensors").write_bytes(saved(tmp_path / "x.safetensors", dora(1), {"a": "b"}).read_bytes())
    assert "to the bit" in difference(*read(tmp_path / "one.safetensors", tmp_path / "three.safetensors")).verdict
    weight = dict(model()["unet"].named_parameters())["to_q.weight"].detach()
    sources = read(tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    told = difference(*sources, weigh=lambda *_: weight)
    assert told.rows[0].relative is not None and 0.05 < told.rows[0].relative < 2


def test_the_account_is_plain_data(tmp_path: Path) -> None:
    told = _compared(tmp_path, lora(1), lora(2)).told()
    again = json.loads(json.dumps(told))
    assert again["schema"] == 1 and len(again["modules"]) == len(SHAPES)
