"""Adapters that do not belong together, as the tools for files see them: told by name, never by a shape error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.tools.difference import difference
from sakuga.lora.tools.merge import merge
from sakuga.lora.tools.output import Place
from sakuga.lora.tools.source import opened

STEM = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
XL = "lora_unet_input_blocks_7_1_transformer_blocks_5_attn1_to_q"


def _saved(path: Path, stem: str, width: int, dtype: torch.dtype = torch.float32) -> Path:
    torch.manual_seed(width)
    factors: dict[str, Tensor] = {
        f"{stem}.lora_down.weight": torch.randn(4, width),
        f"{stem}.lora_up.weight": torch.randn(width, 4),
    }
    save_file({key: tensor.to(dtype) for key, tensor in factors.items()}, path)
    return path


def _opened(*paths: Path) -> tuple[object, ...]:
    return opened([(path.stem, path) for path in paths])


def test_two_widths_of_one_module_do_not_end_in_a_shape_error(tmp_path: Path) -> None:
    sources = opened([(n, _saved(tmp_path / f"{n}.safetensors", STEM, w)) for n, w in (("a", 48), ("b", 64))])
    with pytest.raises(AdapterDoesNotFit, match="different widths") as told:
        merge(sources, Place(path=tmp_path / "out.safetensors"))
    assert "a.safetensors" in told.value.told() and "[64, 64] in b.safetensors" in told.value.told()
    with pytest.raises(AdapterDoesNotFit, match="different widths"):
        difference(*sources)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_narrow_adapter_is_not_merged_with_one_for_sdxl(tmp_path: Path) -> None:
    wide, narrow = _saved(tmp_path / "xl.safetensors", XL, 1280), _saved(tmp_path / "s.safetensors", STEM, 48)
    with pytest.raises(AdapterDoesNotFit, match="for different models") as told:
        _opened(narrow, wide)
    assert "xl.safetensors: as wide as SDXL; s.safetensors: not as wide" in told.value.told()


def test_adapters_of_two_families_are_told_by_what_each_is_for(tmp_path: Path) -> None:
    flux = _saved(tmp_path / "f.safetensors", "lora_unet_double_blocks_0_img_attn_proj", 3072)
    wide = _saved(tmp_path / "xl.safetensors", XL, 1280)
    with pytest.raises(AdapterDoesNotFit, match="for different models") as told:
        _opened(wide, flux)
    assert "SDXL" in told.value.told() and "Flux" in told.value.told()


def test_fp8_factors_are_compared_with_others(tmp_path: Path) -> None:
    narrow = _saved(tmp_path / "8.safetensors", STEM, 48, torch.float8_e4m3fn)
    wide = _saved(tmp_path / "32.safetensors", STEM, 48)
    found = difference(*opened([("8", narrow), ("32", wide)]))
    assert found.rows[0].relative is not None and 0 < found.rows[0].relative < 0.1
