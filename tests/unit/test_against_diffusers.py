"""The whole loop against a whole diffusers pipeline: img2img, two ControlNets, guidance, Euler, on tiny networks.

The networks have the layout of Stable Diffusion 1.5. Strengths are chosen so that both visit the same timesteps: theirs
drops steps (the last three of four), ours compresses the range (three steps from 666 down).
"""

from __future__ import annotations

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
    UNet2DConditionModel,
)
from torch import nn

from sakuga.models.schedule import Schedule
from sakuga.render import latents
from sakuga.render.denoisers import Texts
from sakuga.render.denoisers.controlled import Control, controlled, steady
from sakuga.render.denoisers.guided import guided
from sakuga.render.denoisers.predict import predict
from sakuga.render.denoisers.windowed import windowed
from sakuga.render.samplers import find_sampler
from sakuga.render.windows import batches

FRAMES, SIZE = 3, 64
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCALES, STARTS, ENDS = (0.6, 1.2), (0.0, 0.3), (1.0, 1.0)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, numpy 2


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
    )
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        block_out_channels=(32, 64),
        layers_per_block=2,
        cross_attention_dim=24,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    nets = [ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16)) for _ in SCALES]
    for net in nets:
        for parameter in net.controlnet_cond_embedding.conv_out.parameters():  # from_unet leaves the outlets at zero
            nn.init.normal_(parameter, std=0.1)
        for block in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            nn.init.normal_(block.weight, std=0.1)
    return vae.eval(), unet.eval(), [net.eval() for net in nets]


TEXTS = Texts(positive=random(1, 77, 24, seed=1), negative=random(1, 77, 24, seed=2))
CLEAN = random(FRAMES, 4, SIZE // 8, SIZE // 8, seed=3)
PICTURES = [random(FRAMES, 3, SIZE, SIZE, seed=seed).clamp(0, 1) for seed in (4, 5)]


def theirs(parts, scheduler, steps, strength, guidance):
    vae, unet, nets = parts
    pipe = StableDiffusionControlNetImg2ImgPipeline(
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        controlnet=nets,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        image=CLEAN,  # four channels: taken as latents
        control_image=PICTURES,
        height=SIZE,
        width=SIZE,
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=guidance,
        prompt_embeds=TEXTS.positive.expand(FRAMES, -1, -1),
        negative_prompt_embeds=TEXTS.negative.expand(FRAMES, -1, -1),
        controlnet_conditioning_scale=list(SCALES),
        control_guidance_start=list(STARTS),
        control_guidance_end=list(ENDS),
        generator=torch.Generator().manual_seed(9),
        output_type="latent",
    ).images


def ours(parts, sampler, schedule, steps, strength, guidance, batch):
    _, unet, nets = parts
    found = find_sampler(sampler)
    levels = found.levels(schedule, steps, strength)
    controls = [
        Control(net=net, pictures=shown, scale=steady(scale, len(levels), start, end))
        for net, shown, scale, start, end in zip(nets, PICTURES, SCALES, STARTS, ENDS, strict=True)
    ]
    predictor = controlled(predict(unet, schedule, TEXTS), controls, TEXTS)
    denoise = windowed(guided(predictor, TEXTS, guidance), batches(FRAMES, batch))
    noise = random(*CLEAN.shape, seed=9)
    return found.sample(denoise, latents.start(CLEAN, noise, levels[0]), levels)


def near(a, b):
    assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize(
    ("guidance", "batch", "prediction"), [(6.5, 2, "epsilon"), (1.0, 3, "epsilon"), (6.5, 3, "v_prediction")]
)
def test_euler_with_two_controlnets_and_guidance_equals_the_pipeline(parts, guidance, batch, prediction):
    scheduler = EulerDiscreteScheduler(**BETAS, prediction_type=prediction, timestep_spacing="linspace")
    reference = theirs(parts, scheduler, steps=4, strength=0.75, guidance=guidance)
    schedule = Schedule.scaled_linear(prediction=prediction)
    assert schedule.timesteps(3, 0.667) == (666, 333, 0)
    near(ours(parts, "euler", schedule, 3, 0.667, guidance, batch), reference)


def test_ddim_from_a_trailing_grid_equals_the_pipeline(parts):
    scheduler = DDIMScheduler(**BETAS, clip_sample=False, timestep_spacing="trailing")
    reference = theirs(parts, scheduler, steps=4, strength=0.75, guidance=6.5)
    schedule = Schedule.scaled_linear(spacing="trailing")
    assert schedule.timesteps(3, 0.75) == (749, 499, 249)
    near(ours(parts, "ddim", schedule, 3, 0.75, 6.5, batch=3), reference)


def test_the_two_controlnets_and_the_guidance_are_really_in_it(parts):
    """Otherwise the equality above would prove little."""
    vae, unet, nets = parts
    schedule = Schedule.scaled_linear()
    whole = ours(parts, "euler", schedule, 3, 0.667, 6.5, batch=3)
    others = [
        ours((vae, unet, [*nets[:1], silent(nets[1])]), "euler", schedule, 3, 0.667, 6.5, batch=3),
        ours((vae, unet, nets[::-1]), "euler", schedule, 3, 0.667, 6.5, batch=3),
        ours(parts, "euler", schedule, 3, 0.667, 1.0, batch=3),
    ]
    assert all((other - whole).abs().max() > 1e-3 * whole.abs().max() for other in others)


def silent(net):
    """The same ControlNet with nothing to say: its outlets are zero."""
    made = ControlNetModel.from_config(net.config).eval()
    for block in (*made.controlnet_down_blocks, made.controlnet_mid_block):
        nn.init.zeros_(block.weight)
        nn.init.zeros_(block.bias)
    return made
