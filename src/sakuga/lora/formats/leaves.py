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
    **dict.fromkeys(("lora_B.bias", "lora_up.bias", "lora.up.bias"), "up_bias"),
    # PEFT's and ai-toolkit's magnitude is one number for each output, whatever its shape; dora_scale tells by its shape
    **dict.fromkeys(("magnitude", "lora_magnitude_vector", "lora_magnitude_vector.weight"), "magnitude"),
    **{f"{leaf}.weight": leaf for leaf in ("a1", "a2", "b1", "b2", "bm", "oft_R", "q_layer", "p_layer")},
    "oft_R.scaled_oft": "scaled_oft",
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
_WRAPPED = re.compile("(?:" + "|".join(re.escape(prefix) for prefix in CONTAINERS) + ")*")
# Keys beside the modules that have no effect: beginning → reason.
IGNORABLE: Mapping[str, str] = {"_aux.": "bookkeeping of OneTrainer without effect"}
_EMBEDDED = re.compile(r"bundle_emb\.([^.]+)\.(.+)")
_NAMED = re.compile(
    r"(lora_[ABE]|lora_magnitude_vector|lora_embedding_[AB]|ranknum|hada_\w+|lokr_\w+|oft_[Rrs]|boft_[Rs]|ia3_l)"
    r"\.(?!(?:weight|bias|scaled_oft)$)([^.]+)(\.weight|\.bias)?"
)


def canonical(leaf: str) -> tuple[str, str | None]:
    """(canonical leaf, PEFT's adapter name in it or None).

    >>> canonical("lora_A.default.weight")
    ('down', 'default')
    """
    named = _NAMED.fullmatch(leaf)
    adapter = named[2] if named else None
    plain = named[1] + (named[3] or "") if named else leaf
    return LEAVES.get(plain, plain), adapter


def without_containers(key: str) -> str:
    """The key without the wrappers' prefixes, however many there are."""
    wrapped = _WRAPPED.match(key)
    return key[wrapped.end() :] if wrapped else key


def ignorable(key: str) -> str:
    """Why a key beside the modules has no effect; empty when it is not known to have none."""
    return next((reason for prefix, reason in IGNORABLE.items() if key.startswith(prefix)), "")


def embedded(key: str) -> tuple[str, str] | None:
    """(name of the embedding, key in it) for a textual inversion that is carried along, or None.

    >>> embedded("bundle_emb.ink.string_to_param.*")
    ('ink', 'string_to_param.*')
    """
    found = _EMBEDDED.fullmatch(key)
    return (found[1], found[2]) if found else None
