"""The scale of PEFT's adapters: in a config beside the file or in diffusers' header, never in the tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, FileProblem, UnreadableFile
from sakuga.lora.adapter import Adapter
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.formats.peft_patterns import Patterns, UnknownPattern
from sakuga.lora.load import load_lora
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

PATHS = [f"mid_block.attentions.0.transformer_blocks.0.attn1.to_{x}" for x in "qkv"]
TEXT_PATH = "text_model.encoder.layers.0.mlp.fc1"
NAMES = NameMap.of({"unet": PATHS, "text_encoder": [TEXT_PATH]})


def _scales(adapter: Adapter) -> list[float]:
    """In the order of PATHS, then the text encoder; a file keeps its keys in an order of its own."""
    found = {patch.module: patch.record.scale for patch in adapter.patches if isinstance(patch.record, Lora)}
    assert len(found) == len(adapter.patches)
    return [scale for _, scale in sorted(found.items(), key=lambda pair: [*PATHS, pair[0]].index(pair[0]))]


def _peft(paths: list[str], rank: int = 4) -> dict[str, Tensor]:
    shapes = {"A": (rank, 8), "B": (6, rank)}
    return {
        f"base_model.model.{path}.lora_{x}.weight": torch.ones(shape) for path in paths for x, shape in shapes.items()
    }


def _saved(folder: Path, config: Mapping[str, object] | str | None, paths: list[str] = PATHS[:2]) -> TensorFile:
    save_file(_peft(paths), folder / "adapter_model.safetensors")
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / "adapter_config.json").write_text(text)
    return TensorFile.open(folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({"r": 4, "lora_alpha": 8}, [2.0, 2.0]),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"to_k": 1}}, [2.0, 0.25]),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {f"^{PATHS[0]}": 1, "to_q": 2}}, [0.25, 2.0]),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"^to_k": 1}}, [2.0, 2.0]),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, [4.0, 4.0]),
        ({"r": 99, "lora_alpha": 8}, [2.0, 2.0]),  # the rank is the tensors'
    ],
)
def test_alpha_comes_from_a_config_beside_it(tmp_path: Path, config: Mapping[str, object], scales: list[float]) -> None:
    file = _saved(tmp_path, {"peft_type": "LORA", **config})
    adapter = read_adapter(file, NAMES, "a")
    assert _scales(adapter) == scales
    assert adapter.notes == ("alpha is as adapter_config.json beside it says",)
    assert adapter.sha256 != file.sha256  # with another config it would be another adapter


@pytest.mark.parametrize("kind", ["IA3", "OFT"])
@pytest.mark.parametrize("beside", [True, False])
def test_an_alpha_was_spoken_of_where_alpha_plays_no_part(tmp_path: Path, kind: str, beside: bool) -> None:
    leaf, shape = ("ia3_l", (6, 1)) if kind == "IA3" else ("oft_R.weight", (2, 6))
    save_file({f"base_model.model.{PATHS[0]}.{leaf}": torch.ones(shape)}, tmp_path / "adapter_model.safetensors")
    if beside:
        config = {"peft_type": kind, "lora_alpha": 8, "oft_block_size": 4}
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    adapter = read_adapter(TensorFile.open(tmp_path / "adapter_model.safetensors"), NAMES, "a")
    assert adapter.patches and not any("alpha" in note for note in adapter.notes)


def test_without_a_config_the_guess_is_told(tmp_path: Path) -> None:
    adapter = read_adapter(_saved(tmp_path, None), NAMES, "a")
    assert _scales(adapter) == [1.0, 1.0]
    assert adapter.notes == ("no adapter_config.json is beside it: alpha is taken to be the rank",)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "VERA"}, "its PEFT config says VERA"),
        ({"peft_type": {"a": 1}}, "its PEFT config says {'a': 1}"),
        ({"init_lora_weights": "pissa_niter_4"}, "trained with pissa_niter_4"),
        ({"init_lora_weights": "loftq"}, "trained with loftq"),
        ({"use_dora": True}, "says DoRA, but the module has no magnitude"),
        ({"use_dora": True, "fan_in_fan_out": True}, "says fan_in_fan_out, which is read for plain LoRA only"),
        ({"use_qalora": True}, "uses use_qalora"),
        ({"kasa_config": {"beta": 1}}, "uses kasa_config"),
        ({"use_a_thing_of_tomorrow": True}, "uses use_a_thing_of_tomorrow"),
        ({"layer_replication": [[0, 4]]}, "uses layer_replication"),
        ({"lora_alpha": 8, "alpha_pattern": {"(a+)+": 1}}, "more than a plain name"),
        ({"rank_pattern": {".*to_q": 1}}, "the rank_pattern '.*to_q', which is more than a plain name"),
        ({"num_cayley_neumann_terms": 10**9}, "states num_cayley_neumann_terms as 1000000000"),
        ({"eps": [1]}, "states eps as [1]"),
        ({"rank_pattern": 7}, "a rank_pattern that is not a table"),
        ({"lora_alpha": "8"}, "states alpha as '8'"),
        ({"lora_alpha": math.nan}, "states alpha as nan"),
        ({"lora_alpha": 10**400}, "states alpha as 1000"),
        ({"alpha_pattern": [1]}, "not a table"),
    ],
)
def test_a_config_that_asks_for_more_is_refused_by_name(tmp_path: Path, config: dict[str, object], said: str) -> None:
    with pytest.raises(AdapterDoesNotFit) as caught:
        read_adapter(_saved(tmp_path, config), NAMES, "a")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"a_field_of_tomorrow": {"deep": [1]}, "peft_version": "9.9", "auto_mapping": {"parent_library": "os"}},
        {"use_later": False, "later_config": None, "megatron_config": {"x": 1}, "eva_config": {"rho": 2.0}},
        {"init_lora_weights": "gaussian", "loftq_config": {}, "use_rslora": False, "kasa_config": None},
    ],
)
def test_fields_that_change_no_number_do_not_fail_the_load(tmp_path: Path, config: dict[str, object]) -> None:
    assert _scales(read_adapter(_saved(tmp_path, {"lora_alpha": 2, **config}), NAMES, "a")) == [0.5, 0.5]


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_a_broken_config_is_unreadable(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnreadableFile, match="PEFT config"):
        read_adapter(_saved(tmp_path, text), NAMES, "a")


def test_diffusers_writes_the_config_into_the_header(tmp_path: Path) -> None:
    stem = f"unet.{PATHS[0]}"
    tensors = {f"{stem}.lora_A.weight": torch.ones(4, 8), f"{stem}.lora_B.weight": torch.ones(6, 4)}
    text = f"text_encoder.{TEXT_PATH}"
    tensors |= {f"{text}.lora_A.weight": torch.ones(4, 8), f"{text}.lora_B.weight": torch.ones(6, 4)}
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 2})}
    save_file(tensors, tmp_path / "style.safetensors", metadata)
    file = TensorFile.open(tmp_path / "style.safetensors")
    adapter = read_adapter(file, NAMES, "a")
    assert _scales(adapter) == [0.5, 1.0]  # the text encoder is not in the config
    assert adapter.sha256 == file.sha256


PATTERNS = (
    "to_q",
    "attn1.to_q",
    r"attn1\.to_q",
    "^blocks.0.attn1.to_q",
    "^attn1.to_q",
    "to_q$",
    r"blocks\.\d+\.attn1\.to_k",
    r"blocks.\d.attn1.to_k",
    "(to_q|to_v)",
    r"^blocks\.[0-9]+\.(attn1|attn2)\.to_(q|v)$",
    "o_q",
    "blocks",
)


def test_patterns_match_what_peft_says_they_match() -> None:
    other = pytest.importorskip("peft.utils.other")
    paths = [f"blocks.{n}.attn{m}.to_{x}" for n in (0, 7, 12) for m in (1, 2) for x in "qkv"]
    paths += ["to_q", "o_q", "x.blocks", "blocks.0.attn1.to_q.extra", "blocks.0.attn1"]
    for first in PATTERNS:
        for second in PATTERNS:
            given = dict.fromkeys((first, second))
            for path in paths:
                found = other.get_pattern_key(list(given), path)
                expected = found if found in given else None
                assert Patterns.of({key: key for key in given}).value(path) == expected, (given, path)


@pytest.mark.parametrize(
    "pattern",
    [".*", "a.*b", "(a+)+", "(a|a)*", "to_[qk]", r"\w+", "a{9}", "(?i)x", "a|b", "[", "x" * 600 + "(a|b)", ""],
)
def test_a_pattern_that_is_more_than_a_name_is_never_run(pattern: str) -> None:
    with pytest.raises(UnknownPattern, match="more than a plain name"):
        Patterns.of({pattern: 1})


def test_very_many_plain_patterns_are_looked_up_and_not_tried() -> None:
    table = Patterns.of({f"blocks.{n}.to_q": n for n in range(20_000)} | {r"b\d+(x|y)": -1})
    long = ".".join(["1"] * 500)
    assert [table.value(f"model.blocks.{n}.to_q") for n in range(20_000)] == list(range(20_000))
    assert table.value(long) is None
    with pytest.raises(UnknownPattern):
        Patterns.of({f"a{n}(b|c)": n for n in range(65)})


def test_a_folder_of_peft_was_no_file_and_two_of_them_had_one_name(tmp_path: Path) -> None:
    parts = {"unet": nn.Module()}
    parts["unet"].add_module("to_q", nn.Linear(8, 6))
    for name in ("ink", "wash"):
        (tmp_path / name).mkdir()
        _saved(tmp_path / name, {"peft_type": "LORA", "r": 4, "lora_alpha": 8}, ["to_q"])
    given = [
        tmp_path / "ink",
        tmp_path / "wash" / "adapter_config.json",
        str(tmp_path / "ink/adapter_model.safetensors"),
    ]
    adapters = [load_lora(path, parts) for path in given]
    assert [adapter.name for adapter in adapters] == ["ink", "wash", "ink"]
    with Stack([(adapter, 1) for adapter in adapters[:2]]).applied(parts) as applied:
        applied.set({"wash": 0.5})
        assert [weight.unet for weight in applied.weights] == [1, 0.5]
    with pytest.raises(AdapterDoesNotFit, match=r"ink/adapter_model\.safetensors fits nothing"):
        load_lora(tmp_path / "ink", {"unet": nn.Linear(2, 2)})


def test_a_folder_without_an_adapter_says_what_is_in_it(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "style.safetensors")
    with pytest.raises(FileProblem, match="a folder was given") as caught:
        load_lora(tmp_path, nn.Linear(2, 2))
    assert caught.value.nearest == "style.safetensors"
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FileProblem, match="is a JSON text") as caught:
        load_lora(tmp_path / "adapter_config.json", nn.Linear(2, 2))
    assert caught.value.do == "give the file of tensors that it belongs to"
