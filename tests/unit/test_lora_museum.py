"""Exhibits of the museum: they read as the file does, and hold nothing private and no weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sakuga.errors import FileProblem, UnreadableFile
from sakuga.lora.museum import Exhibit, check_exhibit, expectation, strip
from sakuga.lora.survey import survey
from sakuga.tensors.file import TensorFile

STEM = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
PATH = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
METADATA = {
    "ss_network_dim": "4",
    "ss_sd_model_name": "/people/me/secret.safetensors",
    "ss_tag_frequency": '{"10_me": {"my face": 3}}',
    "ss_output_name": "my face",
    "modelspec.author": "secret",
    "ss_network_args": '{"preset": "/people/me/full.toml"}',
}


def kohya(folder: Path) -> TensorFile:
    torch.manual_seed(0)
    tensors = {
        f"{STEM}.lora_down.weight": torch.randn(4, 8),
        f"{STEM}.lora_up.weight": torch.randn(6, 4),
        f"{STEM}.alpha": torch.tensor(2.0),
    }
    save_file(tensors, folder / "my face.safetensors", METADATA)
    return TensorFile.open(folder / "my face.safetensors")


def peft(folder: Path) -> TensorFile:
    tensors = {
        f"base_model.model.{PATH}.lora_A.weight": torch.randn(4, 8),
        f"base_model.model.{PATH}.lora_B.weight": torch.randn(6, 4),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 12, "base_model_name_or_path": "/people/me/secret"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return TensorFile.open(folder / "adapter_model.safetensors")


def test_an_exhibit_reads_as_the_file_does(tmp_path: Path) -> None:
    file = kohya(tmp_path)
    told = json.loads(json.dumps(strip(file)))
    exhibit = Exhibit(told, tmp_path)
    check_exhibit(exhibit)
    mine, real = survey(exhibit), survey(file)
    assert expectation(mine) == expectation(real) == told["expected"]
    assert [module.facts for module in mine.modules] == [module.facts for module in real.modules]
    assert (exhibit.names, exhibit.shape(f"{STEM}.alpha"), exhibit.dtype(f"{STEM}.alpha")) == (file.names, (), "F32")


def test_nothing_private_and_no_weight_is_in_an_exhibit(tmp_path: Path) -> None:
    told = strip(kohya(tmp_path))
    text = json.dumps(told)
    assert [word for word in ("secret", "my face", "/people", "10_me") if word in text] == []
    assert told["metadata"]["ss_tag_frequency"] == ""
    assert told["metadata"]["ss_network_dim"] == "4"
    assert set(told["metadata"]) == set(METADATA)
    assert told["numbers"] == {f"{STEM}.alpha": 2.0}
    assert told["file"] == "adapter.safetensors"


def test_the_config_beside_a_file_comes_along_without_its_private_parts(tmp_path: Path) -> None:
    told = strip(peft(tmp_path))
    assert told["config"] == {"peft_type": "LORA", "r": 4, "lora_alpha": 12}
    assert told["file"] == "adapter_model.safetensors"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    exhibit = Exhibit(told, elsewhere).lay_out(elsewhere)
    check_exhibit(exhibit)
    assert survey(exhibit).modules[0].facts.alpha == survey(peft(tmp_path)).modules[0].facts.alpha == 12


def test_an_exhibit_that_is_read_otherwise_is_refused(tmp_path: Path) -> None:
    told = strip(kohya(tmp_path))
    told["expected"]["layout"] = "another"
    with pytest.raises(FileProblem, match="is read otherwise"):
        check_exhibit(Exhibit(told, tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"file": "a", "tensors": 5}', '{"file": 5}'])
def test_a_fixture_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UnreadableFile, match="no exhibit of the museum"):
        Exhibit.open(tmp_path / "a.json")


def test_a_fixture_is_opened_again(tmp_path: Path) -> None:
    told = strip(kohya(tmp_path))
    (tmp_path / "fixture.json").write_text(json.dumps(told))
    check_exhibit(Exhibit.open(tmp_path / "fixture.json"))
