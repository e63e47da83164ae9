"""Bounds: the numbers in the configs of a model, held to what a real one has before anything is built of them.

A config may come from anywhere, and a single number in it can ask for terabytes. Keys that nothing here is built of are
not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sakuga.errors import FileProblem


@dataclass(frozen=True)
class Bounds:
    """From ``low`` to ``high``, also in ``deep`` levels of lists of up to ``most``; ``none``: null will do."""

    low: float
    high: float
    whole: bool = True
    most: int = 16
    deep: int = 0
    none: bool = False

    def hold(self, value: object, level: int = 0) -> bool:
        """Whether ``value`` is such a number, or a list of them."""
        if isinstance(value, list | tuple):
            fits = level < self.deep and 1 <= len(value) <= self.most
            return fits and all(self.hold(item, level + 1) for item in value)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (isinstance(value, int) or not self.whole)

    def __str__(self) -> str:
        number = f"{'a whole number' if self.whole else 'a number'} from {self.low:g} to {self.high:g}"
        return f"{number}, or a list of at most {self.most}" if self.deep else number


_LAYERS = Bounds(0, 16, deep=1)
_HEADS = Bounds(1, 1024, deep=1, none=True)
_WIDTH = Bounds(1, 2**16, deep=1)
_CHANNELS = Bounds(1, 4096)
_EPSILON = Bounds(0, 1, whole=False)

BOUNDS: Mapping[str, Bounds] = {
    "layers_per_block": _LAYERS,
    "encoder_layers_per_block": _LAYERS,
    "decoder_layers_per_block": _LAYERS,
    "num_encoder_blocks": _LAYERS,
    "num_decoder_blocks": _LAYERS,
    "transformer_layers_per_block": Bounds(0, 24, deep=2),
    "reverse_transformer_layers_per_block": Bounds(0, 24, deep=2, none=True),
    "num_hidden_layers": Bounds(1, 64),
    "attention_head_dim": _HEADS,
    "num_attention_heads": _HEADS,
    "norm_num_groups": Bounds(1, 1024, none=True),
    "block_out_channels": _WIDTH,
    "encoder_block_out_channels": _WIDTH,
    "decoder_block_out_channels": _WIDTH,
    "conditioning_embedding_out_channels": _WIDTH,
    "cross_attention_dim": _WIDTH,
    "hidden_size": Bounds(1, 2**16),
    "intermediate_size": Bounds(1, 2**16),
    "vocab_size": Bounds(1, 2**20),
    "max_position_embeddings": Bounds(1, 2**16),
    "in_channels": _CHANNELS,
    "out_channels": _CHANNELS,
    "latent_channels": _CHANNELS,
    "conditioning_channels": _CHANNELS,
    "downsample_padding": Bounds(0, 1),
    "norm_eps": _EPSILON,
    "layer_norm_eps": _EPSILON,
    "mid_block_scale_factor": Bounds(1e-4, 1e4, whole=False),
    "resnet_out_scale_factor": Bounds(1e-4, 1e4, whole=False),
    "scaling_factor": Bounds(1e-4, 1e4, whole=False),
    "shift_factor": Bounds(-1e4, 1e4, whole=False, none=True),
    "num_train_timesteps": Bounds(1, 10_000),
    "beta_start": Bounds(1e-9, 0.999, whole=False),
    "beta_end": Bounds(1e-9, 0.999, whole=False),
    "trained_betas": Bounds(0, 0.9999, whole=False, most=10_000, deep=1, none=True),
}


def check_bounds(config: Mapping[str, Any], file: str) -> None:
    """Raise FileProblem for the first number of ``config`` that no model has; ``file`` says where it is written."""
    for key, bounds in BOUNDS.items():
        value = config.get(key)
        if key not in config or (value is None and bounds.none) or bounds.hold(value):
            continue
        raise FileProblem(
            f"{key} in {file} is not a number that a model can have",
            given=f"{key}: {value!r}"[:80],
            expected=str(bounds),
            do=f"correct {file}, or fetch it again",
        )
