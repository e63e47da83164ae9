"""Motion modules: equal to a straight implementation and to diffusers, and joined without a trace left behind."""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as functional
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.loaders.single_file_utils import convert_animatediff_checkpoint_to_diffusers
from torch import nn

from sakuga.models import temporal
from sakuga.models.motion import MotionModules, joined, places
from sakuga.models.temporal import Shape, TemporalTransformer, sinusoids

FRAMES, HALVES = 3, 2
WIDTHS = (16, 32)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = random(HALVES * FRAMES, 4, 8, 8)
TEXT = random(HALVES * FRAMES, 5, 16, seed=1)


@pytest.fixture(scope="module")
def unet():
    """SD's layout in little: attention in the first block only, a mid block, skips."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


@pytest.fixture(scope="module")
def file(unet):
    """The tensors of an AnimateDiff file for it, random in every layer."""
    torch.manual_seed(2)
    tensors = MotionModules.for_unet(unet, positions=24).state_dict()
    for name, tensor in tensors.items():
        if not name.endswith(".pe"):
            tensors[name] = torch.randn_like(tensor) * 0.2 + (1.0 if re.search(r"norms?(\.\d)?\.weight", name) else 0.0)
    return tensors


@pytest.fixture(scope="module")
def motion(file):
    return MotionModules.from_state_dict(file)


def run(unet, x=X):
    with torch.no_grad():
        return unet(x, 500.0, TEXT[: len(x)]).sample


def run_joined(unet, motion, x=X, frames=FRAMES):
    with joined(unet, motion) as join:
        join.frames = frames
        return run(unet, x)


def near(a, b):
    assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def straight(tensors, place, x, frames):
    """The same module in plain arithmetic, pixel by pixel and frame by frame, from the names in the file."""

    def get(name):
        return tensors[f"{place}.temporal_transformer.{name}"]

    def linear(name, value):
        bias = tensors.get(f"{place}.temporal_transformer.{name}.bias")
        return functional.linear(value, get(f"{name}.weight"), bias)

    def norm(name, value):
        return functional.layer_norm(value, value.shape[-1:], get(f"{name}.weight"), get(f"{name}.bias"))

    channels = x.shape[1]
    out = x.clone()
    groups = math.gcd(32, channels)
    for clip in range(len(x) // frames):
        rows = x[clip * frames : (clip + 1) * frames]
        flat = [functional.group_norm(row[None], groups, get("norm.weight"), get("norm.bias"), 1e-6)[0] for row in rows]
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                h = linear("proj_in", torch.stack([frame[:, i, j] for frame in flat]))
                block = "transformer_blocks.0"
                for k in (0, 1):
                    near_by = norm(f"{block}.norms.{k}", h)
                    near_by = near_by + get(f"{block}.attention_blocks.{k}.pos_encoder.pe")[0, :frames]
                    q, key, v = (linear(f"{block}.attention_blocks.{k}.to_{name}", near_by) for name in "qkv")
                    size = channels // 8
                    heads = []
                    for head in range(8):
                        part = slice(head * size, (head + 1) * size)
                        scores = q[:, part] @ key[:, part].T / math.sqrt(size)
                        heads.append(scores.softmax(dim=-1) @ v[:, part])
                    h = h + linear(f"{block}.attention_blocks.{k}.to_out.0", torch.cat(heads, dim=-1))
                value, gate = linear(f"{block}.ff.net.0.proj", norm(f"{block}.ff_norm", h)).chunk(2, dim=-1)
                h = h + linear(f"{block}.ff.net.2", value * functional.gelu(gate))
                out[clip * frames : (clip + 1) * frames, :, i, j] += linear("proj_out", h)
    return out


@pytest.mark.parametrize("place", ["down_blocks.0.motion_modules.1", "mid_block.motion_modules.0"])
def test_a_module_equals_a_straight_implementation_frame_by_frame(file, motion, place):
    module = motion.transformers()[place]
    x = random(HALVES * FRAMES, module.norm.num_channels, 3, 2, seed=5)
    near(module(x, FRAMES), straight(file, place, x, FRAMES))


@pytest.mark.parametrize("channels", [48, 96])
def test_widths_that_32_groups_do_not_divide_get_as_many_as_do(channels):
    torch.manual_seed(3)
    module = TemporalTransformer(Shape(channels=channels)).eval()
    assert module.norm.num_groups == math.gcd(32, channels)
    tensors = {f"here.temporal_transformer.{name}": tensor for name, tensor in module.state_dict().items()}
    x = random(FRAMES, channels, 2, 2)
    near(module(x, FRAMES), straight(tensors, "here", x, FRAMES))


def test_pixels_in_parts_give_what_all_at_once_give(motion, monkeypatch):
    module = motion.transformers()["up_blocks.0.motion_modules.0"]
    x = random(HALVES * FRAMES, 32, 5, 4)
    whole = module(x, FRAMES)
    monkeypatch.setattr(temporal, "SEQUENCES_AT_ONCE", 7)
    near(module(x, FRAMES), whole)


def test_positions_are_the_paper_s_and_diffusers():
    theirs = MotionAdapter(block_out_channels=(32,), motion_layers_per_block=1, motion_num_attention_heads=8)
    encodings = [tensor for name, tensor in theirs.state_dict().items() if name.endswith("pos_embed.pe")]
    torch.testing.assert_close(sinusoids(32, 32), encodings[0])


def animatediff_in_diffusers(unet, file, positions=24):
    """diffusers' own model with the same weights, every temporal norm mended to look at one frame at a time."""
    adapter = MotionAdapter(
        block_out_channels=WIDTHS,
        motion_layers_per_block=2,
        motion_norm_num_groups=8,
        motion_num_attention_heads=8,
        motion_max_seq_length=positions,
        use_motion_mid_block=True,
    )
    missing, unexpected = adapter.load_state_dict(convert_animatediff_checkpoint_to_diffusers(file), strict=False)
    assert not unexpected and all("pos_embed" in name for name in missing)
    theirs = UNetMotionModel.from_unet2d(unet, adapter).eval()

    class PerFrame(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.norm = nn.GroupNorm(math.gcd(32, norm.num_channels), norm.num_channels, eps=1e-6)
            self.norm.load_state_dict(norm.state_dict())

        def forward(self, x):  # [clips, channels, frames, height, width]
            return torch.stack([self.norm(x[:, :, frame]) for frame in range(x.shape[2])], dim=2)

    for name, module in list(theirs.named_modules()):
        if re.search(r"motion_modules\.\d+$", name):
            module.norm = PerFrame(module.norm)
    return theirs


def test_joined_it_equals_diffusers_once_that_normalises_each_frame(unet, file, motion):
    theirs = animatediff_in_diffusers(unet, file)
    x = X.unflatten(0, (HALVES, FRAMES))  # theirs: [clips, channels, frames, …]
    with torch.no_grad():
        reference = theirs(x.transpose(1, 2), 500.0, TEXT).sample.transpose(1, 2).flatten(0, 1)
    ours = run_joined(unet, motion)
    near(ours, reference)
    plain = run(unet)
    assert (ours - plain).abs().max() > 1e-2 * plain.abs().max()


def test_halves_are_clips_of_their_own(unet, motion):
    whole = run_joined(unet, motion)
    with joined(unet, motion) as join, torch.no_grad():
        join.frames = FRAMES
        alone = unet(X[FRAMES:], 500.0, TEXT[FRAMES:]).sample
    near(whole[FRAMES:], alone)


def test_frames_see_each_other(unet, motion):
    other = X.clone()
    other[2] += 1
    before, after = run_joined(unet, motion), run_joined(unet, motion, other)
    assert not torch.allclose(before[0], after[0], atol=1e-4) and torch.equal(before[FRAMES:], after[FRAMES:])


def test_new_modules_change_nothing_bit_by_bit(unet):
    assert torch.equal(run_joined(unet, MotionModules.for_unet(unet)), run(unet))


def test_nothing_is_left_behind_also_after_an_exception(unet, motion):
    before = run(unet)
    run_joined(unet, motion)
    with pytest.raises(RuntimeError, match="ours"), joined(unet, motion) as join:
        join.frames = FRAMES
        raise RuntimeError("ours")
    assert torch.equal(run(unet), before)
    assert not any(module._forward_hooks for module in unet.modules())


def test_modules_follow_the_attention_and_where_there_is_none_the_resnet(unet):
    found = places(unet)
    names = {layer: name for name, layer in unet.named_modules()}
    assert {place: names[layer] for place, (layer, _) in found.items() if place.endswith(".1")} == {
        "down_blocks.0.motion_modules.1": "down_blocks.0.attentions.1",
        "down_blocks.1.motion_modules.1": "down_blocks.1.resnets.1",
        "up_blocks.0.motion_modules.1": "up_blocks.0.resnets.1",
        "up_blocks.1.motion_modules.1": "up_blocks.1.attentions.1",
    }
    assert names[found["mid_block.motion_modules.0"][0]] == "mid_block.attentions.0"
    assert len(found) == 2 * 2 + 1 + 2 * 3


def test_the_skip_connections_carry_its_result(unet, motion):
    """The module works before a block hands its skips on, as a hook on the block itself could not."""
    seen = {}
    hook = unet.down_blocks[1].register_forward_hook(lambda module, inputs, output: seen.update(skip=output[1][0]))
    try:
        run(unet)
        plain = seen["skip"]
        run_joined(unet, motion)
    finally:
        hook.remove()
    assert not torch.allclose(seen["skip"], plain, atol=1e-3)


def test_outputs_that_are_records_are_kept_as_records(motion):
    class Attention(nn.Module):
        def forward(self, x, return_dict):
            from diffusers.models.modeling_outputs import Transformer2DModelOutput

            return Transformer2DModelOutput(sample=x) if return_dict else (x, "more")

    class Resnet(nn.Module):
        out_channels = 16

    class OneBlock(nn.Module):
        def __init__(self, sides):
            super().__init__()
            self.resnets, self.attentions = nn.ModuleList([Resnet()] * sides), nn.ModuleList([Attention()] * sides)

    class Toy(nn.Module):
        def __init__(self):
            super().__init__()
            self.down_blocks, self.up_blocks = nn.ModuleList([OneBlock(1)]), nn.ModuleList()

    toy = Toy()
    place = motion.transformers()["down_blocks.0.motion_modules.0"]
    modules = MotionModules({"down_blocks.0.motion_modules.0": Shape(channels=16, positions=24)})
    modules.transformers()["down_blocks.0.motion_modules.0"].load_state_dict(place.state_dict())
    x = random(FRAMES, 16, 2, 2)
    with joined(toy, modules) as join, torch.no_grad():
        join.frames = FRAMES
        attention = toy.down_blocks[0].attentions[0]
        record, plain = attention(x, return_dict=True), attention(x, return_dict=False)
        expected = place(x, FRAMES)
    near(record.sample, expected)
    near(plain[0], expected)
    assert plain[1] == "more"
