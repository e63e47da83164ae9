"""Tiny models of the true layouts, random, and the files that people have of them. Built once; files go to tmp_path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from sakuga.models.device import Placement, resolve
from sakuga.models.library import Library
from sakuga.tensors.tables.ldm_control import ldm_control_names
from sakuga.tensors.tables.ldm_unet import ldm_unet_names
from sakuga.tensors.tables.ldm_vae import ldm_vae_names
from sakuga.tensors.tables.parameters import parameter_names

WIDTHS = (32, 64)
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 1,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "bos_token_id": 49406,
    "eos_token_id": 49407,
}


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """One model of each kind, random."""

    unet: Any
    vae: Any
    text: Any
    control: Any

    def text_state(self) -> dict[str, Tensor]:
        """The text encoder's weights with the names that every file has."""
        return {f"text_model.{k.removeprefix('text_model.')}": v for k, v in self.text.state_dict().items()}

    def ldm_unet(self) -> dict[str, Tensor]:
        return _renamed(self.unet.state_dict(), parameter_names(self.unet.state_dict(), ldm_unet_names))

    def ldm_control(self) -> dict[str, Tensor]:
        return _renamed(self.control.state_dict(), parameter_names(self.control.state_dict(), ldm_control_names))

    def ldm_vae(self) -> dict[str, Tensor]:
        named = _renamed(self.vae.state_dict(), parameter_names(self.vae.state_dict(), ldm_vae_names))
        squeezed = {"q.weight", "k.weight", "v.weight", "proj_out.weight"}
        return {
            key: value[:, :, None, None] if "attn_1" in key and key.split("attn_1.")[1] in squeezed else value
            for key, value in named.items()
        }

    def checkpoint(self) -> dict[str, Tensor]:
        """The whole model as a single file has it, without ``position_ids``."""
        return {
            **_under("model.diffusion_model.", self.ldm_unet()),
            **_under("first_stage_model.", self.ldm_vae()),
            **_under("cond_stage_model.transformer.", self.text_state()),
        }


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    assert set(names) == set(state), "the table has a name for every weight"
    return {names[key]: value for key, value in state.items()}


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    torch.manual_seed(7)
    unet = UNet2DConditionModel(
        block_out_channels=WIDTHS,
        layers_per_block=2,
        cross_attention_dim=16,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        scaling_factor=0.18215,
    )
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    with torch.no_grad():
        for parameter in control.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    text = CLIPTextModel(CLIPTextConfig(**TEXT))
    with torch.no_grad():  # as in a trained one, the last norm has a weight and a bias
        norm = getattr(text, "text_model", text).final_layer_norm
        norm.weight.copy_(1 + 0.3 * torch.randn(16))
        norm.bias.copy_(0.2 * torch.rand(16))
    return Tiny(unet=unet.eval(), vae=vae.eval(), text=text.eval(), control=control.eval())


@pytest.fixture(scope="session")
def cpu() -> Placement:
    return resolve("cpu", "fp32")


@pytest.fixture(scope="session")
def bundle_folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as diffusers writes it, with a ControlNet of its own called tile."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    for name, part in (("unet", tiny.unet), ("vae", tiny.vae), ("controls/tile", tiny.control)):
        part.save_pretrained(folder / name)
    tiny.text.save_pretrained(folder / "text_encoder")
    scheduler = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "clip_sample": False}
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


@pytest.fixture(scope="session")
def checkpoint_file(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a single ``.safetensors`` of LDM layout."""
    path = tmp_path_factory.mktemp("single") / "tiny.safetensors"
    save_file({key: value.contiguous() for key, value in tiny.checkpoint().items()}, path)
    return path


@pytest.fixture
def library(bundle_folder: Path, tmp_path: Path) -> Library:
    return Library(folders=(tmp_path, bundle_folder.parent))


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, Mapping[str, Any]], Path]:
    """Write tensors under a file name: safetensors, or torch's pickle for every other suffix."""

    def write(name: str, state: Mapping[str, Any]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file({key: value.contiguous() for key, value in state.items()}, path)
        else:
            torch.save(dict(state), path)
        return path

    return write


def same_weights(one: Any, other: Any) -> None:
    """Assert that two modules have the same weights, bit by bit."""
    left, right = one.state_dict(), other.state_dict()
    assert list(left) == list(right)
    for key, value in left.items():
        assert torch.equal(value, right[key]), key


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Any, Any], None]:
    return same_weights
