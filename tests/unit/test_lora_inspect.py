"""``show``: what ``lora show --json`` says of a file, from its header."""

from __future__ import annotations

import hashlib
import json
import sys
import types
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sakuga.errors import UnknownFile
from sakuga.lora.inspect import show
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

PATHS = [f"mid_block.attentions.0.transformer_blocks.0.attn1.to_{x}" for x in "qkv"]
NAMES = NameMap.of({"unet": PATHS})
STEMS = ["lora_unet_" + path.replace(".", "_") for path in PATHS]


def _pair(stem: str, rank: int) -> dict[str, Tensor]:
    return {f"{stem}.lora_down.weight": torch.ones(rank, 8), f"{stem}.lora_up.weight": torch.ones(6, rank)}


TENSORS = {
    **_pair(STEMS[0], 2),
    **_pair(STEMS[1], 4),
    **_pair(STEMS[2], 4),
    f"{STEMS[0]}.alpha": torch.tensor(1.0),
    f"{STEMS[1]}.alpha": torch.tensor(0.0),
    f"{STEMS[2]}.lora_diag": torch.ones(4),
}
METADATA = {
    "ss_base_model_version": "sd_v1",
    "ss_tag_frequency": json.dumps({"10_me": {"lines": 3, "a caption that goes on and on" + " and on" * 9: 9}}),
    "ss_training_comment": "a comment",
    "modelspec.trigger_phrase": "inkstyle",
    "sshs_model_hash": "ab",
}


def _file(folder: Path, tensors: Mapping[str, Tensor] = TENSORS) -> TensorFile:
    save_file(dict(tensors), folder / "ink.safetensors", METADATA)
    return TensorFile.open(folder / "ink.safetensors")


def test_show_counts_every_key_with_its_reason(tmp_path: Path) -> None:
    found = show(_file(tmp_path))
    assert json.loads(json.dumps(found)) == found
    assert {key: found[key] for key in ("schema", "name", "kind", "family", "layout", "fit")} == {
        "schema": 1,
        "name": "ink",
        "kind": "adapter",
        "family": "sd15",
        "layout": "kohya",
        "fit": None,
    }
    assert found["file"] == str(tmp_path / "ink.safetensors")
    assert found["algorithms"] == {"LoRA": 2, "KaSA": 1}
    assert found["modules"] == {"total": 3, "used": 1}
    keys = found["keys"]
    assert (keys["total"], keys["used"]) == (9, 3)
    ignored = [f"{STEMS[1]}.{leaf}" for leaf in ("alpha", "lora_down.weight", "lora_up.weight")]
    refused = [f"{STEMS[2]}.{leaf}" for leaf in ("lora_diag", "lora_down.weight", "lora_up.weight")]
    assert keys["ignored"] == [{"key": key, "reason": "alpha is 0: without effect"} for key in ignored]
    assert keys["refused"] == [{"key": key, "reason": "KaSA is not applied by this version"} for key in refused]
    assert found["ranks"] == {"2": 1, "4": 1}
    assert found["alphas"] == {"1": 1, "0": 1}
    assert "alpha is 0 in 1 module: without effect" in found["notes"]
    assert (found["formats"], found["size_bytes"]) == ({"F32": 9}, (tmp_path / "ink.safetensors").stat().st_size)


def test_hashes_are_over_the_bytes_that_their_names_mean(tmp_path: Path) -> None:
    file = _file(tmp_path)
    content = file.path.read_bytes()
    payload = content[8 + int.from_bytes(content[:8], "little") :]
    assert (
        show(file)["hashes"]
        == {
            "sha256": hashlib.sha256(content).hexdigest(),
            "autov1": None,  # the file ends before the piece that it is over
            "autov2": hashlib.sha256(content).hexdigest()[:10],
            "autov3": hashlib.sha256(payload).hexdigest()[:12],
            "sshs": hashlib.sha256(payload).hexdigest(),
            "sshs_stated": "ab",
            "sshs_check": "a hash of another kind",
            "sshs_legacy_stated": None,
            "sshs_legacy_check": None,
            "crc32": None,
            "blake3": None,
            "blake3_missing": None,
        }
    )


def test_a_large_file_is_hashed_in_pieces_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {f"{STEMS[0]}.lora_down.weight": torch.rand(1000, 800), f"{STEMS[0]}.lora_up.weight": torch.rand(6, 1000)}
    file = _file(tmp_path, tensors)
    content = file.path.read_bytes()
    payload = content[8 + int.from_bytes(content[:8], "little") :]
    found = show(file, hashes=True)["hashes"]
    assert found["sshs"] == hashlib.sha256(payload).hexdigest()
    assert found["autov1"] == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert found["crc32"] == f"{zlib.crc32(content):08x}"


@pytest.mark.parametrize("there", [True, False])
def test_a_hash_whose_package_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    made = types.ModuleType("blake3")
    made.blake3 = hashlib.blake2s  # type: ignore[attr-defined]
    monkeypatch.setattr("sakuga.lora.hashes.importlib.util.find_spec", lambda name: object() if there else None)
    monkeypatch.setitem(sys.modules, "blake3", made)
    file = _file(tmp_path)
    found = show(file, hashes=True)["hashes"]
    if there:
        assert found["blake3"] == hashlib.blake2s(file.path.read_bytes()).hexdigest()
        assert found["blake3_missing"] is None
    else:
        assert (found["blake3"], found["blake3_missing"]) == (None, "the package blake3 is not installed")


@pytest.mark.parametrize(("right", "check"), [(True, "matches"), (False, "differs")])
def test_the_hash_that_a_trainer_stated_is_checked(tmp_path: Path, right: bool, check: str) -> None:
    payload = show(_file(tmp_path))["hashes"]["sshs"]
    save_file(TENSORS, tmp_path / "b.safetensors", {"sshs_model_hash": payload.upper() if right else "ab" * 32})
    assert show(TensorFile.open(tmp_path / "b.safetensors"))["hashes"]["sshs_check"] == check


def test_words_and_tags_are_told_with_their_sources(tmp_path: Path) -> None:
    (tmp_path / "ink.civitai.info").write_text(json.dumps({"trainedWords": ["thin"], "baseModel": "SD 1.5"}))
    (tmp_path / "ink.preview.png").write_bytes(b"")
    found = show(_file(tmp_path))
    assert found["trigger_words"] == [
        {"words": "inkstyle", "source": "the file's own metadata"},
        {"words": "thin", "source": "a file beside it"},
    ]
    assert found["tags"] == {"lines": 3}
    assert found["base"] == "sd_v1"
    assert found["beside"]["files"] == ["ink.civitai.info", "ink.preview.png"]
    assert (found["beside"]["base"], found["beside"]["preview"]) == ("SD 1.5", "ink.preview.png")


def test_a_pickle_has_no_payload_of_its_own(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "ink.pt")
    hashes = show(TensorFile.open(tmp_path / "ink.pt"))["hashes"]
    assert (hashes["autov3"], hashes["sshs"]) == (hashes["sha256"][:12], None)


def test_private_metadata_is_named_and_not_shown(tmp_path: Path) -> None:
    found = show(_file(tmp_path))
    assert found["metadata"] == {
        "shown": {"ss_base_model_version": "sd_v1", "modelspec.trigger_phrase": "inkstyle"},
        "withheld": ["ss_tag_frequency", "ss_training_comment", "sshs_model_hash"],
    }
    told = json.dumps(found)
    assert not any(private in told for private in ("a caption", "a comment", "10_me"))


def test_fit_says_whether_and_why_not(tmp_path: Path) -> None:
    fit = show(_file(tmp_path), NAMES, name="my ink")["fit"]
    assert (fit["fits"], fit["named"], fit["shapes_checked"]) == (False, 3, False)
    assert fit["problem"]["title"] == "ink.safetensors uses what this version does not apply: KaSA"
    whole = _file(tmp_path, _pair(STEMS[0], 2))
    assert show(whole, NameMap.of({"unet": {PATHS[0]: {"weight": (6, 8)}}}))["fit"] == {
        "fits": True,
        "named": 1,
        "used": 1,
        "shapes_checked": True,
        "misfits": [],
        "problem": None,
    }


def test_fit_names_every_module_without_a_place_and_what_is_nearest(tmp_path: Path) -> None:
    other = _file(tmp_path, _pair(STEMS[0] + "x", 2) | _pair(STEMS[1], 2))
    names = NameMap.of({"unet": {path: {"weight": (6, 9)} for path in PATHS}})
    wrong, missing = show(other, names)["fit"]["misfits"]
    assert (missing["module"], missing["nearest"]) == (STEMS[0] + "x", STEMS[0])
    assert (wrong["module"], wrong["nearest"]) == (STEMS[1], None)
    assert "[6, 9]" in wrong["reason"]


def test_show_reads_no_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _file(tmp_path)
    asked: list[str] = []
    read = TensorFile.tensor
    monkeypatch.setattr(TensorFile, "tensor", lambda self, name: asked.append(name) or read(self, name))
    show(file, NAMES)
    assert sorted(asked) == sorted([f"{STEMS[0]}.alpha", f"{STEMS[1]}.alpha"])


def test_what_is_no_adapter_cannot_be_shown(tmp_path: Path) -> None:
    with pytest.raises(UnknownFile):
        show(_file(tmp_path, {"conv_in.weight": torch.ones(1)}))
