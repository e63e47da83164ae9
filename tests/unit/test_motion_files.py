"""Motion modules from files: AnimateDiff's layout, diffusers' layout, older versions, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_animatediff_checkpoint_to_diffusers

from sakuga.errors import FileProblem, JobError
from sakuga.models.motion import MotionModules, check_fits, joined, places
from sakuga.models.temporal import Shape, sinusoids

FRAMES = 3


@pytest.fixture(scope="module")
def unet():
    """SD's layout in little: attention in the first block only, a mid block, skips."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=2,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


@pytest.fixture(scope="module")
def file(unet):
    """The tensors of an AnimateDiff file for it."""
    tensors = MotionModules.for_unet(unet, positions=24).state_dict()
    return {name: tensor.clone() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def motion(file):
    return MotionModules.from_state_dict(file)


@torch.no_grad()
def run(unet):
    return unet(torch.ones(FRAMES, 4, 8, 8), 500.0, torch.ones(FRAMES, 5, 16)).sample


def test_the_names_are_those_of_the_file(file, motion):
    assert list(motion.state_dict()) == list(file)
    assert all(torch.equal(tensor, file[name]) for name, tensor in motion.state_dict().items())
    assert (
        "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.to_out.0.bias"
        in file
    )
    assert "up_blocks.1.motion_modules.2.temporal_transformer.transformer_blocks.0.ff.net.0.proj.weight" in file
    assert (motion.frame_limit, motion.training, any(p.requires_grad for p in motion.parameters())) == (
        24,
        False,
        False,
    )


def test_the_layout_of_diffusers_gives_the_same_modules(file, motion):
    theirs = convert_animatediff_checkpoint_to_diffusers(file)
    assert not any("temporal_transformer" in name or ".pe" in name for name in theirs)
    again = MotionModules.from_state_dict(theirs)
    assert again.frame_limit == 32  # diffusers' files have no encodings: computed
    for name, tensor in motion.state_dict().items():
        ours = again.state_dict()[name]
        torch.testing.assert_close(ours[:, :24] if name.endswith(".pe") else ours, tensor)


def test_encodings_in_a_diffusers_file_say_how_many_positions_there_are(file):
    theirs = convert_animatediff_checkpoint_to_diffusers(file)
    place = "down_blocks.0.motion_modules.0.transformer_blocks.0"
    again = MotionModules.from_state_dict({**theirs, f"{place}.pos_embed.pe": sinusoids(16, 20)})
    assert again.frame_limit == 20


@pytest.mark.parametrize("prefix", ["module.", "state_dict.module.", "motion_modules_of.unet."])
def test_prefixes_are_taken_off(file, motion, prefix):
    again = MotionModules.from_state_dict({prefix + name: tensor for name, tensor in file.items()})
    assert list(again.state_dict()) == list(motion.state_dict())


def test_versions_without_a_middle_fit_too(unet, file):
    older = {name: tensor for name, tensor in file.items() if not name.startswith("mid_block")}
    motion = MotionModules.from_state_dict(older, unet=unet)
    assert motion.mid_block is None and len(motion.transformers()) == 10
    with joined(unet, motion) as join:
        join.frames = FRAMES
        assert torch.isfinite(run(unet)).all()


def test_more_transformer_blocks_are_read_from_the_names():
    made = MotionModules({"down_blocks.0.motion_modules.0": Shape(channels=16, blocks=2, attentions=1, inner=24)})
    again = MotionModules.from_state_dict(made.state_dict())
    assert list(again.state_dict()) == list(made.state_dict())
    x = torch.randn(2, 16, 2, 2)
    (ours,), (theirs,) = again.transformers().values(), made.transformers().values()
    torch.testing.assert_close(ours(x, 2), theirs(x, 2))


# what does not fit


def test_modules_for_another_unet_are_refused(unet, file):
    fewer = {name: tensor for name, tensor in file.items() if not name.startswith("up_blocks.1")}
    with pytest.raises(FileProblem, match="mm\\.ckpt was made for another model") as error:
        MotionModules.from_state_dict(fewer, source="mm.ckpt", unet=unet)
    assert "up_blocks.1.motion_modules.0 is missing" in str(error.value)
    wider = MotionModules(
        {
            **{place: Shape(channels=c) for place, (_, c) in places(unet).items()},
            "down_blocks.0.motion_modules.0": Shape(channels=24),
        }
    )
    with pytest.raises(FileProblem) as error:
        check_fits(unet, wider, "this")
    assert "24 channels, the model 16" in str(error.value)
    more = MotionModules(
        {
            **{place: Shape(channels=c) for place, (_, c) in places(unet).items()},
            "down_blocks.0.motion_modules.2": Shape(channels=16),
        }
    )
    with pytest.raises(FileProblem, match="another model") as error, joined(unet, more):
        pass
    assert "no place in the model" in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: {**file, "conv_in.weight": torch.zeros(1)}, "no place for conv_in.weight"),
        (lambda file: {}, "a file without tensors"),
        (lambda file: {n: t for n, t in file.items() if not n.endswith("norms.1.bias")}, "norms.1.bias is missing"),
        (lambda file: {n: t for n, t in file.items() if "proj_in" not in n}, "cannot be built"),
        (lambda file: {**file, f"{FIRST}.time_mix": torch.zeros(1)}, "time_mix is not known"),
        (lambda file: {**file, f"{FIRST}.proj_out.bias": torch.zeros(3)}, "proj_out.bias is [3], not [16]"),
        (lambda file: {**file, f"{FIRST}.proj_in.weight": torch.zeros(12, 12)}, "multiple of 8"),
    ],
)
def test_a_file_that_is_not_whole_is_named(file, change, told):
    with pytest.raises(FileProblem) as error:
        MotionModules.from_state_dict(change(file))
    assert told in str(error.value)


FIRST = "down_blocks.0.motion_modules.0.temporal_transformer"


def test_more_frames_than_positions_are_refused_with_the_limit(unet, motion):
    with joined(unet, motion) as join, pytest.raises(JobError) as error:
        join.frames = 25
    assert error.value.do == "set window to 24 or less"


def test_a_unet_called_before_the_frames_are_known_is_our_own_mistake(unet, motion):
    with joined(unet, motion), pytest.raises(AssertionError, match="how many frames"):
        run(unet)
    with joined(unet, motion) as join, pytest.raises(AssertionError, match="whole number"):
        join.frames = 2
        run(unet)
