"""Spellings of adapters for Wan, Qwen-Image, Flux.2, Z-Image and AnimateDiff and their numbers, by the formula in
float64; and files of which some or all keys are unknown.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.unit.lora_spellings import assert_changes, file_of, flat, keys_of, names_of, pair_of, plain_keys, product

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.read import read_adapter
from sakuga.lora.survey import survey
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

T, S = "transformer.transformer_blocks.0", "transformer.single_transformer_blocks.0"
WIDE = 48  # 3072 / 64
WAN_KEYS = [
    ("lora_unet_", "kohya"),
    ("lora_unet__", "kohya"),
    ("diffusion_model.", "peft"),
    ("diffusion_model.", "kohya"),
    ("", "kohya"),
    ("", "named"),
]


@pytest.mark.parametrize(("before", "leaves"), WAN_KEYS)
def test_row_31_wan_k_and_k_img_and_whole_differences(tmp_path: Path, before: str, leaves: str) -> None:
    names = names_of("wan", "2.1-i2v-14b")
    wide, block = 80, "transformer.blocks.0"
    pairs = {
        "blocks.0.self_attn.o": pair_of(wide, wide),
        "blocks.0.cross_attn.k": pair_of(wide, wide),
        "blocks.0.cross_attn.k_img": pair_of(wide, wide),
        "blocks.0.ffn.0": pair_of(216, wide),
    }
    norm, bias, head = torch.randn(wide), torch.randn(wide), torch.randn(1, wide)
    whole = {"blocks.0.norm3.diff": norm, "blocks.0.cross_attn.k.diff_b": bias, "head.head.diff": head}
    expected = {
        f"{block}.attn1.to_out.0": product(pairs["blocks.0.self_attn.o"]),
        f"{block}.attn2.to_k": product(pairs["blocks.0.cross_attn.k"]),
        f"{block}.attn2.to_k:bias": bias.double(),
        f"{block}.attn2.add_k_proj": product(pairs["blocks.0.cross_attn.k_img"]),
        f"{block}.ffn.net.0.proj": product(pairs["blocks.0.ffn.0"]),
        f"{block}.norm2": norm.double(),
        "transformer.proj_out": head.double(),
    }

    def flat_key(key: str) -> str:
        stem, _, leaf = key.rpartition(".")
        return stem.replace(".", "_") + "." + leaf

    underscored = before.endswith("_")
    tensors = keys_of(flat(pairs) if underscored else pairs, leaves, before)
    tensors |= {before + (flat_key(key) if underscored else key): value for key, value in whole.items()}
    assert_changes(read_adapter(file_of(tmp_path, tensors), names, "a"), names, expected)


@pytest.mark.parametrize(
    ("name", "metadata", "said"),
    [
        ("ink_high_noise", {}, "its file name says that it is for the expert for much noise"),
        ("wan22-i2v-ink-LOW", {}, "its file name says that it is for the expert for little noise"),
        ("a", {"ss_output_name": "ink-lownoise"}, "its metadata's ss_output_name says that it is for the expert for l"),
        ("a_high_noise", {"modelspec.title": "Wan 2.2 low"}, "its metadata's modelspec.title says that it is for the"),
        ("high_and_low_noise_wan2.2", {}, ""),
        ("highlights_low_detail", {}, ""),
    ],
)
def test_row_31_the_expert_is_told_where_a_name_tells(
    tmp_path: Path, name: str, metadata: dict[str, str], said: str
) -> None:
    path = tmp_path / f"{name}.safetensors"
    tensors = {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(1, 5120)}
    tensors["blocks.0.self_attn.q.lora_B.weight"] = torch.zeros(5120, 1)
    file_of(tmp_path, tensors, metadata).path.rename(path)
    found = [note for note in survey(TensorFile.open(path)).remarks() if "expert" in note]
    assert [note.startswith(said) for note in found] == ([True] if said else [])


def test_row_31_two_experts_are_not_chosen_between(tmp_path: Path) -> None:
    names = names_of("wan", "2.2-t2v-a14b")
    high = NameMap.of({"transformer": names.trees["transformer"]})
    pairs = {"blocks.0.self_attn.q": pair_of(80, 80)}
    for tensors in (keys_of(pairs, "peft", "diffusion_model."), keys_of(flat(pairs), "kohya", "lora_unet_")):
        file = file_of(tmp_path, tensors)
        with pytest.raises(AdapterDoesNotFit, match="transformer and transformer_2 both have it"):
            read_adapter(file, names, "a")
        assert len(read_adapter(file, high, "a").patches) == 1


@pytest.mark.parametrize(
    ("before", "leaves"),
    [
        *(("", leaves) for leaves in ("kohya", "peft", "named")),
        *(("transformer.", "peft"), ("diffusion_model.", "kohya"), ("lora_unet_", "kohya"), ("lycoris_", "kohya")),
    ],
)
def test_row_32_qwen_image_keeps_alpha_in_every_spelling(tmp_path: Path, before: str, leaves: str) -> None:
    names = names_of("qwen-image")
    pairs = {
        "transformer_blocks.0.attn.add_q_proj": pair_of(WIDE, WIDE),
        "transformer_blocks.0.img_mod.1": pair_of(288, WIDE),
    }
    tensors = keys_of(flat(pairs) if before.endswith("_") else pairs, leaves, before)
    expected = {f"transformer.{stem}": product(pair) for stem, pair in pairs.items()}
    assert_changes(read_adapter(file_of(tmp_path, tensors), names, "a"), names, expected)


@pytest.mark.parametrize(("before", "leaves"), [("diffusion_model.", "peft"), ("lora_unet_", "kohya")])
def test_row_33_flux2_swaps_the_halves_of_its_last_modulation(tmp_path: Path, before: str, leaves: str) -> None:
    names = names_of("flux2", "klein-4b")
    pairs = {
        "double_blocks.0.txt_attn.qkv": pair_of(3 * WIDE, WIDE),
        "double_blocks.0.img_mlp.0": pair_of(6 * WIDE, WIDE),
        "single_blocks.0.linear1": pair_of(9 * WIDE, WIDE),
        "single_stream_modulation.lin": pair_of(3 * WIDE, WIDE),
        "final_layer.adaLN_modulation.1": pair_of(2 * WIDE, WIDE),
    }
    qkv, ends = product(pairs["double_blocks.0.txt_attn.qkv"]), product(pairs["final_layer.adaLN_modulation.1"])
    expected = {f"{T}.attn.add_{x}_proj": qkv[n * WIDE : (n + 1) * WIDE] for n, x in enumerate("qkv")}
    expected |= {
        f"{T}.ff.linear_in": product(pairs["double_blocks.0.img_mlp.0"]),
        f"{S}.attn.to_qkv_mlp_proj": product(pairs["single_blocks.0.linear1"]),
        "transformer.single_stream_modulation.linear": product(pairs["single_stream_modulation.lin"]),
        "transformer.norm_out.linear": torch.cat([ends[WIDE:], ends[:WIDE]]),
    }
    tensors = keys_of(flat(pairs) if before.endswith("_") else pairs, leaves, before)
    assert_changes(read_adapter(file_of(tmp_path, tensors), names, "a"), names, expected)


@pytest.mark.parametrize(
    ("before", "leaves"), [("diffusion_model.", "peft"), ("lora_unet_", "kohya"), ("lora_unet__", "kohya")]
)
@pytest.mark.parametrize("out", ["attention.out", "attention.to_out.0"])
def test_row_34_z_image_fused_qkv_and_both_names_of_out(tmp_path: Path, before: str, leaves: str, out: str) -> None:
    names = names_of("z-image")
    wide, block = 60, "transformer.layers.0.attention"
    pairs = {"layers.0.attention.qkv": pair_of(3 * wide, wide), f"layers.0.{out}": pair_of(wide, wide)}
    qkv = product(pairs["layers.0.attention.qkv"])
    expected = {f"{block}.to_{x}": qkv[n * wide : (n + 1) * wide] for n, x in enumerate("qkv")}
    expected |= {f"{block}.to_out.0": product(pairs[f"layers.0.{out}"])}
    tensors = keys_of(flat(pairs) if before.endswith("_") else pairs, leaves, before)
    assert_changes(read_adapter(file_of(tmp_path, tensors), names, "a"), names, expected)


def _motion(block: str) -> str:
    return (
        f"{block}.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_out_lora"
    )


def test_row_35_a_motion_lora_skips_the_middle_block_that_the_model_lacks(tmp_path: Path) -> None:
    down, mid = pair_of(5, 5), pair_of(20, 20)
    tensors = plain_keys({_motion("down_blocks.0"): down, _motion("mid_block"): mid})
    torch.save({"state_dict": tensors, "animatediff_config": "v2"}, tmp_path / "v2_lora_PanLeft.ckpt")
    file = TensorFile.open(tmp_path / "v2_lora_PanLeft.ckpt")
    first = "unet.down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_out.0"
    middle = "unet.mid_block.motion_modules.0.transformer_blocks.0.attn1.to_out.0"
    adapter = read_adapter(file, names_of("animatediff", "v1"), "a")
    assert_changes(adapter, names_of("animatediff", "v1"), {first: product(down, None)})
    assert {left.reason for left in adapter.ignored} == {
        "the model's motion modules are of a version without a middle block",
        "not a tensor",
    }
    both = read_adapter(file, names_of("animatediff", "v2"), "a")
    assert_changes(both, names_of("animatediff", "v2"), {first: product(down, None), middle: product(mid, None)})


def test_row_35_a_domain_adapter_is_an_ordinary_one_of_the_unet(tmp_path: Path) -> None:
    names, pair = names_of("sd15"), pair_of(5, 5)
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    tensors = plain_keys({f"{layer}.processor.to_q_lora": pair})
    torch.save(tensors, tmp_path / "v3_sd15_adapter.ckpt")
    adapter = read_adapter(TensorFile.open(tmp_path / "v3_sd15_adapter.ckpt"), names, "a")
    assert_changes(adapter, names, {f"unet.{layer}.to_q": product(pair, None)})


def test_row_49_some_unknown_keys_are_listed_and_all_unknown_ones_are_an_error(tmp_path: Path) -> None:
    names = names_of("sd15")
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn{}_to_q"
    good = keys_of({layer.format(n): pair_of(5, 5) for n in (1, 2)})
    stray = {"what_is_this.weight": torch.ones(1)}
    with pytest.raises(AdapterDoesNotFit, match=r"what_is_this\.weight: not a key of kohya's layout"):
        read_adapter(file_of(tmp_path, {**good, **stray}), names, "a")
    adapter = read_adapter(file_of(tmp_path, {**good, **stray}), names, "a", allow_partial=True)
    assert [left.key for left in adapter.refused] == list(stray)
    with pytest.raises(AdapterDoesNotFit, match="fits nothing in this model"):
        read_adapter(file_of(tmp_path, keys_of({layer.format(9): pair_of(5, 5)})), names, "a", allow_partial=True)
