"""Converting: names change and bits stay; there and back is the same file; diffusers and PEFT read what is written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.unit.adapter_files import SHAPES, changes, lora, read, relative, saved, stem
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, FileProblem, OutputError, UnreadableFile
from sakuga.lora.targets import names_of
from sakuga.lora.tools.convert import convert
from sakuga.lora.tools.difference import difference
from sakuga.lora.tools.output import Place
from sakuga.lora.tools.source import opened
from sakuga.models.library import STARTER
from sakuga.tensors.file import TensorFile

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "I64": torch.int64}
STEMS = {  # of SD 1.5 and of SDXL as kohya's trainers write it, with the shapes of their weights
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q": (1280, 1280),
    "lora_unet_down_blocks_0_resnets_0_conv1": (320, 320, 3, 3),
    "lora_te_text_model_encoder_layers_0_mlp_fc1": (3072, 768),
}
SGM = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k": (640, 2048),
    "lora_unet_output_blocks_2_2_conv": (1280, 1280, 3, 3),
    "lora_te1_text_model_encoder_layers_0_mlp_fc1": (3072, 768),
    "lora_te2_text_model_encoder_layers_9_self_attn_q_proj": (1280, 1280),
}


def _bits(path: Path) -> tuple[dict[str, tuple[Any, ...]], Mapping[str, str]]:
    tensors = {
        key: (tensor.dtype, tuple(tensor.shape), tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        for key, tensor in load_file(path).items()
    }
    return tensors, TensorFile.open(path).metadata


@st.composite
def _files(draw: st.DrawFn) -> dict[str, Tensor]:
    """A kohya file of either naming, every module with its own rank, formats and alpha, or without one."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    tensors: dict[str, Tensor] = {}
    shapes = draw(st.sampled_from((STEMS, SGM)))
    for name in draw(st.lists(st.sampled_from(sorted(shapes)), min_size=1, unique=True)):
        shape, rank = shapes[name], draw(st.integers(1, 3))
        factors = DTYPES[draw(st.sampled_from(("F16", "BF16", "F32")))]
        kernel = [1] * (len(shape) - 2)
        tensors[f"{name}.lora_up.weight"] = torch.randn(shape[0], rank, *kernel).to(factors)
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, *shape[1:]).to(factors)
        if draw(st.booleans()):
            alpha = torch.tensor(draw(st.sampled_from((rank, 1, -2, 0.75, 1e-3, 300))))
            alpha = alpha.to(DTYPES[draw(st.sampled_from(sorted(DTYPES)))])
            if alpha:  # one of 0 means no effect, and such a module may be all there is
                tensors[f"{name}.alpha"] = alpha.reshape(draw(st.sampled_from(((), (1,)))))
    if draw(st.booleans()):
        tensors["bundle_emb.ink.emb_params"] = torch.randn(2, 768)
    return tensors


@settings(max_examples=60, deadline=None)
@given(
    tensors=_files(),
    metadata=st.dictionaries(st.sampled_from(("ss_tag", "sshs_model_hash", "modelspec.title")), st.text(max_size=5)),
)
def test_there_and_back_is_the_same_file(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = saved(Path(folder) / "first.safetensors", tensors, metadata)
        there, back = Path(folder) / "there.safetensors", Path(folder) / "back.safetensors"
        convert(opened([("first", first)])[0], Place(path=there, layout="diffusers"))
        keys = set(load_file(there))
        assert not any("lora_unet" in key or "alpha" in key for key in keys)
        convert(opened([("there", there)])[0], Place(path=back))
        assert _bits(back) == _bits(first)
        compared = difference(*opened([("first", first), ("there", there)]))
        assert "to the bit" in compared.verdict


def test_dora_goes_there_and_back(tmp_path: Path) -> None:
    tensors = lora(1)
    for place, shape in SHAPES.items():
        tensors[f"{stem(place)}.dora_scale"] = torch.rand(shape[0], *[1] * (len(shape) - 1)) + 0.5
    first = saved(tmp_path / "first.safetensors", tensors)
    convert(read(first)[0], Place(path=tmp_path / "there.safetensors", layout="diffusers"))
    written = load_file(tmp_path / "there.safetensors")
    assert written["unet.to_q.lora_magnitude_vector"].shape == (24,)
    assert written["unet.conv.lora_magnitude_vector"].shape == (1, 12, 1, 1)
    convert(read(tmp_path / "there.safetensors")[0], Place(path=tmp_path / "back.safetensors"))
    assert _bits(tmp_path / "back.safetensors") == _bits(first)


def test_alphas_that_are_the_ranks_need_no_config(tmp_path: Path) -> None:
    path = saved(tmp_path / "one.safetensors", lora(1, rank=2, alpha=2.0))
    convert(read(path)[0], Place(path=tmp_path / "plain.safetensors", layout="diffusers"))
    assert "lora_adapter_metadata" not in TensorFile.open(tmp_path / "plain.safetensors").metadata
    path = saved(tmp_path / "two.safetensors", lora(1, rank=2, alpha=1.0))
    convert(read(path)[0], Place(path=tmp_path / "scaled.safetensors", layout="diffusers"))
    config = json.loads(TensorFile.open(tmp_path / "scaled.safetensors").metadata["lora_adapter_metadata"])
    assert config["unet.lora_alpha"] == config["text_encoder.lora_alpha"] == 1.0


def test_diffusers_reads_it_with_every_alpha(tmp_path: Path) -> None:
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    layers = {name: layer for name, layer in unet.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    tensors: dict[str, Tensor] = {}
    for number, (name, layer) in enumerate(layers.items()):
        shape, rank, key = layer.weight.shape, 1 + number % 3, "lora_unet_" + name.replace(".", "_")
        tensors[f"{key}.lora_up.weight"] = torch.randn(shape[0], rank, *[1] * (len(shape) - 2))
        tensors[f"{key}.lora_down.weight"] = torch.randn(rank, *shape[1:])
        tensors[f"{key}.alpha"] = torch.tensor(0.5 + number % 4)
    first, out = saved(tmp_path / "first.safetensors", tensors), tmp_path / "out.safetensors"
    convert(read(first, known=names_of({"unet": unet}))[0], Place(path=out, layout="diffusers"))
    config = json.loads(TensorFile.open(out).metadata["lora_adapter_metadata"])
    unet.load_lora_adapter(load_file(out), metadata=config, prefix="unet", adapter_name="it")
    expected = changes(first)
    for name in layers:
        theirs = unet.get_submodule(name).get_delta_weight("it").detach()
        assert relative(theirs.flatten(1), expected["lora_unet_" + name.replace(".", "_")]) < 1e-6


def test_peft_reads_the_folder(tmp_path: Path) -> None:
    places = [place for place in SHAPES if place.startswith("unet.")]
    tensors = {**lora(1, places=places[:2], rank=2, alpha=3.0), **lora(2, places=places[2:], rank=4, alpha=0.5)}
    first = saved(tmp_path / "first.safetensors", tensors)
    convert(read(first)[0], Place(path=tmp_path / "out", layout="peft"))

    class Unet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.to_q, self.to_out = nn.Linear(16, 24), nn.Sequential(nn.Linear(24, 16))
            self.conv, self.proj_in = nn.Conv2d(8, 12, 3), nn.Conv2d(8, 16, 1)

    wrapped = peft.PeftModel.from_pretrained(Unet(), str(tmp_path / "out"))
    for place in places:
        layer = wrapped.base_model.model.get_submodule(place.removeprefix("unet."))
        assert relative(layer.get_delta_weight("default").detach().flatten(1), changes(first)[stem(place)]) < 1e-6
    convert(read(tmp_path / "out" / "adapter_model.safetensors")[0], Place(path=tmp_path / "back.safetensors"))
    assert _bits(tmp_path / "back.safetensors") == _bits(first)


def test_pefts_layout_has_a_folder_for_each_part(tmp_path: Path) -> None:
    first = saved(tmp_path / "first.safetensors", lora(1) | {"bundle_emb.ink.emb_params": torch.randn(2, 768)})
    made = convert(read(first)[0], Place(path=tmp_path / "out", layout="peft"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["text_encoder", "unet"]
    assert made.notes == ("left out, because PEFT's layout has no place for it: bundle_emb.ink.emb_params",)
    made = convert(read(first)[0], Place(path=tmp_path / "out", layout="peft", overwrite=True))
    with pytest.raises(OutputError, match="not ours to replace"):
        (tmp_path / "out" / "mine.txt").write_text("mine")
        convert(read(first)[0], Place(path=tmp_path / "out", layout="peft", overwrite=True))


def test_what_a_layout_cannot_hold_is_refused(tmp_path: Path) -> None:
    key = stem("unet.to_q")
    loha = {f"{key}.hada_w{n}_a": torch.randn(24, 2) for n in (1, 2)}
    loha |= {f"{key}.hada_w{n}_b": torch.randn(2, 16) for n in (1, 2)}
    columns = lora(1, places=("unet.to_q",)) | {f"{key}.dora_scale": torch.rand(1, 16) + 0.5}
    mixed = lora(1) | {f"{key}.dora_scale": torch.rand(24, 1) + 0.5}
    for name, tensors, words in (
        ("loha", loha, "has no place for all of this adapter"),
        ("columns", columns, "magnitude for each row"),
        ("mixed", mixed, "DoRA for all modules of a part or for none"),
    ):
        path = saved(tmp_path / f"{name}.safetensors", tensors)
        with pytest.raises(AdapterDoesNotFit, match=words):
            convert(read(path)[0], Place(path=tmp_path / "out.safetensors", layout="diffusers"))
    assert not (tmp_path / "out.safetensors").exists()


def test_what_only_pefts_config_explains_does_not_get_lost(tmp_path: Path) -> None:
    base = nn.ModuleDict({"to_q": nn.Linear(16, 24)})
    wrapped = peft.get_peft_model(base, peft.LoKrConfig(r=2, alpha=8, target_modules=["to_q"], init_weights=False))
    wrapped.save_pretrained(str(tmp_path / "lokr"))
    (source,) = read(tmp_path / "lokr" / "adapter_model.safetensors")
    with pytest.raises(AdapterDoesNotFit, match="only PEFT reads so"):
        convert(source, Place(path=tmp_path / "out.safetensors"))


def test_a_broken_record_of_names_is_told(tmp_path: Path) -> None:
    for text in ("{", '{"alpha": 3}', '{"stems": {"unet.to_q": 1}}', '["alpha"]', '{"else": "x"}'):
        tensors = {"unet.to_q.lora_A.weight": torch.randn(2, 16), "unet.to_q.lora_B.weight": torch.randn(24, 2)}
        path = saved(tmp_path / "one.safetensors", tensors, {"sakuga_names": text})
        with pytest.raises(UnreadableFile, match="record of names"):
            convert(read(path)[0], Place(path=tmp_path / "out.safetensors"))


def test_names_that_nobody_knows_are_asked_for(tmp_path: Path) -> None:
    tensors = {
        "lora_unet_nowhere.lora_up.weight": torch.randn(4, 2),
        "lora_unet_nowhere.lora_down.weight": torch.randn(2, 4),
    }
    path = saved(tmp_path / "odd.safetensors", tensors)
    with pytest.raises(AdapterDoesNotFit, match="nothing tells which modules") as caught:
        convert(opened([("odd", path)])[0], Place(path=tmp_path / "out.safetensors", layout="diffusers"))
    assert "--base" in str(caught.value)


def test_nan_is_not_copied_without_a_word(tmp_path: Path) -> None:
    tensors = lora(1)
    next(iter(tensors.values()))[0, 0] = float("nan")
    (source,) = read(saved(tmp_path / "one.safetensors", tensors))
    made = convert(source, Place(path=tmp_path / "out.safetensors"))
    assert any(note.startswith("NaN or infinity is copied as it is: ") for note in made.notes)


def test_the_parts_of_a_folder_are_named_to_choose_from(tmp_path: Path) -> None:
    convert(*opened([("ink", STARTER / "loras" / "ink.safetensors")]), Place(path=tmp_path / "out", layout="peft"))
    with pytest.raises(FileProblem) as told:
        opened([("out", tmp_path / "out")])
    assert "text_encoder/adapter_model.safetensors, unet/adapter_model.safetensors" in str(told.value.nearest)
