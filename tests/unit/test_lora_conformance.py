"""Spellings of Stable Diffusion and Flux adapters and their numbers: what a file says in any layout is the same change
of the same rows, by the formula in float64.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.unit.lora_spellings import (
    ALPHA,
    RANK,
    Pairs,
    assert_changes,
    changes_of,
    file_of,
    flat,
    keys_of,
    names_of,
    pair_of,
    product,
    small,
)
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.read import read_adapter
from sakuga.lora.survey import survey
from sakuga.tensors.names import NameMap
from sakuga.tensors.tables.families import FAMILIES
from sakuga.tensors.tables.ldm_unet import ldm_unet_names

T, S = "transformer.transformer_blocks.0", "transformer.single_transformer_blocks.0"
WIDE = 48  # 3072 / 64


def _flux_pairs() -> dict[str, tuple[Tensor, Tensor]]:
    """One adapter of Flux.1 in the names of Black Forest Labs."""
    return {
        "double_blocks.0.img_attn.qkv": pair_of(3 * WIDE, WIDE),
        "double_blocks.0.txt_attn.proj": pair_of(WIDE, WIDE),
        "double_blocks.0.img_mod.lin": pair_of(6 * WIDE, WIDE),
        "single_blocks.0.linear1": pair_of(7 * WIDE, WIDE),
        "single_blocks.0.linear2": pair_of(WIDE, 5 * WIDE),
        "final_layer.adaLN_modulation.1": pair_of(2 * WIDE, WIDE),
    }


def _flux_changes(pairs: Pairs) -> dict[str, Tensor]:
    """The same in diffusers' modules, written out by hand."""
    qkv, one = product(pairs["double_blocks.0.img_attn.qkv"]), product(pairs["single_blocks.0.linear1"])
    ends = product(pairs["final_layer.adaLN_modulation.1"])
    parts = {f"{T}.attn.to_{x}": qkv[n * WIDE : (n + 1) * WIDE] for n, x in enumerate("qkv")}
    parts |= {f"{S}.attn.to_{x}": one[n * WIDE : (n + 1) * WIDE] for n, x in enumerate("qkv")}
    return {
        **parts,
        f"{S}.proj_mlp": one[3 * WIDE :],
        f"{S}.proj_out": product(pairs["single_blocks.0.linear2"]),
        f"{T}.attn.to_add_out": product(pairs["double_blocks.0.txt_attn.proj"]),
        f"{T}.norm1.linear": product(pairs["double_blocks.0.img_mod.lin"]),
        "transformer.norm_out.linear": torch.cat([ends[WIDE:], ends[:WIDE]]),
    }


def test_rows_5_and_6_sdxl_in_both_namings_is_one_adapter(tmp_path: Path) -> None:
    tree = small(next(one for one in FAMILIES if one.name == "sdxl").trees()["unet"], 99)
    names = NameMap.of({"unet": tree})
    outside = ldm_unet_names(tree)
    layers = {own: shapes["weight"] for own, shapes in tree.items() if len(shapes.get("weight", ())) > 1}
    assert layers.keys() <= outside.keys()
    pairs = {own: (torch.randn(shape[0], 1), torch.randn(1, *shape[1:])) for own, shape in layers.items()}
    for naming in ({own: own for own in layers}, outside):
        given = {"lora_unet_" + naming[own].replace(".", "_"): pair for own, pair in pairs.items()}
        adapter = read_adapter(file_of(tmp_path, keys_of(given)), names, "a")
        assert len(adapter.patches) == len(layers) > 700
        for patch in adapter.patches:
            pair = patch.record.factors()
            assert pair is not None
            assert torch.equal(pair.up, pairs[patch.module][0])


@pytest.mark.parametrize("before", ["lora_unet_", "lora_transformer_", "diffusion_model.", "base_model.model.", ""])
def test_rows_25_and_27_flux_fused_names_fall_into_parts(tmp_path: Path, before: str) -> None:
    names, pairs = names_of("flux"), _flux_pairs()
    underscored = before.endswith("_")
    file = file_of(tmp_path, keys_of(flat(pairs) if underscored else pairs, "kohya" if underscored else "peft", before))
    adapter = read_adapter(file, names, "a")
    assert_changes(adapter, names, _flux_changes(pairs))


def test_row_25_flux_text_encoders_under_kohya_s_numbers(tmp_path: Path) -> None:
    names = names_of("flux")
    te1, te3 = "encoder.layers.0.mlp.fc1", "encoder.block.0.layer.0.SelfAttention.q"
    pairs = {f"lora_te1_text_model_{te1}".replace(".", "_"): pair_of(48, 12)}
    pairs |= {f"lora_te3_{te3}".replace(".", "_"): pair_of(64, 64)}
    adapter = read_adapter(file_of(tmp_path, keys_of(pairs)), names, "a")
    one, three = pairs.values()
    assert_changes(adapter, names, {f"text_encoder.{te1}": product(one), f"text_encoder_2.{te3}": product(three)})


def test_row_26_xlabs_single_blocks_change_q_k_and_v_alone(tmp_path: Path) -> None:
    names = names_of("flux")
    qkv, one, proj = pair_of(3 * WIDE, WIDE), pair_of(3 * WIDE, WIDE), pair_of(WIDE, 5 * WIDE)
    given = {"double_blocks.0.processor.qkv_lora2": qkv, "single_blocks.0.processor.qkv_lora": one}
    given["single_blocks.0.processor.proj_lora"] = proj
    tensors = {
        f"{stem}.{leaf}.weight": x for stem, pair in given.items() for leaf, x in zip(("up", "down"), pair, strict=True)
    }
    expected = {f"{T}.attn.add_{x}_proj": product(qkv, None)[n * WIDE : (n + 1) * WIDE] for n, x in enumerate("qkv")}
    expected |= {f"{S}.attn.to_{x}": product(one, None)[n * WIDE : (n + 1) * WIDE] for n, x in enumerate("qkv")}
    expected |= {f"{S}.proj_out": product(proj, None)}
    assert_changes(read_adapter(file_of(tmp_path, tensors), names, "a"), names, expected)
    uso = file_of(tmp_path, {**tensors, "feature_embedder.0.weight": torch.ones(2, 2)})
    assert survey(uso).layout_id == "X-USO"
    with pytest.raises(AdapterDoesNotFit, match="feature_embedder"):
        read_adapter(uso, names, "a")


def test_row_26_xlabs_on_a_model_with_fused_layers(tmp_path: Path) -> None:
    tree = {"double_blocks.0.img_attn.qkv": {"weight": (3 * WIDE, WIDE)}}
    tree["single_blocks.0.linear1"] = {"weight": (7 * WIDE, WIDE)}
    names = NameMap.of({"transformer": tree})
    one = pair_of(3 * WIDE, WIDE)
    tensors = {
        f"single_blocks.0.processor.qkv_lora.{leaf}.weight": x for leaf, x in zip(("up", "down"), one, strict=True)
    }
    whole = torch.cat([product(one, None), torch.zeros(4 * WIDE, WIDE)])
    assert_changes(
        read_adapter(file_of(tmp_path, tensors), names, "a"), names, {"transformer.single_blocks.0.linear1": whole}
    )


def test_row_27_parts_of_a_fused_layer_may_come_alone(tmp_path: Path) -> None:
    names = names_of("flux")
    q, mlp = pair_of(WIDE, WIDE), pair_of(4 * WIDE, WIDE)
    expected = {f"{T}.attn.to_q": product(q), f"{S}.proj_mlp": product(mlp)}
    omi = {"double_blocks.0.img_attn.qkv.0": q, "single_blocks.0.linear1.3": mlp}
    own = {"transformer_blocks.0.attn.to_q": q, "single_transformer_blocks.0.proj_mlp": mlp}
    for tensors in (
        keys_of(omi, "kohya", "transformer."),
        keys_of(own, "peft", "transformer."),
        keys_of(flat(own), "kohya", "lora_transformer_"),
        keys_of(own, "named"),
    ):
        assert_changes(read_adapter(file_of(tmp_path, tensors), names, "a"), names, expected)


@pytest.mark.parametrize("said", [True, False])
def test_row_28_split_qkv_is_told_and_not_mended(tmp_path: Path, said: bool) -> None:
    names = names_of("flux")
    qkv = torch.randn(3 * WIDE, 3 * RANK), torch.randn(3 * RANK, WIDE)
    pairs = {
        "lora_unet_double_blocks_0_img_attn_qkv": qkv,
        "lora_unet_double_blocks_0_img_attn_proj": pair_of(WIDE, WIDE),
    }
    metadata = {"ss_network_args": '{"split_qkv": "True", "train_t5xxl": "False"}'} if said else None
    adapter = read_adapter(file_of(tmp_path, keys_of(pairs), metadata), names, "a")
    (remark,) = (note for note in adapter.notes if "the trained scale is 3 times" in note)
    assert remark.startswith("its training options say split_qkv" if said else "its fused modules have several times")
    found = changes_of(adapter, names)[f"{T}.attn.to_q"]
    assert torch.allclose(found.double(), (qkv[0] @ qkv[1]).double()[:WIDE] * ALPHA / (3 * RANK), rtol=1e-4, atol=1e-5)
    plain = {**pairs, "lora_unet_double_blocks_0_img_attn_qkv": pair_of(3 * WIDE, WIDE)}
    assert not any("3 times" in note for note in read_adapter(file_of(tmp_path, keys_of(plain)), names, "a").notes)


def test_row_29_bfl_control_files_replace_norms(tmp_path: Path) -> None:
    names = names_of("flux")
    scale = torch.tensor([3.0, 4.0])
    tensors = keys_of({"double_blocks.0.img_attn.qkv": pair_of(3 * WIDE, WIDE)}, "peft", alpha=False)
    tensors["double_blocks.0.img_attn.norm.query_norm.scale"] = scale
    tensors["double_blocks.0.img_attn.qkv.lora_B.bias"] = torch.ones(3 * WIDE)
    file = file_of(tmp_path, tensors)
    assert survey(file).layout_id == "B-CTRL"
    changes = changes_of(read_adapter(file, names, "a"), names)
    assert torch.equal(changes[f"{T}.attn.norm_q"], scale)
    assert torch.equal(changes[f"{T}.attn.to_k:bias"], torch.ones(WIDE))
