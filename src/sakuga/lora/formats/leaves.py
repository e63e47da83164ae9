"""The last parts of adapter keys and their canonical names, and the keys that stand beside the modules.

Data and string functions only. A leaf that is not in the table keeps its own name, so that a refusal can say it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LEAVES: Mapping[str, str] = {
    **{f"{down}.weight": "down" for down in ("lora_down", "lora_A", "lora.down", "lora_linear_layer.down")},
    **{f"{up}.weight": "up" for up in ("lora_up", "lora_B", "lora.up", "lora_linear_layer.up")},
    "lora_A": "down",
    "lora_B": "up",
    "lora.down": "down",
    "lora.up": "up",
    "lora_mid.weight": "mid",
    "lora_B.bias": "up_bias",
    "lora_up.bias": "up_bias",
    "alpha": "alpha",
    **dict.fromkeys(("dora_scale", "magnitude", "lora_magnitude_vector", "lora_magnitude_vector.weight"), "magnitude"),
}
# Prefixes that only say how the model was wrapped when it was saved.
CONTAINERS = (
    "base_model.model.",
    "state_dict.",
    "model.diffusion_model.",
    "diffusion_model.",
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "module.",
    "model.",
)
# Keys beside the modules: pattern → (reason, whether leaving them out changes the picture).
ASIDE: tuple[tuple[re.Pattern[str], str, bool], ...] = (
    (re.compile(r"bundle_emb\."), "an embedded textual inversion is not read by this version", True),
    (re.compile(r"_aux\."), "bookkeeping of OneTrainer without effect", False),
)
_NAMED = re.compile(r"(lora_[AB]|lora_magnitude_vector)\.([^.]+)(\.weight|\.bias)$")


def canonical(leaf: str) -> tuple[str, str | None]:
    """(canonical leaf, PEFT's adapter name in it or None).

    >>> canonical("lora_A.default.weight")
    ('down', 'default')
    """
    named = _NAMED.fullmatch(leaf)
    adapter = named[2] if named else None
    plain = named[1] + named[3] if named else leaf
    return LEAVES.get(plain, plain), adapter


def without_containers(key: str) -> str:
    """The key without the wrappers' prefixes, however many there are."""
    while prefix := next((prefix for prefix in CONTAINERS if key.startswith(prefix)), None):
        key = key[len(prefix) :]
    return key


def aside(key: str) -> tuple[str, bool] | None:
    """(reason, whether it is a refusal) for a key that belongs to no module, or None."""
    return next(((reason, refused) for pattern, reason, refused in ASIDE if pattern.match(key)), None)
