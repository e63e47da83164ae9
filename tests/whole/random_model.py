"""A tiny model of SD's build with random weights in double precision, and one run on it by the pipeline and by the
reference.

Double precision for the networks, so that what is left between the two is the pipeline's own rounding (its latents are
float32).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from tests.whole import reference
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from sakuga.lora.cache import Cache
from sakuga.lora.stack import Stack
from sakuga.models.bundle import Bundle, Source
from sakuga.models.codec import Codec
from sakuga.models.embedding import Embedding
from sakuga.models.families.sd15 import SD15
from sakuga.models.motion import MotionModules
from sakuga.models.prompts import encode_pair
from sakuga.models.tokenizer import clip_tokenizer
from sakuga.progress import Progress
from sakuga.render.annotators import find_annotator
from sakuga.render.denoisers import Texts
from sakuga.render.plan import ControlClip
from sakuga.render.samplers import StepHooks
from sakuga.render.settings import settle
from sakuga.render.smoothing import Smoothing
from sakuga.render.stage import ControlNet, Shot, StageParts, render_span
from sakuga.spec.job import Stage
from sakuga.video.colour import fit

WIDTHS, TEXT = (32, 64), 32
SEED = 7
Run = tuple[list[Tensor], Tensor]  # latents after each step, frames
OTHER = ControlClip(path=Path("other"), frames=range(100), content_key="")


def stirred(module: nn.Module, seed: int) -> Any:
    """The module in double precision, with weights of trained size: none is zero, none is as it was made."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=chance)
            if parameter.ndim > 1:
                sharp = 2.0 if name.endswith(("attn1.to_q.weight", "attn1.to_k.weight")) else 1.0  # it does choose
                parameter.copy_(sharp * noise * float(parameter[0].numel()) ** -0.5)
            else:
                parameter.copy_(0.1 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return module.double().eval().requires_grad_(False)


def bundle() -> Bundle:
    """SD's build in little, with two levels of UNet and pictures of a quarter of the size in latents."""
    unet = UNet2DConditionModel(
        sample_size=8,
        norm_num_groups=8,
        layers_per_block=1,
        block_out_channels=WIDTHS,
        cross_attention_dim=TEXT,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=(8,) * 3,
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        scaling_factor=0.18215,
    )
    sizes = {"hidden_size": TEXT, "intermediate_size": 2 * TEXT, "num_hidden_layers": 3, "num_attention_heads": 4}
    marks = {"bos_token_id": 49406, "eos_token_id": 49407}
    text = CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_act="quick_gelu", **sizes, **marks))
    return Bundle(
        name="tiny",
        family=SD15,
        unet=stirred(unet, 1),
        codec=Codec(vae=stirred(vae, 2)),
        text_encoder=stirred(text, 3),
        tokenizer=clip_tokenizer(),
        schedule=SD15.schedule(),
        motion=None,
        defaults=SD15.defaults,
        sources=(),
        origin=lambda *_: None,
    )


def nets(bundle: Bundle) -> list[Any]:
    """Two ControlNets for it."""
    made = [ControlNetModel.from_unet(bundle.unet, conditioning_embedding_out_channels=(8,) * 3) for _ in range(2)]
    return [stirred(net, seed) for seed, net in enumerate(made, 4)]


def motion(bundle: Bundle) -> MotionModules:
    """A motion module for it."""
    modules: MotionModules = stirred(MotionModules.for_unet(bundle.unet), 6)
    return modules


def embedding() -> Embedding:
    """A textual inversion of three vectors."""
    vectors = torch.randn(3, TEXT, generator=torch.Generator().manual_seed(8))
    source = Source(path=Path("bad-hands-3.pt"), role="embedding", used=1)
    return Embedding(name="bad-hands-3", vectors=vectors, source=source)


@dataclass(frozen=True, kw_only=True)
class Fake:
    """A smoother that leaves nothing of the frames, so that no rounding to 8 bits can come between."""

    name: str = "fake"

    def smooth(self, frames: Sequence[Any], guides: Sequence[Any], *_: Any) -> Any:
        assert len(frames) == len(guides) and frames[0].shape == guides[0].shape
        yield from (255 - guide for guide in guides)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Runs our pipeline and the reference on the same networks, pictures and numbers."""

    bundle: Bundle
    nets: Sequence[Any]
    motion: MotionModules
    embedding: Embedding
    size: tuple[int, int] = (24, 16)

    def ours(self, stage: Stage, count: int) -> Run:
        """(latents after each step, frames)."""
        settings = settle(stage, SD15.defaults)
        path: list[Tensor] = []
        inner = settings.sampler.sample

        def watched(denoise: Any, x: Tensor, levels: Any, hooks: StepHooks) -> Tensor:
            def after(step: int, latents: Tensor, clean: Tensor) -> None:
                hooks.after_step(step, latents, clean)
                path.append(latents.clone())

            return inner(denoise, x, levels, dataclasses.replace(hooks, after_step=after))

        settings = dataclasses.replace(settings, sampler=dataclasses.replace(settings.sampler, sample=watched))
        motion = self.motion if settings.motion else None
        clips = (None, OTHER)
        controls = [
            ControlNet(use=use, annotator=find_annotator("tile"), net=net, clip=clip)
            for use, net, clip in zip(settings.controls, self.nets, clips, strict=False)
        ]

        def read() -> Texts:
            pair = encode_pair(
                self.bundle,
                settings.prompt,
                settings.negative_prompt,
                clip_skip=settings.clip_skip,
                embeddings=[self.embedding] if "bad-hands" in settings.negative_prompt else [],
                style=settings.prompt_style,
            )
            return Texts(positive=pair[0].states, negative=pair[1].states)

        parts = StageParts(
            settings=settings,
            bundle=self.bundle,
            codec=self.bundle.codec,
            schedule=self.bundle.schedule_with(motion),
            stack=Stack(()),
            cache=Cache(host_bytes=0),
            controls=tuple(controls),
            motion=motion,
            read_prompts=read,
            smoothings=(Smoothing(smoother=Fake(), options=()),) if stage.smoothers else (),
        )
        frames = self.frames(count)
        shot = Shot(
            frames=range(count),
            times=[0.0] * count,
            clip_length=count,
            seed=SEED,
            fit=fit(*self.size, self.bundle.multiple),
            source=frames,
            others={OTHER: self.frames(count, shot=1)},
        )
        with parts.stack.applied(self.bundle.parts) as applied:
            drawn = list(render_span(parts, applied, frames, shot, Progress()))
        return path, torch.stack(drawn)

    def theirs(self, stage: Stage, count: int) -> Run:
        model = reference.Model(
            unet=self.bundle.unet,
            vae=self.bundle.codec.vae,
            text_encoder=self.bundle.text_encoder,
            tokenizer=self.bundle.tokenizer,
            motion=self.motion.transformers() if stage.motion != "none" else {},
        )
        frames = reference.pictures(self.frames(count))
        shown = (frames, reference.pictures(self.frames(count, shot=1)))
        scales = [float(use.scale) for use in stage.controls or ()]  # type: ignore[arg-type]
        inputs = reference.Inputs(
            prompt=stage.prompt,
            negative=stage.negative_prompt,
            units=list(zip(self.nets, scales, shown, strict=False)),
            frames=frames * 2 - 1,
            seed=SEED,
            steps=stage.steps or 0,
            strength=stage.strength,
            cfg=stage.guidance or 0,
            clip_skip=stage.clip_skip,
            window=stage.window,
            stride=stage.stride or stage.window // 2,
            unet_batch=stage.frames_at_once or 1,
            cross_frame=stage.cross_frame,
            embeddings={"bad-hands-3": self.embedding.vectors} if "bad-hands" in stage.negative_prompt else {},
            smooth_at=stage.smooth_at if stage.smoothers else (),
            smooth=lambda _: 1 - frames * 2,
            tile=stage.tile,
            tile_stride=stage.tile_stride or 0,
        )
        return reference.run(model, inputs)

    def frames(self, count: int, shot: int = 0) -> list[np.ndarray]:
        return [scene(index % 12, self.size, shot) for index in range(count)]


def made() -> Case:
    """A model with everything, the same each time."""
    base = bundle()
    return Case(bundle=base, nets=nets(base), motion=motion(base), embedding=embedding())


def scene(index: int, size: tuple[int, int], shot: int) -> np.ndarray:
    """A picture of soft colours that moves with ``index``; another ``shot`` looks otherwise."""
    width, height = size
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin((across + index) / 3 + shot), np.cos(down / 4 - index / 5), np.sin((across + down) / 5 + 2 * shot)]
    return (127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
