"""The starter's own LoRAs, spelt as other tools do and stored by other algorithms, draw one and the same picture.

A layout only renames: the frames are bit-identical. Another algorithm reaches the same ΔW by other sums, so rounding
may move a value across the border between two grey levels, and no further.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sakuga.models.library import STARTER

Factors = Mapping[str, tuple[Tensor, Tensor]]  # "unet.…" or "text_encoder.text_model.…" → down, up; the scale is 1
Written = dict[str, Tensor]
STAGE = {"prompt": "anime style, a disc", "guidance": 4.0, "steps": 3, "motion": "none"}
RANK = 8


def kohya_stem(name: str) -> str:
    part, _, path = name.partition(".")
    return {"unet": "lora_unet_", "text_encoder": "lora_te_"}[part] + path.replace(".", "_")


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest) -> str:
    """The name of a LoRA of the starter."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def pairs(own: str, modules: Mapping[str, tuple[int, ...]]) -> Factors:
    """Its factors by the module's name."""
    tensors = load_file(STARTER / "loras" / f"{own}.safetensors")
    names = (name.replace("text_encoder.encoder", "text_encoder.text_model.encoder") for name in modules)
    stems = {name: kohya_stem(name) for name in names}
    found = {
        name: (tensors.pop(f"{stem}.lora_down.weight"), tensors.pop(f"{stem}.lora_up.weight"))
        for name, stem in stems.items()
        if float(tensors.pop(f"{stem}.alpha", torch.tensor(0.0))) == RANK
    }
    assert found and not tensors
    return found


@pytest.fixture(scope="module")
def drawn(own: str, draw: Any, sources: Mapping[str, Path]) -> Any:
    """The picture with the LoRA as it is shipped, which differs from the one without."""
    with_it = draw(sources["picture"], STAGE | {"adapters": [own]})
    assert with_it.apart(draw(sources["picture"], STAGE)).max() > 8
    return with_it


def spelt(down: str, up: str, prefixes: Mapping[str, str] | None = None) -> Callable[[Factors], Written]:
    """A dotted layout: the leaves, and what stands for "unet." and "text_encoder." before the names."""

    def write(pairs: Factors) -> Written:
        found = {}
        for name, factors in pairs.items():
            part, _, path = name.partition(".")
            stem = name if prefixes is None else prefixes[part] + path
            found |= dict(zip((f"{stem}.{down}", f"{stem}.{up}"), factors, strict=True))
        return found

    return write


def diffusers(pairs: Factors) -> Written:
    """As diffusers' first trainings wrote it: each part with its own words."""
    unet = {name: both for name, both in pairs.items() if name.startswith("unet.")}
    text = {name: both for name, both in pairs.items() if not name.startswith("unet.")}
    return spelt("lora.down.weight", "lora.up.weight")(unet) | spelt(
        "lora_linear_layer.down.weight", "lora_linear_layer.up.weight"
    )(text)


def processors(pairs: Factors) -> Written:
    """Attention in its processors, all other layers as diffusers."""
    found = {}
    for key, tensor in diffusers(pairs).items():
        path, to, rest = key.rpartition(".to_")
        layer, _, leaf = rest.partition(".lora.")
        inside = to and path.startswith("unet.")
        found[f"{path}.processor.to_{layer.removesuffix('.0')}_lora.{leaf}" if inside else key] = tensor
    return found


def one_trainer(pairs: Factors) -> Written:
    """Dotted, with an alpha for each module and the trainer's bookkeeping."""
    alphas = {f"{name}.alpha": torch.tensor(float(RANK)) for name in pairs}
    return spelt("lora_down.weight", "lora_up.weight")(pairs) | alphas


def wrapped(pairs: Factors) -> Written:
    """As PEFT saves it, whose config beside the file doubles the scale: so the ups are half of what they were."""
    halves = {name: (down, up.float() / 2) for name, (down, up) in pairs.items()}  # fp16 has no half of its smallest
    return spelt("lora_A.weight", "lora_B.weight", {"unet": "base_model.model.", "text_encoder": "base_model.model."})(
        halves
    )


COMFY = {"unet": "diffusion_model.", "text_encoder": "text_encoders.clip_l.transformer."}
BARE = {"unet": "", "text_encoder": ""}
CONFIG = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": None}
LAYOUTS: Mapping[str, Callable[[Factors], Written]] = {
    "diffusers": diffusers,
    "diffusers (PEFT)": spelt("lora_A.weight", "lora_B.weight"),
    "diffusers (attention processors)": processors,
    "PEFT": wrapped,
    "PEFT (named adapter)": spelt("lora_A.default.weight", "lora_B.default.weight"),
    "SimpleTuner": spelt("lora.down", "lora.up", {part: f"{part}.base_model.model." for part in BARE}),
    "OneTrainer": one_trainer,
    "ComfyUI": spelt("lora_down.weight", "lora_up.weight", COMFY),
    "bare names": spelt("lora_down.weight", "lora_up.weight", BARE),
    "HCP-Diffusion": spelt("___.layer.W_down", "___.layer.W_up"),
}
METADATA = {"OneTrainer": {"ot_branch": "master"}}


@pytest.mark.parametrize("own", ["celcomic"], indirect=True, scope="module")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_draws_the_same_picture_to_the_bit(
    draw: Any, sources: Mapping[str, Path], drawn: Any, pairs: Factors, tmp_path: Path, layout: str
) -> None:
    tensors = LAYOUTS[layout](pairs)
    path = tmp_path / "adapter_model.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, METADATA.get(layout))
    if layout == "PEFT":
        (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    found = draw(sources["picture"], STAGE | {"adapters": [str(path)]})
    (told,) = found.report.adapters
    assert (told["layout"], told["algorithms"], told["modules"]) == (layout, ["LoRA"], len(pairs))
    assert told["keys"] == {"total": len(tensors), "used": len(tensors), "ignored": [], "refused": []}
    assert np.array_equal(found.frames, drawn.frames)


def difference(down: Tensor, up: Tensor) -> Written:
    product = up.float().flatten(1) @ down.float().flatten(1)
    return {"diff": product.reshape(len(up), *down.shape[1:])}


def kronecker(down: Tensor, up: Tensor) -> Written:
    pair = {"lokr_w2_a": up.flatten(1), "lokr_w2_b": down.flatten(1)}
    return {"lokr_w1": torch.ones(1, 1), **pair, "alpha": torch.tensor(float(RANK))}


def hadamard(down: Tensor, up: Tensor) -> Written:
    """ΔW ∘ 1: the second pair is ones, of the same rank, only the first column of which counts."""
    ones = {"hada_w2_a": torch.zeros(len(up), RANK), "hada_w2_b": torch.zeros(RANK, down[0].numel())}
    ones["hada_w2_a"][:, 0], ones["hada_w2_b"][0] = 1, 1
    return {"hada_w1_a": up.float().flatten(1), "hada_w1_b": down.float().flatten(1), **ones}


def core(down: Tensor, up: Tensor) -> Written:
    """A LoCon whose core, or whose down, is the identity; a Linear has none."""
    if down.ndim == 2:
        return {"lora_down.weight": down, "lora_up.weight": up}
    inputs, thin = (down.shape[1], (1, 1))
    if down.shape[2:] == thin:
        mid, first = torch.eye(RANK).reshape(RANK, RANK, 1, 1), down
    else:
        mid, first = down, torch.eye(inputs).reshape(inputs, inputs, 1, 1)
    return {"lora_down.weight": first, "lora_mid.weight": mid, "lora_up.weight": up}


ALGORITHMS: Mapping[str, tuple[Callable[[Tensor, Tensor], Written], set[str]]] = {
    "difference of weights": (difference, {"Full (difference of weights)"}),
    "LoKr": (kronecker, {"LoKr"}),
    "LoHa": (hadamard, {"LoHa"}),
    "LoCon with a core": (core, {"LoRA", "LoCon with a Tucker core"}),
}


@pytest.mark.parametrize("own", ["ink"], indirect=True, scope="module")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_draws_the_same_picture_within_a_grey_level(
    draw: Any, sources: Mapping[str, Path], drawn: Any, pairs: Factors, tmp_path: Path, algorithm: str
) -> None:
    write, names = ALGORITHMS[algorithm]
    tensors = {
        f"{kohya_stem(name)}.{leaf}": tensor.contiguous()
        for name, factors in pairs.items()
        for leaf, tensor in write(*factors).items()
    }
    path = tmp_path / "same.safetensors"
    save_file(tensors, path)
    found = draw(sources["picture"], STAGE | {"adapters": [str(path)]})
    (told,) = found.report.adapters
    assert (set(told["algorithms"]), told["modules"]) == (names, len(pairs))
    assert told["keys"] == {"total": len(tensors), "used": len(tensors), "ignored": [], "refused": []}
    assert found.apart(drawn).max() <= 1
