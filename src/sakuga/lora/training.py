"""What the metadata of an adapter may be repeated of, and what is only named.

Captions, folders of pictures, thumbnails and comments can be long and private; a list says what is neither, and every
value is shortened and made one line before it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sakuga.lora.words import clean

TRAINING: tuple[str, ...] = (
    "network_module",
    "network_dim",
    "network_alpha",
    "network_args",
    "base_model_version",
    "v2",
)
TRAINING += (
    "output_name",
    "resolution",
    "clip_skip",
    "num_train_images",
    "num_epochs",
    "epoch",
    "steps",
    "max_train_steps",
)
TRAINING += ("learning_rate", "unet_lr", "text_encoder_lr", "optimizer", "lr_scheduler", "seed", "mixed_precision")
TRAINING += ("noise_offset", "min_snr_gamma", "loss_type", "max_token_length", "sd_scripts_commit_hash")
MODELSPEC: tuple[str, ...] = ("sai_model_spec", "architecture", "implementation", "title", "author", "date", "license")
MODELSPEC += ("usage_hint", "trigger_phrase", "resolution", "prediction_type", "timestep_range", "encoder_layer")
MODELSPEC += ("description", "tags", "merged_from")
SHOWN = frozenset(
    {"format", "software", "training_info", "lora_adapter_metadata", "ot_branch", "ot_revision"}
    | {f"ss_{key}" for key in TRAINING}
    | {f"modelspec.{key}" for key in MODELSPEC}
)
VALUE_CAP = 2000  # characters of one value
_FOLDERS = re.compile(r"(?:[A-Za-z]:)?(?:[\\/]+[^\\/\s\"',]+)+[\\/]+")  # of a path, up to its last part


def training(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The values that may be shown, and the names of the others.

    >>> training({"ss_steps": "200", "ss_tag_frequency": "{}"})
    {'shown': {'ss_steps': '200'}, 'withheld': ['ss_tag_frequency']}
    """
    return {
        "shown": {key: _value(key, value) for key, value in metadata.items() if key in SHOWN},
        "withheld": sorted(clean(key) for key in metadata if key not in SHOWN),
    }


def _value(key: str, value: str) -> str:
    """The value without the folders of the paths in it; a ModelSpec has addresses of pages in their place."""
    line = clean(value, VALUE_CAP)
    return line if key.startswith("modelspec.") else _FOLDERS.sub("…/", line)
