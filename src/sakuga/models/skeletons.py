"""Empty models of diffusers' and transformers' classes, without memory for weights; to be filled from our own reading.

The one place that chooses their classes, from a closed table. The packages come without types, so their objects are
``Any`` for the type checker, under the names that this file gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from sakuga.errors import FileProblem

UNet = Any  # UNet2DConditionModel
Control = Any  # ControlNetModel
Vae = Any  # one of VAES
TextEncoder = Any  # CLIPTextModel

VAES: Mapping[str, Any] = {
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderDC": AutoencoderDC,
    "AutoencoderTiny": AutoencoderTiny,
}
# What a text encoder's config may say. transformers would follow others too: fetch and run code that one names.
TEXT_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
_UNET: Any = UNet2DConditionModel
_CONTROL: Any = ControlNetModel


@contextmanager
def _empty(kind: str) -> Iterator[None]:
    """Build on the meta device; a config that its class cannot be built from is the file's fault, not ours."""
    try:
        with torch.device("meta"):
            yield
    except Exception as error:  # the libraries raise whatever the odd value happened to break
        raise FileProblem(
            f"no {kind} can be built from this config",
            given=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            expected="a config as diffusers or transformers writes it",
            do="fetch config.json again",
        ) from error


def unet_skeleton(config: Mapping[str, Any]) -> UNet:
    """A ``UNet2DConditionModel``."""
    with _empty("UNet"):
        return _UNET.from_config(dict(config))


def control_skeleton(config: Mapping[str, Any]) -> Control:
    """A ``ControlNetModel``."""
    with _empty("ControlNet"):
        return _CONTROL.from_config(dict(config))


def vae_skeleton(kind: str, config: Mapping[str, Any]) -> Vae:
    """An autoencoder of the class ``kind``, one of ``VAES``."""
    with _empty("VAE"):
        return VAES[kind].from_config(dict(config))


def text_skeleton(config: Mapping[str, Any]) -> TextEncoder:
    """A ``CLIPTextModel``. Its counter of positions, which is no weight, has its values."""
    with _empty("text encoder"):
        plain = CLIPTextConfig.from_dict({key: config[key] for key in TEXT_KEYS if key in config})
        encoder: Any = CLIPTextModel(plain)
    inner = getattr(encoder, "text_model", encoder)  # transformers before 5.6 has one level more
    inner.embeddings.position_ids = torch.arange(plain.max_position_embeddings).expand((1, -1))
    return encoder
