"""Files that PEFT itself saves, with its config beside them, read into the weights that PEFT merges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.read import read_adapter
from sakuga.lora.targets import names_of
from sakuga.tensors.file import TensorFile

peft = pytest.importorskip("peft")


class Attention(nn.Module):
    """Two layers of a kind."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_out = nn.Linear(8, 6), nn.Linear(6, 8)


class Net(nn.Module):
    """A model of layers that adapters change."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Attention(), Attention()])
        self.conv = nn.Conv2d(4, 6, 3)
        self.head = nn.Linear(8, 3)


LORA: dict[str, Any] = {"r": 2, "lora_alpha": 3, "target_modules": ["to_q", "to_out", "conv"]}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA": ("LoraConfig", LORA),
    "patterns": (
        "LoraConfig",
        {
            **LORA,
            "rank_pattern": {"blocks.1.to_q": 4},
            "alpha_pattern": {"^blocks.0.to_q": 7, r"blocks\.\d+\.to_out": 5},
        },
    ),
    "rank-stabilised": ("LoraConfig", {**LORA, "use_rslora": True, "rank_pattern": {"conv": 4}}),
    "DoRA": ("LoraConfig", {**LORA, "use_dora": True}),
    "a bias of its own": ("LoraConfig", {**LORA, "target_modules": ["to_q"], "lora_bias": True}),
    "all biases": ("LoraConfig", {**LORA, "bias": "all"}),
    "modules to save": ("LoraConfig", {**LORA, "modules_to_save": ["head"]}),
    "LoHa": ("LoHaConfig", {"r": 2, "alpha": 5, "target_modules": ["to_q", "conv"], "rank_pattern": {"conv": 3}}),
    "LoKr": ("LoKrConfig", {"r": 2, "alpha": 8, "target_modules": ["to_q", "to_out"], "decompose_both": True}),
    "LoKr, both whole": ("LoKrConfig", {"r": 32, "alpha": 8, "target_modules": ["to_q"], "alpha_pattern": {"to_q": 4}}),
    "OFT": ("OFTConfig", {"oft_block_size": 2, "r": 0, "target_modules": ["to_q"], "use_cayley_neumann": False}),
    "OFT, a series": (
        "OFTConfig",
        {"oft_block_size": 2, "r": 0, "target_modules": ["to_q"], "num_cayley_neumann_terms": 4},
    ),
    "BOFT": ("BOFTConfig", {"boft_block_size": 2, "target_modules": ["to_q"]}),
    "IA3": ("IA3Config", {"target_modules": ["to_q", "to_out", "conv"], "feedforward_modules": ["to_out"]}),
}


def _saved(folder: Path, kind: str, fields: dict[str, Any]) -> tuple[Net, dict[str, torch.Tensor], TensorFile]:
    """(the base, the weights that PEFT makes of it, the file)."""
    base = Net()
    pristine = {name: value.clone() for name, value in base.state_dict().items()}
    model = peft.get_peft_model(base, getattr(peft, kind)(**fields))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    merged = model.merge_and_unload().state_dict()
    fresh = Net()
    fresh.load_state_dict(pristine)
    return fresh, merged, TensorFile.open(folder / "adapter_model.safetensors")


@pytest.mark.filterwarnings("ignore:.*invalid shape")  # PEFT takes a bias of its own for a shard
@pytest.mark.filterwarnings("ignore::UserWarning")  # its BOFT looks for a compiler that is not used
@pytest.mark.parametrize("name", CONFIGS)
def test_what_peft_saves_is_what_peft_merges(tmp_path: Path, name: str) -> None:
    base, merged, file = _saved(tmp_path, *CONFIGS[name])
    adapter = read_adapter(file, names_of({"unet": base}), "a")
    weights = {key: value.clone() for key, value in base.state_dict().items()}
    with torch.no_grad():
        for patch in adapter.patches:
            key = f"{patch.module}.{patch.parameter}"
            weights[key] += patch.record.delta(base.state_dict()[key])
    assert weights.keys() == merged.keys()
    for key, value in merged.items():
        assert torch.allclose(weights[key], value, rtol=1e-5, atol=1e-6), key
    changed = [key for key, value in merged.items() if not torch.equal(value, base.state_dict()[key])]
    assert changed
    assert adapter.used_keys + len(adapter.leftovers) == adapter.total_keys


def test_an_adapter_of_a_base_that_was_changed_is_refused(tmp_path: Path) -> None:
    base, _, file = _saved(tmp_path, "LoraConfig", {**LORA, "init_lora_weights": "pissa", "target_modules": ["to_q"]})
    with pytest.raises(AdapterDoesNotFit, match="trained with pissa initialisation on a changed base"):
        read_adapter(file, names_of({"unet": base}), "a")
