"""Whatever the layout of the files, the same weights arrive, bit by bit, and every tensor is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from sakuga.errors import FileProblem, UnknownFile
from sakuga.models.bundle import Bundle
from sakuga.models.device import Placement, resolve
from sakuga.models.library import Library
from sakuga.models.load import load_base, load_codec, load_control, load_motion
from sakuga.models.motion import MotionModules
from sakuga.models.schedule import Schedule

Save = Callable[[str, Mapping[str, Any]], Path]
Same = Callable[[Any, Any], None]


def assert_is_tiny(base: Bundle, tiny: Any, same: Same) -> None:
    same(base.unet, tiny.unet)
    same(base.codec.vae, tiny.vae)
    same(base.text_encoder, tiny.text)


def left(base: Bundle) -> dict[str, str]:
    return {one.key: one.reason for source in base.sources for one in source.leftovers}


def test_folder_and_single_file_give_the_same_model(
    tiny: Any, assert_same: Same, library: Library, bundle_folder: Path, checkpoint_file: Path, cpu: Placement
) -> None:
    folder, single = load_base("tiny", library, cpu), load_base(checkpoint_file, library, cpu)
    for base in (folder, single):
        assert_is_tiny(base, tiny, assert_same)
        assert left(base) == {}
        assert base.family.name == "sd15" and base.multiple == 4 and base.schedule == Schedule.scaled_linear()
    assert folder.folder == bundle_folder and single.name == "tiny"
    assert [source.role for source in folder.sources] == ["unet", "text_encoder", "vae", "scheduler"]
    assert single.unet.config["attention_head_dim"] == 8
    assert dict(single.unet.config)["block_out_channels"] == (32, 64)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_every_weight_of_a_base_can_be_read_again(
    checkpoint_file: Path, bundle_folder: Path, library: Library, dtype: str
) -> None:
    for ref in (checkpoint_file, bundle_folder):
        base = load_base(ref, library, resolve("cpu", dtype))
        for component, part in base.parts.items():
            for name, own in part.named_parameters():
                module, _, parameter = name.rpartition(".")
                again = base.origin(component, module, parameter)
                assert again is not None and torch.equal(again.to(own.dtype), own), f"{component}.{name}"
        assert base.origin("unet", "conv_in", "nothing") is None


def test_what_a_single_file_derives_computes_what_the_config_says(
    tiny: Any, checkpoint_file: Path, library: Library, cpu: Placement
) -> None:
    base = load_base(checkpoint_file, library, cpu)
    x, text = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 16)
    with torch.no_grad():
        assert torch.equal(base.unet(x, 7.0, text).sample, tiny.unet(x, 7.0, text).sample)
        tokens = torch.randint(0, 49408, (1, 77))
        assert torch.equal(base.text_encoder(tokens)[0], tiny.text(tokens)[0])
        assert torch.equal(base.codec.vae.decode(x).sample, tiny.vae.decode(x).sample)


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "state_dict"])
def test_pickled_checkpoint_with_ballast(
    wrapped: bool, tiny: Any, assert_same: Same, save: Save, library: Library, cpu: Placement
) -> None:
    ballast = {
        "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(3),
        "model_ema.decay": torch.tensor(0.99),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "alphas_cumprod": torch.zeros(1000),
        "sqrt_one_minus_alphas_cumprod": torch.zeros(1000),
        "something_else": torch.zeros(1),
    }
    state = {**tiny.checkpoint(), **ballast}
    training = {"epoch": 3, "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}]}
    path = save("wrapped.ckpt", {"state_dict": state, **training} if wrapped else state)
    base = load_base(path, library, cpu)
    assert_is_tiny(base, tiny, assert_same)
    prefix = "state_dict." if wrapped else ""
    told = left(base)
    assert set(told) == {prefix + key for key in ballast} | (
        {"optimizer_states.0.state.0.exp_avg"} if wrapped else set()
    )
    assert "EMA" in told[f"{prefix}model_ema.decay"]
    assert "noise schedule" in told[f"{prefix}alphas_cumprod"]
    assert told[f"{prefix}something_else"] == "not a weight of this kind of model"
    assert sum(source.used for source in base.sources) == len(tiny.checkpoint())


def test_half_precision_file_is_computed_in_float32(tiny: Any, save: Save, library: Library, cpu: Placement) -> None:
    half = {key: value.half() for key, value in tiny.checkpoint().items()}
    base = load_base(save("half.safetensors", half), library, cpu)
    weight = base.unet.conv_in.weight
    assert weight.dtype == torch.float32 and torch.equal(weight, tiny.unet.conv_in.weight.half().float())


def test_text_encoder_without_its_level(
    tiny: Any, assert_same: Same, save: Save, library: Library, cpu: Placement
) -> None:
    state = {key.replace("transformer.text_model.", "transformer."): value for key, value in tiny.checkpoint().items()}
    assert_is_tiny(load_base(save("bare.safetensors", state), library, cpu), tiny, assert_same)


def test_missing_weights_are_listed(tiny: Any, save: Save, library: Library, cpu: Placement) -> None:
    state = tiny.checkpoint()
    del state["model.diffusion_model.input_blocks.1.0.in_layers.2.bias"]
    with pytest.raises(FileProblem) as caught:
        load_base(save("short.safetensors", state), library, cpu)
    assert caught.value.expected == "model.diffusion_model.input_blocks.1.0.in_layers.2.bias"


def test_weights_of_another_size_are_refused(tiny: Any, save: Save, library: Library, cpu: Placement) -> None:
    state = tiny.checkpoint()
    state["model.diffusion_model.out.0.weight"] = torch.zeros(33)
    with pytest.raises(FileProblem, match="other sizes") as caught:
        load_base(save("mixed.safetensors", state), library, cpu)
    assert "[33]" in str(caught.value.given) and "[32]" in str(caught.value.expected)


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_checkpoint_without_vae_takes_another(
    prefix: str, tiny: Any, assert_same: Same, save: Save, library: Library, cpu: Placement
) -> None:
    state = {key: value for key, value in tiny.checkpoint().items() if not key.startswith("first_stage_model.")}
    path = save("pruned.safetensors", state)
    with pytest.raises(FileProblem, match="without VAE"):
        load_base(path, library, cpu)
    vae = save("vae.safetensors", {prefix + key: value for key, value in tiny.ldm_vae().items()})
    base = load_base(path, library, cpu, vae=vae)
    assert_is_tiny(base, tiny, assert_same)
    assert {source.path for source in base.sources} == {path, vae}


def test_vae_of_each_layout(tiny: Any, assert_same: Same, save: Save, library: Library, cpu: Placement) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = tiny.vae.state_dict()
    aged = {}
    for key, value in state.items():
        for new, before in old.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        aged[key] = value
    for path in (
        save("a.safetensors", state),
        save("b.pt", tiny.ldm_vae()),
        save("c.safetensors", aged),
        save("d.ckpt", {"state_dict": {**tiny.ldm_vae(), "loss.logvar": torch.zeros(())}}),
    ):
        loaded = load_codec(path, library, cpu)
        assert_same(loaded.part.vae, tiny.vae)
        assert loaded.part.scaling == 0.18215 and loaded.part.factor == 2
    assert loaded.sources[0].leftovers[0].key == "state_dict.loss.logvar"


def test_vae_of_other_channels_is_refused(tiny: Any, save: Save, library: Library, cpu: Placement) -> None:
    state = tiny.ldm_vae()
    state["decoder.conv_in.weight"] = torch.zeros(64, 16, 3, 3)
    state["encoder.conv_out.weight"], state["encoder.conv_out.bias"] = torch.zeros(32, 64, 3, 3), torch.zeros(32)
    state["quant_conv.weight"], state["quant_conv.bias"] = torch.zeros(32, 32, 1, 1), torch.zeros(32)
    state["post_quant_conv.weight"], state["post_quant_conv.bias"] = torch.zeros(16, 16, 1, 1), torch.zeros(16)
    with pytest.raises(FileProblem, match="do not agree") as caught:
        load_base("tiny", library, cpu, vae=save("wide.safetensors", state))
    assert "4 and 16" in str(caught.value.given)


def test_control_of_each_layout(tiny: Any, assert_same: Same, save: Save, library: Library, cpu: Placement) -> None:
    base = load_base("tiny", library, cpu)
    prefixed = {f"control_model.{key}": value for key, value in tiny.ldm_control().items()}
    beside = {f"model.diffusion_model.{key}": value for key, value in tiny.ldm_unet().items()}
    for ref in (
        None,  # the base's own, by its kind
        save("c.pth", prefixed),
        save("d.safetensors", tiny.ldm_control()),
        save("e.safetensors", tiny.control.state_dict()),
        save("f.pth", {**prefixed, **beside}),
    ):
        loaded = load_control(ref, "tile", base, library, cpu)
        assert_same(loaded.part, tiny.control)
        told = {one.reason for one in loaded.sources[0].leftovers}
        assert told == (
            {"a UNet beside the ControlNet; the base's own is used"} if str(ref).endswith("f.pth") else set()
        )


def test_every_bias_of_a_controlnet_comes_from_its_own_layer(
    tiny: Any, save: Save, library: Library, cpu: Placement
) -> None:
    """DiffSynth 1.x kept 3 of the 13 in ControlNet 1.1's files, at the wrong layers, and dropped ten."""
    state = dict(tiny.ldm_control())
    count = sum(name.startswith("zero_convs.") and name.endswith(".bias") for name in state)
    for number in range(count):
        state[f"zero_convs.{number}.0.bias"] = torch.full_like(state[f"zero_convs.{number}.0.bias"], number)
    state["middle_block_out.0.bias"] = torch.full_like(state["middle_block_out.0.bias"], 99)
    net = load_control(save("c.pth", state), "tile", load_base("tiny", library, cpu), library, cpu).part
    biases = [conv.bias.unique().tolist() for conv in (*net.controlnet_down_blocks, net.controlnet_mid_block)]
    assert biases == [*([number] for number in range(count)), [99]] and count == 6


def test_control_of_another_model_is_refused(tiny: Any, save: Save, library: Library, cpu: Placement) -> None:
    from diffusers import ControlNetModel

    base = load_base("tiny", library, cpu)
    with torch.device("meta"):
        other = ControlNetModel.from_unet(tiny.unet, load_weights_from_unet=False)
    state = {key: torch.zeros(value.shape) for key, value in other.state_dict().items()}
    with pytest.raises(FileProblem, match="another codec") as caught:
        load_control(save("big.safetensors", state), "tile", base, library, cpu)
    assert caught.value.given is not None and caught.value.given.startswith("pictures 8 times")


def test_a_file_of_another_role_is_refused(tiny: Any, save: Save, library: Library, cpu: Placement) -> None:
    path = save("vae.safetensors", tiny.ldm_vae())
    with pytest.raises(UnknownFile, match="no base model"):
        load_base(path, library, cpu)
    with pytest.raises(UnknownFile, match="not what is needed"):
        load_control(path, "tile", load_base("tiny", library, cpu), library, cpu)


def test_marks_of_v_prediction(tiny: Any, save: Save, library: Library, cpu: Placement) -> None:
    state = {**tiny.checkpoint(), "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    base = load_base(save("v.safetensors", state), library, cpu)
    assert base.schedule == Schedule.scaled_linear(
        prediction="v_prediction", zero_terminal_snr=True, spacing="trailing"
    )
    assert left(base) == {}


def test_motion_from_elsewhere_brings_its_betas(checkpoint_file: Path, library: Library, cpu: Placement) -> None:
    base = load_base(checkpoint_file, library, cpu)
    assert base.schedule_with(None) == Schedule.scaled_linear()
    assert base.schedule_with(MotionModules.for_unet(base.unet)) == Schedule.linear()


def test_model_for_inpainting_is_no_base(tiny: Any, save: Save, library: Library, cpu: Placement) -> None:
    state = tiny.checkpoint()
    state["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, 9, 3, 3)
    with pytest.raises(FileProblem, match="do not agree") as caught:
        load_base(save("inpaint.safetensors", state), library, cpu)
    assert "inpainting" in str(caught.value.expected)


def test_motion_of_each_layout(tiny: Any, save: Save, library: Library, cpu: Placement) -> None:
    base = load_base("tiny", library, cpu)
    made = MotionModules.for_unet(base.unet, positions=32)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.1)
    state = made.state_dict()
    renamed = {
        key.replace(".temporal_transformer", "")
        .replace("attention_blocks.0", "attn1")
        .replace("attention_blocks.1", "attn2")
        .replace("norms.0", "norm1")
        .replace("norms.1", "norm2")
        .replace("ff_norm", "norm3"): value
        for key, value in state.items()
        if "pos_encoder" not in key
    }
    paths = [
        save("a.safetensors", state),
        save("b.ckpt", {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 1}),
        save("c.safetensors", renamed),
    ]
    for path in paths:
        loaded = load_motion(path, base, library, cpu)
        found = loaded.part.state_dict()
        assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
        assert loaded.sources[0].path == path and loaded.sources[0].leftovers == ()
        assert loaded.part.frame_limit == 32
    wrong = {key: value for key, value in state.items() if not key.startswith("up_blocks.1")}
    with pytest.raises(FileProblem):
        load_motion(save("d.safetensors", wrong), base, library, cpu)
