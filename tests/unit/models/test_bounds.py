"""Numbers in a model's configs that no model has: refused by their key before anything is built of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sakuga.errors import FileProblem
from sakuga.models.library import Library
from sakuga.models.outline import outline
from sakuga.models.skeletons import text_skeleton
from sakuga.models.tokenizer import tokenizer_at

NAN, INFINITY = float("nan"), float("inf")


def changed(folder: Path, file: str, **entries: Any) -> Path:
    """The bundle with other entries in one of its configs."""
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    return folder


@pytest.fixture
def own(bundle_folder: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "own"))


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("scheduler/scheduler_config.json", "num_train_timesteps", 10**12),
        ("scheduler/scheduler_config.json", "num_train_timesteps", INFINITY),
        ("scheduler/scheduler_config.json", "num_train_timesteps", True),
        ("scheduler/scheduler_config.json", "beta_start", 10**400),
        ("scheduler/scheduler_config.json", "trained_betas", [0.1] * 10_001),
        ("scheduler/scheduler_config.json", "trained_betas", [[0.1]]),
        ("vae/config.json", "scaling_factor", 0),
        ("vae/config.json", "scaling_factor", NAN),
        ("vae/config.json", "scaling_factor", None),
        ("vae/config.json", "shift_factor", "much"),
        ("vae/config.json", "layers_per_block", 10**9),
        ("vae/config.json", "block_out_channels", [32] * 1000),
        ("unet/config.json", "layers_per_block", 10**12),
        ("unet/config.json", "transformer_layers_per_block", [1, [10**12]]),
        ("unet/config.json", "norm_eps", NAN),
        ("text_encoder/config.json", "max_position_embeddings", 10**12),
        ("text_encoder/config.json", "num_hidden_layers", 10**9),
    ],
)
def test_a_number_that_asks_for_terabytes_or_is_none_is_refused_by_its_key(
    own: Path, file: str, key: str, value: Any
) -> None:
    with pytest.raises(FileProblem, match=f"{key} in {file.removeprefix('scheduler/')}") as caught:
        outline(changed(own, file, **{key: value}), Library(folders=()))
    assert str(caught.value.given).startswith(f"{key}: ") and len(str(caught.value.given)) <= 80
    assert "from" in str(caught.value.expected)


def test_one_beta_that_is_rescaled_to_nothing_is_no_schedule(own: Path) -> None:
    folder = changed(own, "scheduler/scheduler_config.json", trained_betas=[0.1], rescale_betas_zero_snr=True)
    with pytest.raises(FileProblem, match="no noise schedule"):
        outline(folder, Library(folders=()))


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("unet/config.json", {"act_fn": 5}),
        ("vae/config.json", {"act_fn": None}),
        ("text_encoder/config.json", {"hidden_act": []}),
        ("text_encoder/config.json", {"architectures": 5}),
    ],
)
def test_an_entry_of_an_odd_kind_is_the_file_s_fault(own: Path, file: str, entries: dict[str, Any]) -> None:
    with pytest.raises(FileProblem):
        outline(changed(own, file, **entries), Library(folders=()))


def test_a_broken_tokenizer_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FileProblem, match="tokenizer cannot be read") as caught:
        tokenizer_at(tmp_path)
    assert str(tmp_path) in str(caught.value.given)


def test_a_text_encoder_s_config_cannot_name_code_to_fetch(tiny: Any) -> None:
    config = {**tiny.text.config.to_dict(), "_attn_implementation": "somebody/kernel", "attn_implementation": "x/y"}
    assert text_skeleton(config).config._attn_implementation in ("sdpa", "eager")
