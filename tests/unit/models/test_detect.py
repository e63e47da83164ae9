"""What a file is, from names and shapes alone, at the real models' sizes (shapes only, nothing is in memory)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, MotionAdapter, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from sakuga.errors import FileProblem, UnknownFile
from sakuga.models.detect import Recognised, recognise, recognise_keys
from sakuga.models.keys import Keys
from sakuga.models.text_config import text_config
from sakuga.models.unet_config import control_config, unet_config, unet_look
from sakuga.models.vae_config import vae_config
from sakuga.tensors.tables.ldm_control import ldm_control_names
from sakuga.tensors.tables.ldm_unet import ldm_unet_names
from sakuga.tensors.tables.ldm_vae import ldm_vae_names
from sakuga.tensors.tables.parameters import ModuleNames, parameter_names

Shapes = dict[str, tuple[int, ...]]
Save = Callable[[str, Mapping[str, Any]], Path]
SD15_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


def shapes(make: Callable[[], Any], table: ModuleNames | None = None, prefix: str = "") -> Shapes:
    with torch.device("meta"):
        state = make().state_dict()
    names = parameter_names(state, table) if table else {key: key for key in state}
    return {prefix + names[key]: tuple(value.shape) for key, value in state.items()}


def unet15() -> Any:
    return UNet2DConditionModel(cross_attention_dim=768)


@pytest.fixture(scope="module")
def parts() -> dict[str, Shapes]:
    """Headers of the real SD 1.5 parts, by layout."""
    text = shapes(lambda: CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, vocab_size=49408)))
    return {
        "unet": shapes(unet15),
        "unet ldm": shapes(unet15, ldm_unet_names),
        "vae": shapes(lambda: AutoencoderKL(**SD15_VAE)),
        "vae ldm": shapes(lambda: AutoencoderKL(**SD15_VAE), ldm_vae_names),
        "control": shapes(lambda: ControlNetModel(cross_attention_dim=768)),
        "control ldm": shapes(lambda: ControlNetModel(cross_attention_dim=768), ldm_control_names),
        "text": {f"text_model.{key.removeprefix('text_model.')}": shape for key, shape in text.items()},
    }


def under(prefix: str, part: Shapes) -> Shapes:
    return {prefix + key: shape for key, shape in part.items()}


def checkpoint(parts: dict[str, Shapes]) -> Shapes:
    return {
        **under("model.diffusion_model.", parts["unet ldm"]),
        **under("first_stage_model.", parts["vae ldm"]),
        **under("cond_stage_model.transformer.", parts["text"]),
    }


def known(part: Shapes) -> Recognised:
    return recognise_keys(Keys(part), name="x")


def test_parts_of_sd15(parts: dict[str, Shapes]) -> None:
    whole = checkpoint(parts)
    ballast = {"model_ema.decay": (), "cond_stage_model.transformer.text_model.embeddings.position_ids": (1, 77)}
    expected: list[tuple[Shapes, str, str | None, str, str]] = [
        (whole, "checkpoint", "sd15", "ldm", ""),
        ({**whole, **ballast}, "checkpoint", "sd15", "ldm", ""),
        (under("state_dict.", whole), "checkpoint", "sd15", "ldm", "state_dict."),
        (under("model.diffusion_model.", parts["unet ldm"]), "unet", "sd15", "ldm", "model.diffusion_model."),
        (parts["unet ldm"], "unet", "sd15", "ldm", ""),
        (parts["unet"], "unet", "sd15", "diffusers", ""),
        (parts["vae"], "vae", None, "diffusers", ""),
        (parts["vae ldm"], "vae", None, "ldm", ""),
        (under("first_stage_model.", parts["vae ldm"]), "vae", None, "ldm", "first_stage_model."),
        (under("state_dict.", parts["vae ldm"]), "vae", None, "ldm", "state_dict."),
        (parts["text"], "text_encoder", "sd15", "transformers", "text_model."),
        (parts["control"], "control", "sd15", "diffusers", ""),
        (parts["control ldm"], "control", "sd15", "ldm", ""),
        (under("control_model.", parts["control ldm"]), "control", "sd15", "ldm", "control_model."),
        (
            {**under("control_model.", parts["control ldm"]), **whole},
            "control",
            "sd15",
            "ldm",
            "control_model.",
        ),
    ]
    for part, role, family, layout, prefix in expected:
        found = known(part)
        assert (found.role, found.family, found.layout, found.prefix) == (role, family, layout, prefix)
        assert found.reason.startswith("has ")


def motion(mid: bool, positions: int, levels: int = 4) -> Shapes:
    one = {
        "temporal_transformer.norm.weight": (320,),
        "temporal_transformer.proj_in.weight": (320, 320),
        "temporal_transformer.transformer_blocks.0.attention_blocks.0.to_q.weight": (320, 320),
        "temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe": (1, positions, 320),
    }
    places = [f"{side}.{level}.motion_modules.0." for side in ("down_blocks", "up_blocks") for level in range(levels)]
    return {
        place + key: shape
        for place in [*places, *(["mid_block.motion_modules.0."] if mid else [])]
        for key, shape in one.items()
    }


def test_motion_modules() -> None:
    for mid, positions in ((False, 24), (True, 32), (False, 32)):  # v1, v2, v3
        assert known(motion(mid, positions)) == known(motion(mid, positions))
        assert (known(motion(mid, positions)).role, known(motion(mid, positions)).family) == ("motion", "sd15")
    assert known(under("module.", motion(True, 32))).prefix == "module."
    assert known(motion(False, 32, levels=3)).family == "sdxl"
    adapter = known(shapes(lambda: MotionAdapter()))
    assert (adapter.role, adapter.layout) == ("motion", "diffusers")


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
        "unet.mid_block.attentions.0.proj_in.lora_A.weight",
        "unet.mid_block.attentions.0.proj_in.lora_A.default.weight",
        "transformer.x.lora.down.weight",
        "unet.a.processor.to_q_lora.up.weight",
        "lora_unet_a.hada_w1_a",
        "lora_unet_a.lokr_w1",
        "lora_unet_a.oft_blocks",
        "lora_unet_a.diff",
        "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_q_lora.down.weight",
    ],
)
def test_adapters(key: str) -> None:
    assert known({key: (4, 8), "other.alpha": ()}).role == "adapter"


@pytest.mark.parametrize(
    ("part", "layout", "family"),
    [
        ({"string_to_param.*": (2, 768)}, "a1111 pt", None),
        ({"emb_params": (2, 768)}, "a1111 safetensors", None),
        ({"<cat-toy>": (768,)}, "diffusers", "sd15"),
        ({"<style>": (3, 1024)}, "diffusers", "sd2"),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "sdxl", "sdxl"),
    ],
)
def test_embeddings(part: Shapes, layout: str, family: str | None) -> None:
    found = known(part)
    assert (found.role, found.layout, found.family) == ("embedding", layout, family)


def test_families_that_cannot_be_rendered(parts: dict[str, Shapes]) -> None:
    sdxl = under("model.diffusion_model.", {**parts["unet ldm"], "label_emb.0.0.weight": (1280, 2816)})
    assert known({**sdxl, "conditioner.embedders.0.x": (1,)}).family == "sdxl"
    wide = {key: (shape[0], 1024) if "attn2.to_k" in key else shape for key, shape in checkpoint(parts).items()}
    assert (known(wide).role, known(wide).family) == ("checkpoint", "sd2")
    assert (
        known(
            {
                "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": (1,),
                "model.diffusion_model.x_embedder.proj.weight": (1,),
            }
        ).family
        == "sd3"
    )
    for prefix in ("", "model.diffusion_model."):
        flux = {"double_blocks.0.img_attn.qkv.weight": (1,), "single_blocks.0.linear1.weight": (1,)}
        assert known(under(prefix, flux)).family == "flux"
    diffusers = {
        "transformer_blocks.0.attn.add_q_proj.weight": (1,),
        "single_transformer_blocks.0.attn.to_q.weight": (1,),
    }
    assert known(diffusers).family == "flux"


def test_the_nearest_kind_and_what_it_lacks(parts: dict[str, Shapes]) -> None:
    part = dict(parts["control ldm"])
    del part["middle_block_out.0.weight"]
    for key in list(part):
        if key.startswith("out."):
            del part[key]
    with pytest.raises(UnknownFile) as caught:
        known(part)
    assert caught.value.nearest is not None and "control" in caught.value.nearest
    assert "lacks middle_block_out.0.weight" in caught.value.nearest
    with pytest.raises(UnknownFile) as caught:
        known({"model.weight": (3, 3), "model.bias": (3,)})
    assert caught.value.nearest is None and "2 tensors: model.weight" in str(caught.value.given)
    with pytest.raises(UnknownFile, match="no kind that is known") as caught:
        known({})
    assert caught.value.given == "no tensors"


def test_a_control_of_differences_is_not_taken_for_a_whole_one(parts: dict[str, Shapes]) -> None:
    with pytest.raises(UnknownFile) as caught:
        known({**parts["control ldm"], "difference": ()})
    assert "difference" in str(caught.value.nearest)


def test_configs_from_shapes_are_those_of_sd15(parts: dict[str, Shapes]) -> None:
    for layout, name in (("ldm", "unet ldm"), ("diffusers", "unet")):
        config = unet_config(unet_look(Keys(parts[name]), layout), heads=8)
        with torch.device("meta"):
            made = UNet2DConditionModel.from_config(config)
        assert {key: tuple(value.shape) for key, value in made.state_dict().items()} == parts["unet"]
        assert config["down_block_types"] == ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
        assert (config["layers_per_block"], config["cross_attention_dim"], config["out_channels"]) == (2, 768, 4)
    for layout, name in (("ldm", "control ldm"), ("diffusers", "control")):
        config = control_config(unet_look(Keys(parts[name]), layout), heads=8)
        assert config["conditioning_embedding_out_channels"] == (16, 32, 96, 256)
        with torch.device("meta"):
            made = ControlNetModel.from_config(config)
        assert {key: tuple(value.shape) for key, value in made.state_dict().items()} == parts["control"]
    for layout, name in (("ldm", "vae ldm"), ("diffusers", "vae")):
        config = vae_config(Keys(parts[name]), layout, scaling_factor=0.18215)
        with torch.device("meta"):
            made = AutoencoderKL.from_config(config)
        assert {key: tuple(value.shape) for key, value in made.state_dict().items()} == parts["vae"]
    config = text_config(Keys(parts["text"]).under("text_model."))
    assert (config["num_attention_heads"], config["num_hidden_layers"], config["hidden_act"]) == (12, 12, "quick_gelu")


def test_widths_that_the_build_forbids(parts: dict[str, Shapes]) -> None:
    odd = {key: tuple(300 if size == 320 else size for size in shape) for key, shape in parts["unet"].items()}
    with pytest.raises(UnknownFile, match="no UNet") as caught:
        unet_config(unet_look(Keys(odd), "diffusers"), heads=8)
    assert "300" in str(caught.value.given)


def test_folders(bundle_folder: Path, tmp_path: Path) -> None:
    for name, role in (
        ("", "bundle"),
        ("unet", "unet"),
        ("vae", "vae"),
        ("text_encoder", "text_encoder"),
        ("controls/tile", "control"),
    ):
        assert recognise(bundle_folder / name).role == role
    assert recognise(bundle_folder).family == recognise(bundle_folder / "controls/tile").family == "sd15"
    with pytest.raises(FileProblem, match="holds no model"):
        recognise(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    assert recognise(tmp_path).family == "sdxl"
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "config.json").write_text('{"_class_name": "UNet2DConditonModel"}')
    with pytest.raises(UnknownFile) as caught:
        recognise(tmp_path / "part")
    assert caught.value.nearest == "UNet2DConditionModel"
