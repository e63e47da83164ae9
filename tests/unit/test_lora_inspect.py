"""``show``: what ``lora show --json`` says of a file, from its header; and the evidence for a family of models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sakuga.errors import UnknownFile
from sakuga.lora.family import guess_family
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
    f"{STEMS[2]}.dora_scale": torch.ones(6, 1),
}
METADATA = {"ss_base_model_version": "sd_v1", "ss_tag_frequency": "{a caption}", "sshs_model_hash": "ab"}


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
    assert found["algorithms"] == {"LoRA": 2, "DoRA": 1}
    assert found["modules"] == {"total": 3, "used": 1}
    keys = found["keys"]
    assert (keys["total"], keys["used"]) == (9, 3)
    ignored = [f"{STEMS[1]}.{leaf}" for leaf in ("alpha", "lora_down.weight", "lora_up.weight")]
    refused = [f"{STEMS[2]}.{leaf}" for leaf in ("dora_scale", "lora_down.weight", "lora_up.weight")]
    assert keys["ignored"] == [{"key": key, "reason": "alpha is 0: without effect"} for key in ignored]
    assert keys["refused"] == [{"key": key, "reason": "DoRA is not applied by this version"} for key in refused]
    assert found["ranks"] == {"2": 1, "4": 1}
    assert found["alphas"] == {"1": 1, "0": 1}
    assert found["notes"] == ["alpha is 0 in 1 module: without effect"]


def test_hashes_are_over_the_bytes_that_their_names_mean(tmp_path: Path) -> None:
    file = _file(tmp_path)
    content = file.path.read_bytes()
    payload = content[8 + int.from_bytes(content[:8], "little") :]
    assert show(file)["hashes"] == {
        "sha256": hashlib.sha256(content).hexdigest(),
        "autov2": hashlib.sha256(content).hexdigest()[:10],
        "autov3": hashlib.sha256(payload).hexdigest()[:12],
        "sshs": hashlib.sha256(payload).hexdigest(),
        "sshs_stated": "ab",
    }


def test_a_pickle_has_no_payload_of_its_own(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "ink.pt")
    hashes = show(TensorFile.open(tmp_path / "ink.pt"))["hashes"]
    assert (hashes["autov3"], hashes["sshs"]) == (hashes["sha256"][:12], None)


def test_private_metadata_is_named_and_not_shown(tmp_path: Path) -> None:
    found = show(_file(tmp_path))
    assert found["metadata"] == {
        "shown": {"ss_base_model_version": "sd_v1"},
        "withheld": ["ss_tag_frequency", "sshs_model_hash"],
    }
    assert "a caption" not in json.dumps(found)


def test_fit_says_whether_and_why_not(tmp_path: Path) -> None:
    fit = show(_file(tmp_path), NAMES, name="my ink")["fit"]
    assert (fit["fits"], fit["named"], fit["shapes_checked"]) == (False, 3, False)
    assert fit["problem"]["title"] == "ink.safetensors uses what this version does not apply: DoRA"
    whole = _file(tmp_path, _pair(STEMS[0], 2))
    shapes = {place: (6, 8) for place in NAMES.dotted.values()}
    assert show(whole, NAMES, shapes=shapes)["fit"] == {
        "fits": True,
        "named": 1,
        "shapes_checked": True,
        "problem": None,
    }


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


@pytest.mark.parametrize(
    ("family", "name", "width"),
    [
        ("sd15", "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 768),
        ("sd15", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v", 768),
        ("sd15", "lora_te_text_model_encoder_layers_3_self_attn_q_proj", 768),
        ("sd2", "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 1024),
        ("sdxl", "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 2048),
        ("sdxl", "lora_unet_mid_block_attentions_0_transformer_blocks_9_attn1_to_q", 1280),
        ("sdxl", "lora_unet_input_blocks_8_1_transformer_blocks_9_attn1_to_q", None),
        ("sdxl", "lora_te2_text_model_encoder_layers_31_mlp_fc1", None),
        ("sdxl", "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj", None),
        ("flux", "lora_unet_double_blocks_0_img_attn_qkv", 3072),
        ("flux", "lora_unet_single_blocks_7_linear1", 3072),
        ("flux", "transformer.single_transformer_blocks.0.attn.to_q", 3072),
        ("hunyuan-video", "lora_unet_double_blocks_0_img_mlp_fc1", 3072),
        ("sd3", "lora_unet_joint_blocks_0_x_block_attn_qkv", 1536),
        ("wan", "lora_unet_blocks_0_self_attn_q", 1536),
        ("wan", "blocks.0.cross_attn.k_img", 5120),
        ("qwen-image", "lora_unet_transformer_blocks_0_img_mlp_net_0_proj", 3072),
        ("z-image", "lora_unet_layers_0_attention_to_q", 3840),
        ("cascade", "lora_prior_unet_down_blocks_0_1_0", None),
        ("transformer", "transformer.transformer_blocks.0.attn.to_q", 3072),
        ("animatediff", "down_blocks.0.motion_modules.0.temporal_transformer.proj_in", 320),
        (None, "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 64),
        (None, "lora_unet_conv_in", 4),
    ],
)
def test_names_and_widths_tell_the_family(family: str | None, name: str, width: int | None) -> None:
    guess = guess_family([("lora_unet_conv_in", 4), (name, width)], {})
    assert guess.family == family
    assert (name.replace(".", "_") in guess.reason) == (family is not None)


def test_metadata_is_only_a_hint() -> None:
    stated = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}
    assert guess_family([("lora_unet_conv_in", 4)], stated).family == "sdxl"
    guess = guess_family([("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 768)], stated)
    assert guess.family == "sd15"
