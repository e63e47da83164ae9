"""Why a tensor of a file is not used: the kinds of ballast that checkpoints carry, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sakuga.models.bundle import Leftover

REASONS: tuple[tuple[str, str], ...] = (
    (r"(.*\.)?position_ids$", "a counter that the model makes by itself"),
    (r"(state_dict\.)?model_ema\.", "the averaged copy (EMA) of the UNet; the ordinary weights are used"),
    (r".*num_batches_tracked$", "a counter of the training"),
    (
        r"(.*\.)?(pretrained\.model\.(head|norm)|scratch\.refinenet4\.resConfUnit1|encoder\.original_model\.bn2)\.",
        "a layer of the network that its result does not go through",
    ),
    (r"(optimizer_states|lr_schedulers|callbacks|loops)\.", "the state of a training"),
    (r"(state_dict\.)?(first_stage_model\.)?loss\.", "a loss network, needed for training only"),
    (
        r"(state_dict\.)?((sqrt_|log_|posterior_)?[a-z_]*(alphas?|betas?|variance|mean_coef)[a-z_0-9]*|logvar|lvlb_weights)$",
        "a table of the noise schedule, which is computed",
    ),
    (r"(.*\.)?(logit_scale|text_projection(\.weight)?)$", "for comparing texts with pictures, which nothing here does"),
    (r"(state_dict\.)?model\.diffusion_model\.", "a UNet beside the ControlNet; the base's own is used"),
    (r"(state_dict\.)?first_stage_model\.", "a VAE that is not used here"),
    (r"(state_dict\.)?cond_stage_model\.", "a text encoder that is not used here"),
)


def leftovers(names: Iterable[str], used: Iterable[str]) -> tuple[Leftover, ...]:
    """Every name that was not used, with its reason."""
    taken = frozenset(used)
    return tuple(Leftover(key=name, reason=_reason(name)) for name in names if name not in taken)


def _reason(name: str) -> str:
    return next(
        (reason for pattern, reason in REASONS if re.match(pattern, name)), "not a weight of this kind of model"
    )
