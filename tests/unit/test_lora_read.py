"""Reading an adapter: alpha and rank of each module, what is refused and how it is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit, UnknownFile
from sakuga.lora.adapter import Adapter
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.read import check_adapter, read_adapter
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap, Place

PATHS = [f"mid_block.attentions.0.transformer_blocks.0.attn{n}.to_{x}" for n in (1, 2) for x in "qkv"]
TEXT_PATH = "text_model.encoder.layers.0.mlp.fc1"
TREES = {"unet": {path: {"weight": (6, 8)} for path in PATHS}, "text_encoder": {TEXT_PATH: {"weight": (6, 8)}}}
NAMES = NameMap.of(TREES)
STEMS = ["lora_unet_" + path.replace(".", "_") for path in PATHS]
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"


def _pair(stem: str, rank: int = 2, out: int = 6, features: int = 8, alpha: object = None) -> dict[str, Tensor]:
    made = {
        f"{stem}.lora_down.weight": torch.randn(rank, features),
        f"{stem}.lora_up.weight": torch.randn(out, rank),
    }
    return made if alpha is None else {**made, f"{stem}.alpha": torch.as_tensor(alpha)}


def _file(folder: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> TensorFile:
    path = folder / "style.safetensors"
    save_file(dict(tensors), path, dict(metadata) if metadata else None)
    return TensorFile.open(path)


def _read(folder: Path, tensors: Mapping[str, Tensor], *, partial: bool = False) -> Adapter:
    return read_adapter(_file(folder, tensors), NAMES, "style", allow_partial=partial)


def _refused(folder: Path, tensors: Mapping[str, Tensor], *, partial: bool = False) -> AdapterDoesNotFit:
    with pytest.raises(AdapterDoesNotFit) as caught:
        read_adapter(_file(folder, tensors), NAMES, "style", allow_partial=partial)
    return caught.value


def _scales(adapter: Adapter) -> list[float]:
    """In the order of PATHS, then the text encoder; a file keeps its keys in an order of its own."""
    found = {patch.module: patch.record.scale for patch in adapter.patches if isinstance(patch.record, Lora)}
    assert len(found) == len(adapter.patches)
    return [scale for _, scale in sorted(found.items(), key=lambda pair: [*PATHS, pair[0]].index(pair[0]))]


def test_rank_and_alpha_are_each_module_s_own(tmp_path: Path) -> None:
    tensors = {
        **_pair(STEMS[0], rank=4, alpha=2.0),
        **_pair(STEMS[1], rank=1, alpha=[3.0]),  # one number in a vector
        **_pair(STEMS[2], rank=4),  # none: equal to the rank
        **_pair(STEMS[3], rank=2, alpha=torch.tensor(1, dtype=torch.int64)),
        **_pair(STEMS[4], rank=2, alpha=torch.tensor(1.0, dtype=torch.bfloat16)),
        **_pair(TEXT, rank=3, alpha=-6.0),
    }
    adapter = _read(tmp_path, tensors)
    ranks = {patch.module: patch.record.rank for patch in adapter.patches}
    assert [ranks[path] for path in PATHS[:5]] == [4, 1, 4, 2, 2]
    assert _scales(adapter) == [0.5, 3.0, 1.0, 0.5, 0.5, -2.0]
    assert adapter.used_keys == adapter.total_keys == len(tensors)
    assert adapter.notes == ("alpha is negative (-6.0): the effect is mirrored (1 module)",)
    assert [patch.module for patch in adapter.patches if patch.component == "text_encoder"] == [TEXT_PATH]


def test_identity_and_metadata_come_from_the_file(tmp_path: Path) -> None:
    file = _file(tmp_path, _pair(STEMS[0]), {"ss_output_name": "ink"})
    adapter = read_adapter(file, NAMES, "ink")
    assert (adapter.sha256, adapter.path, adapter.layout) == (file.sha256, file.path, "kohya")
    assert adapter.metadata == {"ss_output_name": "ink"}


def test_alpha_zero_is_ignored_with_a_word(tmp_path: Path) -> None:
    adapter = _read(tmp_path, {**_pair(STEMS[0], alpha=0.0), **_pair(STEMS[1])})
    assert [patch.module for patch in adapter.patches] == [PATHS[1]]
    assert {left.reason for left in adapter.ignored} == {"alpha is 0: without effect"}
    assert len(adapter.ignored) == 3
    assert adapter.notes == ("alpha is 0 in 1 module: without effect",)


def test_a_file_whose_every_alpha_is_zero_is_refused(tmp_path: Path) -> None:
    error = _refused(tmp_path, _pair(STEMS[0], alpha=0.0))
    assert error.title == "style.safetensors has no effect"
    assert error.nearest == "alpha is 0: without effect"


def test_an_alpha_that_is_not_one_number_is_told_and_no_shape_is_blamed(tmp_path: Path) -> None:
    error = _refused(tmp_path, _pair(STEMS[0], alpha=[1.0, 2.0]))
    assert error.nearest == f"1 of 1 names exist there; {STEMS[0]}: alpha is not one number but [2] of F32"


@pytest.mark.parametrize("alpha", [math.nan, math.inf])
def test_an_alpha_that_is_not_finite_is_told_by_name(tmp_path: Path, alpha: float) -> None:
    error = _refused(tmp_path, {**_pair(STEMS[0], alpha=alpha), **_pair(STEMS[1])})
    assert error.title == "style.safetensors holds numbers that are not finite"
    assert error.given == f"{STEMS[0]}: alpha is {alpha}, in {tmp_path / 'style.safetensors'}"


def test_an_alpha_beyond_any_float_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "style.pt"
    torch.save({**_pair(STEMS[0]), f"{STEMS[0]}.alpha": 10**400}, path)
    with pytest.raises(AdapterDoesNotFit, match="does not fit") as caught:
        read_adapter(TensorFile.open(path), NAMES, "style")
    assert "alpha is 1000000" in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_factor_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    tensors = {**_pair(STEMS[0]), **_pair(STEMS[1])}
    tensors[f"{STEMS[1]}.lora_up.weight"][3, 1] = value
    error = _refused(tmp_path, tensors)
    assert error.title == "style.safetensors holds numbers that are not finite"
    said = f"{STEMS[1]}.lora_up.weight holds NaN or infinity, in {tmp_path / 'style.safetensors'}"
    assert (error.given, error.nearest) == (said, "1 of 2 modules are sound")
    assert "Python" not in str(error) and "sakuga lora show --deep" in str(error.do)
    rest = _read(tmp_path, tensors, partial=True)
    assert [patch.module for patch in rest.patches] == [PATHS[0]]
    assert {left.key for left in rest.refused} == {f"{STEMS[1]}.lora_up.weight", f"{STEMS[1]}.lora_down.weight"}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float64], ids=str)
def test_factors_of_eight_bits_are_read_and_looked_at(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in _pair(STEMS[0]).items()}
    (patch,) = _read(tmp_path, tensors).patches
    assert patch.record.delta(torch.zeros(6, 8)).any()
    tensors[f"{STEMS[0]}.lora_up.weight"] = torch.full((6, 2), math.nan).to(dtype)
    assert "lora_up.weight holds NaN or infinity" in str(_refused(tmp_path, tensors))


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    tensors = _pair(STEMS[0])
    del tensors[f"{STEMS[0]}.lora_up.weight"]
    assert "LoRA without up" in str(_refused(tmp_path, tensors))


def test_ranks_that_do_not_meet_are_refused(tmp_path: Path) -> None:
    tensors = {**_pair(STEMS[0], rank=2), f"{STEMS[0]}.lora_up.weight": torch.ones(6, 3)}
    assert "the ranks do not meet: up [6, 3], down [2, 8]" in str(_refused(tmp_path, tensors))


def test_factors_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    tensors = {name: (tensor * 10).to(torch.int8) for name, tensor in _pair(STEMS[0]).items()}
    assert "lora_down.weight has I8 numbers" in str(_refused(tmp_path, tensors))


def test_two_names_for_one_module_are_refused_together(tmp_path: Path) -> None:
    ldm = STEMS[0].replace("mid_block_attentions_0", "middle_block_1")
    assert NAMES.find(ldm) == NAMES.find(STEMS[0])
    error = _refused(tmp_path, {**_pair(STEMS[0]), **_pair(ldm), **_pair(STEMS[1])})
    assert f"two of its names mean {PATHS[0]}: {STEMS[0]}, {ldm}" in str(error)


def test_one_factor_under_two_keys_is_refused(tmp_path: Path) -> None:
    tensors = {**_pair(STEMS[0]), f"{STEMS[0]}.lora_A.weight": torch.ones(2, 8)}
    assert f"it is written twice: {STEMS[0]}.lora_A.weight and" in str(_refused(tmp_path, tensors))


def test_names_that_fit_nothing_tell_the_nearest(tmp_path: Path) -> None:
    stem = STEMS[0].replace("mid_block", "mid_blok")
    error = _refused(tmp_path, _pair(stem), partial=True)
    assert error.title == "style.safetensors fits nothing in this model"
    missing = f"{stem}: no module of this name is in the model"
    assert error.nearest == f"0 of 1 names exist there; {missing}; spelt most like {stem}: {STEMS[0]}"


def test_wrong_shapes_are_listed(tmp_path: Path) -> None:
    tensors = {**_pair(STEMS[0]), **_pair(STEMS[1], out=7), **_pair(STEMS[2], features=4)}
    error = _refused(tmp_path, tensors)
    assert error.title == "style.safetensors fits only in part"
    assert error.nearest == "; ".join(
        [
            "3 of 3 names exist there, 2 of them with another shape",
            f"{STEMS[1]}: its weight is [6, 8], the adapter's change is [7, 8]",
            f"{STEMS[2]}: its weight is [6, 8], the adapter's change is [6, 4]",
        ]
    )


def test_a_module_without_a_weight_is_no_place(tmp_path: Path) -> None:
    empty = {**TREES, "unet": {**TREES["unet"], PATHS[0]: {}}}
    with pytest.raises(AdapterDoesNotFit, match="it has no weight of its own") as caught:
        read_adapter(_file(tmp_path, _pair(STEMS[0])), NameMap.of(empty), "style")
    assert "another shape" not in str(caught.value)


def test_an_sdxl_adapter_is_refused_as_one(tmp_path: Path) -> None:
    deep = "lora_unet_output_blocks_0_1_transformer_blocks_{}_attn1_to_q"
    sgm = {name: tensor for n in range(3) for name, tensor in _pair(deep.format(n), features=1280).items()}
    te2 = _pair("lora_te2_text_model_encoder_layers_0_mlp_fc1")
    error = _refused(tmp_path, {**sgm, **te2, **_pair(STEMS[0], out=640, features=640)})
    assert error.title == "style.safetensors was made for another family of models"
    assert error.given is not None
    assert error.given.startswith("an SDXL adapter in kohya SDXL (sgm) naming, 5 modules")
    assert error.expected == "an adapter for the modules of this base (unet, text_encoder)"
    assert error.nearest is not None
    assert "1 of 5 names exist there, 1 of them with another shape" in error.nearest
    assert "is in the model: 4 modules, such as lora_te2_text_model_encoder_layers_0_mlp_fc1, " in error.nearest
    assert error.do == "choose a base that it was made for, or take it out of the job"


@pytest.mark.parametrize(
    ("keys", "phrase"),
    [
        (["lora_unet_double_blocks_0_img_mod_lin.lora_{}.weight"], "a Flux.1 adapter in kohya Flux naming"),
        (
            ["transformer.single_transformer_blocks.3.attn.to_q.lora.{}.weight"],
            "a Flux.1, Chroma or HunyuanVideo adapter in diffusers naming",
        ),
        (["double_blocks.0.processor.qkv_lora1.{}.weight"], "a Flux.1 adapter in XLabs naming"),
        (["transformer.transformer_blocks.59.attn.to_q.lora.{}.weight"], "a Qwen-Image adapter in diffusers naming"),
    ],
)
def test_a_flux_adapter_is_refused_as_one(tmp_path: Path, keys: list[str], phrase: str) -> None:
    tensors = {key.format(leaf): torch.ones(2, 2) for key in keys for leaf in ("down", "up")}
    error = _refused(tmp_path, tensors, partial=True)
    assert error.title == "style.safetensors was made for another family of models"
    assert error.given is not None
    assert error.given.startswith(phrase)


def test_widths_tell_the_family_where_names_do_not(tmp_path: Path) -> None:
    base = {path: {"weight": (6, 768 if "attn2" in path else 1280)} for path in PATHS}
    tensors = {**_pair(STEMS[0], features=1280), **_pair(STEMS[1], features=1280), **_pair(STEMS[4], features=1024)}
    with pytest.raises(AdapterDoesNotFit) as caught:
        read_adapter(_file(tmp_path, tensors), NameMap.of({"unet": base}), "style")
    assert caught.value.title == "style.safetensors was made for another family of models"
    assert caught.value.given is not None
    assert caught.value.given.startswith("an SD 2.x adapter")
    assert caught.value.expected == "an SD 1.x adapter for the modules of this base (unet)"


def test_the_caller_may_say_what_was_expected(tmp_path: Path) -> None:
    file = _file(tmp_path, _pair("lora_unet_nowhere"))
    with pytest.raises(AdapterDoesNotFit) as caught:
        check_adapter(file, NAMES, expected='SD 1.5, because base is "starter"')
    assert caught.value.expected == 'SD 1.5, because base is "starter"'


def test_partly_fitting_files_need_consent_and_half_of_their_modules(tmp_path: Path) -> None:
    tensors = {**_pair(STEMS[0]), **_pair("lora_unet_nowhere", alpha=1.0)}
    assert "fits only in part" in _refused(tmp_path, tensors).title
    adapter = _read(tmp_path, tensors, partial=True)
    assert [patch.module for patch in adapter.patches] == [PATHS[0]]
    assert {left.reason for left in adapter.refused} == {"no module of this name is in the model"}
    assert adapter.used_keys + len(adapter.leftovers) == adapter.total_keys == 5
    _refused(tmp_path, {**tensors, **_pair("lora_unet_nowhere_else")}, partial=True)


def test_a_check_reads_no_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _file(tmp_path, {**_pair(STEMS[0], alpha=1.0), **_pair(STEMS[1])})
    asked: list[str] = []
    read = TensorFile.tensor
    monkeypatch.setattr(TensorFile, "tensor", lambda self, name: asked.append(name) or read(self, name))
    monkeypatch.setattr(TensorFile, "tensors", lambda self, names: pytest.fail("factors were read"))
    assert [module.verdict for module in check_adapter(file, NAMES).modules] == ["fits", "fits"]
    assert asked == [f"{STEMS[0]}.alpha"]


def test_a_file_without_adapter_keys_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownFile, match=r"style\.safetensors is no adapter that is known here"):
        _read(tmp_path, {"conv_in.weight": torch.ones(1)})
    with pytest.raises(UnknownFile, match="no tensors at all"):
        _read(tmp_path, {})


def test_pickles_may_hold_alpha_as_a_number_and_values_that_are_no_tensors(tmp_path: Path) -> None:
    path = tmp_path / "slider.pt"
    content = {**_pair(STEMS[0]), f"{STEMS[0]}.alpha": 1.0, "epoch": 3}
    torch.save({"state_dict": content, "step": 7}, path)
    adapter = read_adapter(TensorFile.open(path), NAMES, "slider")
    assert _scales(adapter) == [0.5]
    assert {left.reason for left in adapter.ignored} == {"not a tensor"}
    assert adapter.used_keys + len(adapter.ignored) == adapter.total_keys == 5


def test_several_adapters_in_one_file_are_not_mixed(tmp_path: Path) -> None:
    tensors = {f"unet.{PATHS[0]}.lora_{x}.{name}.weight": torch.ones(2, 2) for name in ("day", "night") for x in "AB"}
    assert "the file holds several adapters (day, night)" in str(_refused(tmp_path, tensors))


def test_places_are_the_model_s_own_names(tmp_path: Path) -> None:
    adapter = _read(tmp_path, _pair(STEMS[0].replace("mid_block_attentions_0", "middle_block_1")))
    (patch,) = adapter.patches
    assert Place(component=patch.component, module=patch.module) == Place(component="unet", module=PATHS[0])
