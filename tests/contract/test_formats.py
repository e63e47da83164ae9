"""What every entry of FORMATS keeps: it knows its own samples and no other's, and accounts for every key. All its
spellings of one adapter are one adapter; algorithms that are not applied are refused by name, a module never by half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.formats import FORMATS, recognise
from sakuga.lora.formats.titles import TITLES
from sakuga.lora.read import read_adapter
from sakuga.lora.survey import survey
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0"
LAYER = "text_model.encoder.layers.0"
TREE = {
    "unet": [f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn1.to_out.0", "down_blocks.1.attentions.0.proj_in"],
    "text_encoder": [f"{LAYER}.self_attn.q_proj", f"{LAYER}.mlp.fc1"],
}
# the resnets tell the LDM names how many entries a level has
RESNETS = [f"down_blocks.0.resnets.{index}.conv1" for index in (0, 1)]
NAMES = NameMap.of({**TREE, "unet": [*TREE["unet"], *RESNETS]})
CONV = "down_blocks.1.attentions.0.proj_in"
LDM = {"down_blocks.1.attentions.0": "input_blocks.4.1"}  # SD 1.x has two layers in a block

Spelling = Callable[[str, str, str], str]  # component, module, leaf ("down", "up") → key


def _kohya(component: str, module: str, leaf: str) -> str:
    prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[component]
    return f"{prefix}{module.replace('.', '_')}.lora_{leaf}.weight"


def _kohya_te1(component: str, module: str, leaf: str) -> str:
    return _kohya(component, module, leaf).replace("lora_te_", "lora_te1_")


def _kohya_ldm(component: str, module: str, leaf: str) -> str:
    for own, other in LDM.items():
        module = module.replace(own, other)
    return _kohya(component, module, leaf)


def _peft(component: str, module: str, leaf: str) -> str:
    return f"{component}.{module}.lora_{'A' if leaf == 'down' else 'B'}.weight"


def _peft_wrapped(component: str, module: str, leaf: str) -> str:
    return f"base_model.model.{module}.lora_{'A' if leaf == 'down' else 'B'}.default.weight"


def _peft_native(component: str, module: str, leaf: str) -> str:
    for own, other in LDM.items():
        module = module.replace(own, other)
    return f"diffusion_model.{module}.lora_{'A' if leaf == 'down' else 'B'}.weight"


def _lora_dot(component: str, module: str, leaf: str) -> str:
    middle = "lora" if component == "unet" else "lora_linear_layer"
    return f"{component}.{module}.{middle}.{leaf}.weight"


def _bare(component: str, module: str, leaf: str) -> str:
    return f"{module}.lora_{leaf}.weight"


def _nested(component: str, module: str, leaf: str) -> str:
    return f"{component}.base_model.model.{module}.lora.{leaf}"


def _comfy(component: str, module: str, leaf: str) -> str:
    for own, other in LDM.items():
        module = module.replace(own, other)
    before = "diffusion_model" if component == "unet" else "text_encoders.clip_l.transformer"
    return f"{before}.{module}.lora_{leaf}.weight"


def _processor(component: str, module: str, leaf: str) -> str:
    if component == "text_encoder" or module == CONV:
        return _lora_dot(component, module, leaf)
    parent, _, layer = module.partition(".attn1.")
    return f"{component}.{parent}.attn1.processor.{layer.removesuffix('.0')}_lora.{leaf}.weight"


def _hcp(component: str, module: str, leaf: str) -> str:
    return f"{component}.{module}.___.layer.W_{leaf}"


SAMPLES: Mapping[str, Mapping[str, Spelling]] = {
    "kohya": {"diffusers names": _kohya, "te1": _kohya_te1, "LDM names": _kohya_ldm},
    "dotted": {
        "diffusers": _peft,
        "PEFT, named adapter": _peft_wrapped,
        "native names": _peft_native,
        "lora.down": _lora_dot,
        "bare names": _bare,
        "SimpleTuner": _nested,
        "ComfyUI": _comfy,
    },
    "processors": {"attention processors": _processor},
    "HCP-Diffusion": {"HCP-Diffusion": _hcp},
}
# These have places in other models than a UNet with a text encoder; tests/unit/test_lora_layouts.py reads them.
ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "XLabs": ("double_blocks.0.processor.qkv_lora1.down.weight", "double_blocks.0.processor.qkv_lora1.up.weight"),
    "cloneofsimo": ("unet:0:down", "unet:0:up", "text_encoder:0:up"),
}
CASES = [(layout, name) for layout, spellings in SAMPLES.items() for name in spellings]
each = pytest.mark.parametrize(("layout", "name"), CASES, ids=[f"{layout}: {name}" for layout, name in CASES])


def _factors() -> dict[tuple[str, str, str], Tensor]:
    """The same adapter each time: (component, module, leaf) → factor; the convolution is a 1x1 one."""
    torch.manual_seed(7)
    made = {}
    for component, modules in TREE.items():
        for module in modules:
            kernel = (1, 1) if module == CONV else ()
            made[component, module, "down"] = torch.randn(2, 8, *kernel)
            made[component, module, "up"] = torch.randn(6, 2, *kernel)
    return made


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> TensorFile:
    save_file(dict(tensors), path, dict(metadata) if metadata else None)
    return TensorFile.open(path)


def _sample(path: Path, layout: str, name: str) -> TensorFile:
    spelling = SAMPLES[layout][name]
    return _save(path, {spelling(*place): factor for place, factor in _factors().items()})


def test_every_format_has_samples() -> None:
    assert {layout.name for layout in FORMATS} == set(SAMPLES) | set(ELSEWHERE) == set(TITLES)


@pytest.mark.parametrize("layout", ELSEWHERE)
def test_keys_of_other_models_are_known_to_their_own_format_and_to_no_other(tmp_path: Path, layout: str) -> None:
    file = _save(tmp_path / "a.safetensors", {key: torch.zeros(2, 2) for key in ELSEWHERE[layout]})
    assert [entry.name for entry in FORMATS if entry.recognise(file)] == [layout]


@each
def test_a_sample_is_known_to_its_own_format_and_to_no_other(tmp_path: Path, layout: str, name: str) -> None:
    file = _sample(tmp_path / "a.safetensors", layout, name)
    assert [entry.name for entry in FORMATS if entry.recognise(file)] == [layout]
    found, reason = recognise(file)
    assert found.name == layout
    assert reason.removeprefix("keys such as ") in file.names


@each
def test_every_spelling_is_the_same_adapter(tmp_path: Path, layout: str, name: str) -> None:
    adapter = read_adapter(_sample(tmp_path / "a.safetensors", layout, name), NAMES, "a")
    assert (adapter.leftovers, adapter.used_keys, adapter.total_keys) == ((), 10, 10)
    found = {(patch.component, patch.module): patch.record.factors() for patch in adapter.patches}
    assert set(found) == {(component, module) for component, modules in TREE.items() for module in modules}
    for (component, module), pair in found.items():
        assert pair is not None
        assert torch.equal(pair.up, _factors()[component, module, "up"].flatten(1))
        assert torch.equal(pair.down, _factors()[component, module, "down"])


@each
def test_every_key_is_accounted_for(tmp_path: Path, layout: str, name: str) -> None:
    sample = _sample(tmp_path / "a.safetensors", layout, name)
    stray = {
        "bundle_emb.word.string_to_param.*": torch.zeros(2, 8),
        "_aux.seed": torch.zeros(1),
        "first_stage_model.decoder.conv_in.weight": torch.zeros(1),
    }
    file = _save(tmp_path / "b.safetensors", {**dict(sample.tensors()), **stray})
    adapter = read_adapter(file, NAMES, "b", allow_partial=True)
    assert adapter.used_keys + len(adapter.ignored) + len(adapter.refused) == adapter.total_keys == 13
    assert {left.key for left in adapter.ignored} == {"_aux.seed"}
    assert {left.key for left in adapter.refused} == {"first_stage_model.decoder.conv_in.weight"}
    assert adapter.embeddings == {"word": {"string_to_param.*": "bundle_emb.word.string_to_param.*"}}
    assert "it brings the words word for the prompt" in adapter.notes
    with pytest.raises(AdapterDoesNotFit):
        read_adapter(file, NAMES, "b")


PARTS: Mapping[str, tuple[int, ...]] = {"lora_down.weight": (2, 8), "lora_up.weight": (6, 2)}
UNKNOWN: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "dora_scale alone": {"dora_scale": (6, 1)},
    "half a LoHa": {"hada_w1_a": (6, 2), "hada_w1_b": (2, 8)},
    "a leaf of tomorrow": {**PARTS, "lora_sideways.weight": (2, 2)},
    "DiffSynth's time step": {**PARTS, "lora_time_gamma.weight": (2, 2)},
    "KaSA": {**PARTS, "lora_diag": (2,)},
    "a ControlNet-LLLite under a wrong prefix": {"conditioning1.0.weight": (2, 3, 4, 4), "down.0.weight": (2, 8)},
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("stem", ["lora_unet_" + TREE["unet"][0].replace(".", "_"), "unet." + TREE["unet"][0]])
def test_what_no_algorithm_reads_is_refused_whole(tmp_path: Path, stem: str, name: str) -> None:
    tensors = {f"{stem}.{leaf}": torch.ones(shape) for leaf, shape in UNKNOWN[name].items()}
    file = _save(tmp_path / "style.safetensors", {**tensors, f"{stem}.alpha": torch.tensor(1.0)})
    found = survey(file, NAMES)
    assert {module.verdict for module in found.modules} <= {"algorithm", "broken", "name"}
    assert (found.used_keys, len(found.leftovers())) == (0, len(file.names))
    with pytest.raises(AdapterDoesNotFit):
        read_adapter(file, NAMES, "style", allow_partial=True)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.conditioning1.0.weight"], "LLLite"),
        (["lora_controlnet", "input_blocks.1.0.in_layers.2.up"], "Control-LoRA"),
        (["emb_params"], "textual inversion"),
        (["model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.x"], "checkpoint"),
    ],
)
def test_known_other_files_are_called_what_they_are(tmp_path: Path, keys: list[str], said: str) -> None:
    file = _save(tmp_path / "x.safetensors", {key: torch.zeros(1) for key in keys})
    with pytest.raises(AdapterDoesNotFit, match=said):
        recognise(file)
