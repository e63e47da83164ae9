"""Baking: the bits that a render would use, all else byte for byte, whole or not at all; and extracting it again."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import IO

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit.adapter_files import changes, lora, relative, saved
from torch import Tensor, nn

from sakuga.cli.lora_given import checkpoint
from sakuga.errors import AdapterDoesNotFit, FileProblem, OutputError, OutputExists
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack
from sakuga.lora.targets import names_of
from sakuga.lora.tools.bake import bake
from sakuga.lora.tools.checkpoint import Checkpoint, weight_files
from sakuga.lora.tools.extract import extract
from sakuga.lora.tools.lowrank import Keep
from sakuga.lora.tools.output import Place
from sakuga.lora.tools.source import Source, opened
from sakuga.lora.weight import StackWeight
from sakuga.models.library import STARTER, Library
from sakuga.models.outline import outline
from sakuga.tensors import write
from sakuga.tensors.file import TensorFile
from sakuga.tensors.tables.ldm_unet import ldm_unet_names
from sakuga.tensors.tables.parameters import parameter_names

LORAS = STARTER / "loras"
STRENGTHS = (StackWeight(unet=0.8, text_encoder=0.5), StackWeight(unet=-0.3, text_encoder=0.2))


@pytest.fixture(scope="module")
def ldm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter as one file, as Stable Diffusion's first programs named it, in half precision."""
    drawn = outline(STARTER, Library.usual())
    tensors: dict[str, Tensor] = {}
    unet = load_file(STARTER / "unet" / "diffusion_pytorch_model.safetensors")
    other = parameter_names(unet, ldm_unet_names)
    for name in reversed(unet):  # an order of its own, which has to stay
        tensors["model.diffusion_model." + other[name]] = unet[name].half()
    for name, tensor in load_file(STARTER / "text_encoder" / "model.safetensors").items():
        tensors["cond_stage_model.transformer." + ("" if name.startswith("text_model.") else "text_model.") + name] = (
            tensor.half() if tensor.is_floating_point() else tensor
        )
    for name, tensor in load_file(STARTER / "vae" / "diffusion_pytorch_model.safetensors").items():
        tensors["first_stage_model." + name] = tensor
    tensors["model_ema.decay"] = torch.tensor([3, 4])
    assert drawn.unet
    slots = [
        write.Slot(name=name, dtype=write.dtype_name(tensor.dtype), shape=tuple(tensor.shape))
        for name, tensor in tensors.items()
    ]
    path = tmp_path_factory.mktemp("ldm") / "starter.safetensors"
    write.write_tensors(path, slots, {"who": "me", "modelspec.hash_sha256": "0"}, tensors.values())
    return path


def _named(path: Path) -> Checkpoint:
    if path.is_dir():
        return checkpoint(str(path), Library.usual())
    return Checkpoint.open(path, names_of(outline(STARTER, Library.usual()).parts))


def _sources(base: Checkpoint, strengths: tuple[StackWeight, StackWeight] = STRENGTHS) -> tuple[Source, ...]:
    paths = [(name, LORAS / f"{name}.safetensors") for name in ("celcomic", "ink")]
    return opened(paths, base.names, strengths=strengths)


def _stacked(base: Checkpoint) -> dict[tuple[str, str, str], Tensor]:
    """(component, module, parameter) → the weight that a Stack makes of the whole model at once."""
    parts: dict[str, nn.Module] = {}
    for (component, module, parameter), _ in base.weights.items():
        layer = parts.setdefault(component, nn.Module())
        for name in module.split("."):
            if name not in layer._modules:
                layer.add_module(name, nn.Module())
            layer = layer.get_submodule(name)
        weight = base.weight(component, module, parameter)
        assert weight is not None
        layer.register_parameter(parameter, nn.Parameter(weight, requires_grad=False))
    adapters = []
    for name in ("ink", "celcomic"):  # the order plays no part
        with TensorFile.open(LORAS / f"{name}.safetensors") as file:
            adapters.append(read_adapter(file, base.names, name))
    with Stack(list(zip(adapters, STRENGTHS[::-1], strict=True))).applied(parts):
        return {
            place: parts[place[0]].get_submodule(place[1]).get_parameter(place[2]).detach().clone()
            for place in base.weights
        }


def test_a_file_gets_the_bits_of_the_stack_and_keeps_all_else(ldm: Path, tmp_path: Path) -> None:
    base, out = _named(ldm), tmp_path / "out.safetensors"
    made = bake(base, _sources(base), out)
    wanted, baked = _stacked(base), Checkpoint.open(out, base.names)
    for place, weight in wanted.items():
        found = baked.weight(*place)
        assert found is not None and torch.equal(found, weight), place
    before, after = TensorFile.open(ldm), TensorFile.open(out)
    assert before.names == after.names  # and their order
    assert [before.dtype(name) for name in before.names] == [after.dtype(name) for name in after.names]
    changed = {name for name in before.names if not torch.equal(before.tensor(name), after.tensor(name))}
    assert 140 < len(changed) <= made.modules == 156
    assert not any(name.startswith(("first_stage_model.", "model_ema.")) for name in changed)
    assert made.notes == ("its averaged weights (model_ema) are left as they are",)
    told = json.loads(after.metadata["sakuga_bake"])
    assert [(one["name"], one["weight"]) for one in told] == [("celcomic", 0.8), ("ink", -0.3)]
    assert after.metadata.keys() == {"who", "sakuga_bake"}  # the hash of the old numbers is gone


def test_a_folder_becomes_a_folder(tmp_path: Path) -> None:
    base, out = _named(STARTER), tmp_path / "out"
    bake(base, _sources(base), out)
    wanted, baked = _stacked(base), _named(out)
    for place, weight in wanted.items():
        found = baked.weight(*place)
        assert found is not None and torch.equal(found, weight), place
    for path in STARTER.rglob("*"):
        same = out / path.relative_to(STARTER)
        if path.is_file() and path.parent.name not in ("unet", "text_encoder"):
            assert same.read_bytes() == path.read_bytes()
    with pytest.raises(OutputError, match="inside of the base"):
        bake(_named(out), _sources(base), out / "inner")


def test_what_was_baked_before_stays_told(ldm: Path, tmp_path: Path) -> None:
    base = _named(ldm)
    bake(base, _sources(base)[:1], tmp_path / "one.safetensors")
    again = _named(tmp_path / "one.safetensors")
    bake(again, _sources(again)[1:], tmp_path / "two.safetensors")
    told = json.loads(TensorFile.open(tmp_path / "two.safetensors").metadata["sakuga_bake"])
    assert [one["name"] for one in told] == ["celcomic", "ink"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_leaves_nothing(ldm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    base, calls = _named(ldm), 0
    real = write._write

    def fails(stream: IO[bytes], slot: write.Slot, tensor: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise OSError(number, "it cannot")
        real(stream, slot, tensor)

    monkeypatch.setattr(write, "_write", fails)
    title = "no room" if number == errno.ENOSPC else "no right"
    with pytest.raises(OutputError, match=f"^out.safetensors: there is {title}") as caught:
        bake(base, _sources(base), tmp_path / "out.safetensors")
    assert ("MB of room" in caught.value.told()) == (number == errno.ENOSPC)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_while_a_folder_is_copied_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(old: str, new: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", old, None, new)

    base = _named(STARTER)
    monkeypatch.setattr(shutil, "copy2", fails)
    with pytest.raises(OutputError, match="there is no room") as caught:
        bake(base, _sources(base), tmp_path / "model")
    assert caught.value.title.startswith("model: ") and "MB are free now" in str(caught.value.expected)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_replaced_unasked(ldm: Path, tmp_path: Path) -> None:
    (tmp_path / "out.safetensors").write_text("mine")
    base = _named(ldm)
    with pytest.raises(OutputExists):
        bake(base, _sources(base), tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_text() == "mine"


def test_a_change_that_the_file_has_no_tensor_for_is_refused(ldm: Path, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in load_file(ldm).items() if not name.startswith("cond_stage_model.")}
    save_file(tensors, tmp_path / "unet.safetensors")
    base = _named(tmp_path / "unet.safetensors")
    with pytest.raises(AdapterDoesNotFit, match="has no tensor for all"):
        bake(base, _sources(base), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_shards_and_variants_are_found(tmp_path: Path) -> None:
    assert weight_files(tmp_path) == ()
    (tmp_path / "model.fp16.safetensors").touch()
    assert [path.name for path in weight_files(tmp_path)] == ["model.fp16.safetensors"]
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).touch()
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "a.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert [path.name for path in weight_files(tmp_path)] == ["a.safetensors", "b.safetensors"]
    (tmp_path / "model.safetensors").touch()
    assert [path.name for path in weight_files(tmp_path)] == ["model.safetensors"]


def test_what_was_baked_in_is_extracted_again(ldm: Path, tmp_path: Path) -> None:
    wide = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(ldm).items()}
    save_file(wide, tmp_path / "wide.safetensors")
    base = _named(tmp_path / "wide.safetensors")
    bake(base, opened([("ink", LORAS / "ink.safetensors")], base.names), tmp_path / "tuned.safetensors")
    tuned = Checkpoint.open(tmp_path / "tuned.safetensors", base.names)
    made = extract(base, tuned, Place(path=tmp_path / "out.safetensors"), Keep(rank=8), numbers="fp32")
    found, exact = changes(tmp_path / "out.safetensors"), changes(LORAS / "ink.safetensors")
    assert found.keys() == exact.keys()
    assert made.errors is not None
    for name, change in exact.items():
        assert relative(found[name], change) < 2e-3  # the tuned weights were rounded to fp32
    assert made.errors.overall < 2e-3
    assert made.modules == 156 and "are alike in both" in made.notes[0]


def test_biases_and_norms_are_extracted_when_asked_for(ldm: Path, tmp_path: Path) -> None:
    tensors = load_file(ldm)
    norm, vae = "model.diffusion_model.out.0.weight", next(key for key in tensors if key.startswith("first_stage"))
    conv = "model.diffusion_model.out.2.weight"
    tensors |= {key: tensors[key] + 0.25 for key in (norm, vae, conv)}
    save_file(tensors, tmp_path / "tuned.safetensors")
    base, tuned = _named(ldm), _named(tmp_path / "tuned.safetensors")
    made = extract(base, tuned, Place(path=tmp_path / "less.safetensors"), Keep(rank=2))
    assert set(changes(tmp_path / "less.safetensors")) == {"lora_unet_conv_out"}
    assert any("1 biases and norms differ" in note for note in made.notes)
    assert any(note.startswith("1 other tensors differ") and vae in note for note in made.notes)
    extract(base, tuned, Place(path=tmp_path / "more.safetensors"), Keep(rank=2), full=True, numbers="fp32")
    found = load_file(tmp_path / "more.safetensors")["lora_unet_conv_norm_out.diff"]
    assert torch.equal(found, tensors[norm].float() - load_file(ldm)[norm].float())
    (source,) = opened([("more", tmp_path / "more.safetensors")], base.names)
    assert len(source.modules) == 2


def test_two_models_that_are_alike_give_no_adapter(ldm: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterDoesNotFit, match="nothing is left to write"):
        extract(_named(ldm), _named(ldm), Place(path=tmp_path / "out.safetensors"), Keep(rank=2))
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_no_known_family_is_no_base(tmp_path: Path) -> None:
    path = saved(tmp_path / "one.safetensors", lora(1))
    with pytest.raises(FileProblem, match="no model of a family"):
        Checkpoint.open(path)


def test_a_folder_that_was_baked_gives_way_to_another_and_no_other_folder_does(tmp_path: Path) -> None:
    base, out = _named(STARTER), tmp_path / "model"
    bake(base, _sources(base, (StackWeight(unet=0, text_encoder=0),) * 2), out)
    with pytest.raises(OutputExists):
        bake(base, _sources(base), out)
    bake(base, _sources(base), out, overwrite=True)
    (out / "unet" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not ours"):
        bake(base, _sources(base), out, overwrite=True)
    assert (out / "unet" / "mine.txt").read_text() == "mine"
    copied = tmp_path / "theirs"
    shutil.copytree(STARTER, copied)
    with pytest.raises(OutputError, match="not ours"):
        bake(base, _sources(base), copied, overwrite=True)


def test_a_weight_of_0_bakes_nothing_and_says_so(ldm: Path, tmp_path: Path) -> None:
    base = _named(ldm)
    made = bake(base, _sources(base, (StackWeight(unet=0, text_encoder=0),) * 2), tmp_path / "same.safetensors")
    assert made.modules == 0
    assert made.notes[-2:] == tuple(f"{name} changes nothing: its weights are 0" for name in ("celcomic", "ink"))
    before, after = load_file(ldm), load_file(tmp_path / "same.safetensors")
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
