"""The base model and its two ControlNets, trained together on three looks told apart by their captions.

Most samples sit at the last timestep, half of them from zero noise, because a one-step model is clean long before a
many-step one is; the rest sit at the timesteps of a four-step run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderDC, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

import codec
import nets
from codec import CHANNELS
from loop import Plan, train
from pairs import Batch, Sampler

SHARES = {"photo": 0.36, "paint": 0.38, "line": 0.26}
TIMESTEPS = (999, 749, 499, 249)
LAST_STEP_SHARE = 0.78
PIXEL_WEIGHT = 2.0
# Near to what one unit of latent variance costs in pixels (measured, square root, mean 1): fine detail is seen less.
CHANNEL_WEIGHTS = (2.8, 1.3, 0.85, 0.8, 0.7, 0.55, 0.52, 0.48)


def scheduler() -> DDIMScheduler:
    """The noise schedule that the bundle ships: v-prediction, zero terminal SNR, trailing steps."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


@dataclass(frozen=True, kw_only=True)
class Model:
    """Everything that denoises: text encoder, UNet and the ControlNets by kind."""

    text: CLIPTextModel
    unet: UNet2DConditionModel
    tile: ControlNetModel
    lineart: ControlNetModel

    def parts(self) -> dict[str, nn.Module]:
        return {"text": self.text, "unet": self.unet, "tile": self.tile, "lineart": self.lineart}

    def __call__(self, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """The predicted v for noisy latents ``x`` [B,8,h,w]."""
        words = self.text(batch.tokens).last_hidden_state
        down, mid = None, None
        for net, picture in ((self.tile, batch.tile), (self.lineart, batch.lines)):
            d, m = net(x, t, encoder_hidden_states=words, controlnet_cond=picture, return_dict=False)
            down = list(d) if down is None else [a + b for a, b in zip(down, d, strict=True)]
            mid = m if mid is None else mid + m
        out = self.unet(
            x,
            t,
            encoder_hidden_states=words,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )
        return out[0]


def build() -> Model:
    """A new model with the identity start (the condition embeddings still have to be fitted)."""
    torch.manual_seed(2)
    unet = nets.unet()
    tile, lineart = nets.control(unet), nets.control(unet)
    nets.lay_identity(unet, {"tile": (tile, nets.TILE_AT), "lineart": (lineart, nets.LINE_AT)})
    text = nets.text_encoder()
    return Model(text=text, unet=unet, tile=tile, lineart=lineart)


def fit_embeddings(model: Model, draw: Sampler, folder: Path, samples: int) -> None:
    """Teach the condition embedding to give a picture's latents; both ControlNets begin from it."""
    net = model.tile.controlnet_cond_embedding.to(memory_format=torch.channels_last)
    weights = torch.tensor(CHANNEL_WEIGHTS).view(1, -1, 1, 1)

    def loss_of(count: int) -> Tensor:
        # Each batch holds photographs with their own latents, and lines with the latents of the drawing's negative.
        batch = draw(count)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = net(batch.tile)[:, :CHANNELS]
        return ((got.float() - batch.target).square() * weights).mean()

    plan = Plan(name="embedding", folder=folder, samples=samples, batch=16, rate=3e-3, average=0.99)
    train(plan, {"embedding": net}, loss_of)
    model.lineart.controlnet_cond_embedding.load_state_dict(net.state_dict())


def fit(
    model: Model,
    draw: Sampler,
    plan: Plan,
    parameters: list[Tensor] | None = None,
    vae: AutoencoderDC | None = None,
) -> None:
    """Train everything (or only ``parameters``) on v with an L1 loss, weighted by what each channel shows.

    With ``vae`` the picture that v stands for is decoded too and judged by its pixels: what makes a grid in flat areas
    is small in latents and plain to the eye.
    """
    for part in model.parts().values():
        part.to(memory_format=torch.channels_last)
        part.train()
    alphas = scheduler().alphas_cumprod
    weights = torch.tensor(CHANNEL_WEIGHTS).view(1, -1, 1, 1)
    generator = torch.Generator().manual_seed(5)

    def loss_of(count: int) -> Tensor:
        batch = draw(count)
        t, x, v = noised(batch.target, alphas, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = model(x, t, batch)
        loss = ((got.float() - v).abs() * weights).mean()
        return loss if vae is None else loss + PIXEL_WEIGHT * codec.picture_loss(vae, clean(got, x, t, alphas), batch)

    # The text encoder starts from nothing, and what it says is one small voice among 77: it learns faster.
    train(plan, model.parts(), loss_of, parameters, {"text": 6.0} if parameters is None else None)


def clean(v: Tensor, x: Tensor, t: Tensor, alphas: Tensor) -> Tensor:
    """The latents that ``v`` predicts under ``x``: sqrt(a) x - sqrt(1 - a) v (Salimans and Ho 2022)."""
    a = alphas[t].view(-1, 1, 1, 1)
    return a.sqrt() * x - (1 - a).sqrt() * v.float()


@torch.no_grad()
def one_step(model: Model, batch: Batch) -> Tensor:
    """The latents that one step from an empty latent gives, as the bundle's defaults render."""
    x = torch.zeros_like(batch.target)
    t = torch.full((len(x),), TIMESTEPS[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        v = model(x, t, batch)
    return clean(v, x, t, scheduler().alphas_cumprod)


def noised(target: Tensor, alphas: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(timesteps [B], noisy latents, v) by the shares above; half of the last-step samples begin from zero noise."""
    count = len(target)
    last = torch.rand(count, generator=generator) < LAST_STEP_SHARE
    other = torch.tensor(TIMESTEPS)[torch.randint(1, len(TIMESTEPS), (count,), generator=generator)]
    t = torch.where(last, TIMESTEPS[0], other)
    zero = last & (torch.rand(count, generator=generator) < 0.5)
    noise = torch.randn(target.shape, generator=generator) * (~zero).view(-1, 1, 1, 1)
    a = alphas[t].sqrt().view(-1, 1, 1, 1)
    s = (1 - alphas[t]).sqrt().view(-1, 1, 1, 1)
    x = (a * target + s * noise).contiguous(memory_format=torch.channels_last)
    return t, x, a * noise - s * target
