"""Spellings of Stable Diffusion 1, 2, XL and 3 adapters and their numbers, by the formula in float64; both trees of
CLIP; embeddings that come along; control files that are no adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tests.unit.lora_listed import Listed
from tests.unit.lora_spellings import (
    assert_changes,
    changes_of,
    file_of,
    flat,
    keys_of,
    names_of,
    pair_of,
    plain_keys,
    product,
)

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.formats import recognise
from sakuga.lora.read import read_adapter
from sakuga.tensors.names import NameMap
from sakuga.tensors.tables.clip_text import LEVEL
from sakuga.tensors.tables.families import FAMILIES
from sakuga.tensors.tables.families.sd3 import sd3
from sakuga.tensors.tables.families.text import clip

BLOCK = "down_blocks.0.attentions.0"
T = "transformer.transformer_blocks"
SD35 = sd3(depth=2, dual=1, normed=True)  # two blocks: the first attends twice, the last gives no text on
WIDTH = SD35["proj_out"]["weight"][1]


def test_row_02_sd2_has_linear_projections_and_23_layers_of_text(tmp_path: Path) -> None:
    trees = next(one for one in FAMILIES if one.name == "sd2").trees()
    assert trees["unet"][f"{BLOCK}.proj_in"]["weight"] == (320, 320)
    layers = {name.split(".")[-3] for name in trees["text_encoder"] if name.endswith("self_attn.q_proj")}
    assert layers == {str(n) for n in range(23)}
    names = names_of("sd2")
    unet, text = f"lora_unet_{BLOCK}".replace(".", "_"), "lora_te_text_model_encoder_layers_0"
    pairs = {
        f"{unet}_proj_in": pair_of(5, 5),
        f"{unet}_transformer_blocks_0_attn2_to_k": pair_of(5, 16),
        f"{text}_self_attn_q_proj": pair_of(16, 16),
        f"{text}_mlp_fc1": pair_of(64, 16),
    }
    inner = next(name for name in names.trees["text_encoder"] if name.endswith("layers.0.self_attn.q_proj"))
    expected = {
        f"unet.{BLOCK}.proj_in": product(pairs[f"{unet}_proj_in"]),
        f"unet.{BLOCK}.transformer_blocks.0.attn2.to_k": product(pairs[f"{unet}_transformer_blocks_0_attn2_to_k"]),
        f"text_encoder.{inner}": product(pairs[f"{text}_self_attn_q_proj"]),
        f"text_encoder.{inner.replace('self_attn.q_proj', 'mlp.fc1')}": product(pairs[f"{text}_mlp_fc1"]),
    }
    kohya = keys_of(pairs)
    assert_changes(read_adapter(file_of(tmp_path, kohya), names, "a"), names, expected)
    # a 1x1 convolution of an SD 1 tool on the linear layer
    for leaf in ("lora_down.weight", "lora_up.weight"):
        kohya[f"{unet}_proj_in.{leaf}"] = kohya[f"{unet}_proj_in.{leaf}"][..., None, None]
    assert_changes(read_adapter(file_of(tmp_path, kohya), names, "a"), names, expected)


@pytest.mark.parametrize("fused", [True, False])
def test_row_02_openclip_s_fused_projection_is_q_k_and_v(tmp_path: Path, fused: bool) -> None:
    layer = "text_model.encoder.layers.0.self_attn"
    own = {f"{layer}.{one}_proj": {"weight": (8, 8), "bias": (8,)} for one in ("q", "k", "v", "out")}
    inner = "transformer.resblocks.0.attn"
    theirs = {f"{inner}.in_proj": {"weight": (24, 8), "bias": (24,)}, f"{inner}.out_proj": {"weight": (8, 8)}}
    if fused:  # the file has the fused one, the model has the parts
        names = NameMap.of({"text_encoder": own})
        pair = pair_of(24, 8)
        tensors = keys_of({f"text_encoder.{inner}.in_proj": pair}, "peft", alpha=False)
        whole = product(pair, None)
        expected = {f"text_encoder.{layer}.{one}_proj": whole[8 * n : 8 * n + 8] for n, one in enumerate("qkv")}
    else:
        names = NameMap.of({"text_encoder": theirs})
        pairs = {f"lora_te_{layer}_{one}_proj".replace(".", "_"): pair_of(8, 8) for one in "qkv"}
        tensors = keys_of(pairs)
        expected = {f"text_encoder.{inner}.in_proj": torch.cat([product(pair) for pair in pairs.values()])}
    assert_changes(read_adapter(file_of(tmp_path, tensors), names, "a"), names, expected)


def test_row_07_five_spellings_of_one_adapter_are_the_same_bits(tmp_path: Path) -> None:
    names = names_of("sd15")
    attention = f"{BLOCK}.transformer_blocks.0.attn1"
    pairs = {f"{attention}.{layer}": pair_of(5, 5) for layer in ("to_q", "to_k", "to_v", "to_out.0")}
    processors = {
        f"unet.{attention}.processor.{path.removeprefix(f'{attention}.').removesuffix('.0')}_lora": pair
        for path, pair in pairs.items()
    }
    spellings = {
        "D-UNET": keys_of(pairs, "dot", "unet.", alpha=False),
        "D-PROC": plain_keys(processors),
        "D-PEFT": keys_of(pairs, "peft", "unet.", alpha=False),
        "P-PEFT": keys_of(pairs, "peft", "base_model.model.", alpha=False),
        "P-NAMED": keys_of(pairs, "named", "base_model.model.", alpha=False),
        "K-SD": keys_of(flat(pairs), "kohya", "lora_unet_", alpha=False),
    }
    expected = {f"unet.{path}": product(pair, None) for path, pair in pairs.items()}
    found = {}
    for name, tensors in spellings.items():
        adapter = read_adapter(file_of(tmp_path, tensors), names, "a")
        assert_changes(adapter, names, expected)
        found[name] = changes_of(adapter, names)
    for name, changes in found.items():
        assert all(torch.equal(change, found["K-SD"][path]) for path, change in changes.items()), name


@pytest.mark.parametrize("depth", [24, 38])
def test_row_30_the_widths_of_sd3_are_its_depth(depth: int) -> None:
    tree = sd3(depth=depth)
    assert tree["transformer_blocks.0.attn.to_q"]["weight"] == (64 * depth, 64 * depth)
    assert {24: 1536, 38: 2432}[depth] == 64 * depth


@pytest.mark.parametrize(("before", "leaves"), [("lora_unet_", "kohya"), ("diffusion_model.", "peft")])
def test_row_30_sd3_attends_twice_and_swaps_its_last_halves(tmp_path: Path, before: str, leaves: str) -> None:
    names = NameMap.of({"transformer": SD35})
    joint = "joint_blocks.{}.{}_block.{}".format
    pairs = {
        joint(0, "x", "attn.qkv"): pair_of(3 * WIDTH, WIDTH),
        joint(0, "x", "attn2.qkv"): pair_of(3 * WIDTH, WIDTH),
        joint(0, "x", "attn2.proj"): pair_of(WIDTH, WIDTH),
        joint(1, "context", "attn.qkv"): pair_of(3 * WIDTH, WIDTH),
        joint(0, "context", "mlp.fc1"): pair_of(4 * WIDTH, WIDTH),
        joint(0, "context", "adaLN_modulation.1"): pair_of(6 * WIDTH, WIDTH),
        joint(1, "context", "adaLN_modulation.1"): pair_of(2 * WIDTH, WIDTH),
        "final_layer.adaLN_modulation.1": pair_of(2 * WIDTH, WIDTH),
    }
    changes = {path: product(pair) for path, pair in pairs.items()}

    def parts(path: str, place: str, names: str) -> dict[str, torch.Tensor]:
        return {f"{place}.{name}": changes[path][n * WIDTH : (n + 1) * WIDTH] for n, name in enumerate(names.split())}

    def swapped(path: str) -> torch.Tensor:
        return torch.cat([changes[path][WIDTH:], changes[path][:WIDTH]])

    expected = {
        **parts(joint(0, "x", "attn.qkv"), f"{T}.0.attn", "to_q to_k to_v"),
        **parts(joint(0, "x", "attn2.qkv"), f"{T}.0.attn2", "to_q to_k to_v"),
        **parts(joint(1, "context", "attn.qkv"), f"{T}.1.attn", "add_q_proj add_k_proj add_v_proj"),
        f"{T}.0.attn2.to_out.0": changes[joint(0, "x", "attn2.proj")],
        f"{T}.0.ff_context.net.0.proj": changes[joint(0, "context", "mlp.fc1")],
        f"{T}.0.norm1_context.linear": changes[joint(0, "context", "adaLN_modulation.1")],
        f"{T}.1.norm1_context.linear": swapped(joint(1, "context", "adaLN_modulation.1")),
        "transformer.norm_out.linear": swapped("final_layer.adaLN_modulation.1"),
    }
    tensors = keys_of(flat(pairs) if before.endswith("_") else pairs, leaves, before)
    assert_changes(read_adapter(file_of(tmp_path, tensors), names, "a"), names, expected)
    own = {path.removeprefix("transformer."): pair_of(*change.shape) for path, change in expected.items()}
    assert_changes(
        read_adapter(file_of(tmp_path, keys_of(own, "peft", "transformer.", alpha=False)), names, "a"),
        names,
        {f"transformer.{path}": product(pair, None) for path, pair in own.items()},
    )


SDXL_QUERY = "input_blocks_4_1_transformer_blocks_0_attn1_to_q"
CONTROLS: Mapping[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "LLLite": (
        "ControlNet-LLLite, which looks at a picture in every step",
        {
            f"lllite_unet_{SDXL_QUERY}.{leaf}": shape
            for leaf, shape in {
                "conditioning1.0.weight": (16, 3, 4, 4),
                "conditioning1.0.bias": (16,),
                "conditioning1.2.weight": (32, 16, 4, 4),
                "down.0.weight": (64, 640),
                "down.0.bias": (64,),
                "mid.0.weight": (64, 96),
                "up.0.weight": (640, 64),
                "up.0.bias": (640,),
            }.items()
        },
    ),
    "Control-LoRA": (
        "Control-LoRA, which is a ControlNet and not a change of the base",
        {
            "lora_controlnet": (0,),
            "input_hint_block.0.weight": (16, 3, 3, 3),
            "input_blocks.1.0.in_layers.2.up": (320, 64),
            "input_blocks.1.0.in_layers.2.down": (64, 320, 3, 3),
            "input_blocks.4.1.transformer_blocks.0.attn1.to_q.up": (640, 64),
            "input_blocks.4.1.transformer_blocks.0.attn1.to_q.down": (64, 640),
            "zero_convs.0.0.weight": (320, 320, 1, 1),
            "time_embed.0.bias": (1280,),
        },
    ),
}


@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("backwards", [False, True])
def test_rows_36_and_37_control_files_are_called_what_they_are(kind: str, backwards: bool) -> None:
    said, shapes = CONTROLS[kind]
    keys = reversed(shapes) if backwards else shapes
    with pytest.raises(AdapterDoesNotFit, match=said):
        recognise(Listed({key: shapes[key] for key in keys}))


@pytest.mark.parametrize("prefix", ["lora_te_", "lora_te1_"])
def test_row_39_embeddings_that_come_along_are_no_unknown_keys(tmp_path: Path, prefix: str) -> None:
    names = NameMap.of({"text_encoder": clip(width=16, depth=1)})
    tensors = keys_of({f"{prefix}text_model_encoder_layers_0_mlp_fc1": pair_of(64, 16)})
    words = {"bundle_emb.ink.string_to_param.*": (2, 768), "bundle_emb.wash.clip_g": (3, 1280)}
    words["bundle_emb.wash.clip_l"] = (3, 768)
    adapter = read_adapter(file_of(tmp_path, tensors | {key: torch.ones(*at) for key, at in words.items()}), names, "a")
    assert (adapter.leftovers, adapter.used_keys) == ((), len(tensors) + len(words))
    assert {name: set(keys) for name, keys in adapter.embeddings.items()} == {
        "ink": {"string_to_param.*"},
        "wash": {"clip_g", "clip_l"},
    }
    assert set(changes_of(adapter, names)) == {"text_encoder.encoder.layers.0.mlp.fc1"}


@pytest.mark.parametrize("levels", [(False, True), (True, True), (False, False)])
def test_row_45_both_trees_of_transformers_get_the_same_modules(tmp_path: Path, levels: tuple[bool, bool]) -> None:
    """Before 5.6 both text encoders of SDXL have the level ``text_model``, since then only the second one."""
    plain = clip(width=16, depth=2)
    trees = {
        component: {(LEVEL if level else "") + name: shapes for name, shapes in plain.items()}
        for component, level in zip(("text_encoder", "text_encoder_2"), levels, strict=True)
    }
    names = NameMap.of(trees)
    inner = "encoder.layers.1.self_attn.out_proj"
    expected, spellings = {}, []
    pairs = {component: pair_of(16, 16) for component in trees}
    for component, level in zip(trees, levels, strict=True):
        expected[f"{component}.{LEVEL if level else ''}{inner}"] = product(pairs[component])
    for given in ("", LEVEL):
        flat_names = {
            f"lora_te{n}_{given}{inner}".replace(".", "_"): pairs[component] for n, component in enumerate(trees, 1)
        }
        spellings.append(keys_of(flat_names))
        spellings.append(keys_of({f"{component}.{given}{inner}": pair for component, pair in pairs.items()}, "dot"))
    for tensors in spellings:
        assert len(tensors) == 6
        assert_changes(read_adapter(file_of(tmp_path, tensors), names, "a"), names, expected)
