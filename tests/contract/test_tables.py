"""The naming tables against diffusers' own converters: the same keys, the same values, nothing left over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)

from sakuga.tensors.tables.ldm_control import ldm_control_names
from sakuga.tensors.tables.ldm_unet import ldm_unet_names
from sakuga.tensors.tables.ldm_vae import ldm_vae_names
from sakuga.tensors.tables.parameters import ModuleNames, parameter_names

Convert = Callable[..., dict[str, Any]]
SQUEEZED = ("attn_1.q.weight", "attn_1.k.weight", "attn_1.v.weight", "attn_1.proj_out.weight")


def on_meta(make: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return make()


def marked(names: Mapping[str, str], prefix: str) -> dict[str, torch.Tensor]:
    """An LDM checkpoint in which every weight is the number of its parameter: a mix-up shows, and nothing is large."""
    return {
        prefix + ldm: torch.full((1, 1, 1, 1) if ldm.endswith(SQUEEZED) else (1,), float(number))
        for number, ldm in enumerate(names.values())
    }


@pytest.mark.parametrize(
    ("make", "table", "convert", "prefix", "count"),
    [
        (
            lambda: UNet2DConditionModel(cross_attention_dim=768),
            ldm_unet_names,
            convert_ldm_unet_checkpoint,
            "model.diffusion_model.",
            686,
        ),
        (
            lambda: UNet2DConditionModel(
                block_out_channels=(32, 64, 64),
                layers_per_block=1,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=32,
            ),
            ldm_unet_names,
            convert_ldm_unet_checkpoint,
            "model.diffusion_model.",
            None,
        ),
        (
            lambda: ControlNetModel(cross_attention_dim=768),
            ldm_control_names,
            convert_controlnet_checkpoint,
            "control_model.",
            340,
        ),
        (
            lambda: AutoencoderKL(
                block_out_channels=(32, 64, 128, 128),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
            ),
            ldm_vae_names,
            convert_ldm_vae_checkpoint,
            "first_stage_model.",
            248,
        ),
    ],
    ids=["unet sd15", "unet like the starter's", "control", "vae"],
)
def test_tables_are_the_inverse_of_the_converters(
    make: Callable[[], Any], table: ModuleNames, convert: Convert, prefix: str, count: int | None
) -> None:
    model = on_meta(make)
    parameters = list(model.state_dict())
    names = parameter_names(parameters, table)
    assert list(names) == parameters and len(set(names.values())) == len(names)
    assert count in (None, len(names))
    converted = convert(marked(names, prefix), config=dict(model.config))
    assert {key: int(value.reshape(-1)[0]) for key, value in converted.items()} == {
        key: number for number, key in enumerate(parameters)
    }
