"""The starter's motion module: what makes neighbouring frames of the drawn film agree.

Only the temporal layers learn, on short runs of the film; the target is the drawn run evened out over time where the
source stands still, which a network that sees one frame alone cannot give.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import base
import codec
from adapters import Branch
from loop import Plan, train
from pairs import CROP, Batch, clip_tokenizer
from sakuga.models.motion import MotionModules, joined

FRAMES = 8
REACH = 3  # frames to each side that are averaged
STILL = 7.0  # mean change of a pixel's neighbourhood, in grey levels, that still counts as standing still


def even_out(source: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """[F,H,W,3] uint8: ``drawn`` averaged over time, each neighbour weighed by how little ``source`` changed."""
    import cv2

    grey = source.astype(np.float32).mean(-1)
    out = np.empty_like(drawn)
    for i in range(len(source)):
        total, weight_sum = np.zeros(drawn.shape[1:], np.float32), np.zeros((*drawn.shape[1:3], 1), np.float32)
        for j in range(max(0, i - REACH), min(len(source), i + REACH + 1)):
            change = cv2.blur(np.abs(grey[i] - grey[j]), (5, 5))
            weight = np.exp(-((change / STILL) ** 2))[..., None]
            total += weight * drawn[j]
            weight_sum += weight
        out[i] = np.round(total / weight_sum).astype(np.uint8)
    return out


def load_runs(folder: Path, vae_folder: Path, look: str) -> list[dict[str, Tensor]]:
    """Per run: latents [F,8,h,w] of the drawn run and of the plain one, photographs and lines [F,H,W,…] uint8."""
    vae = codec.load(vae_folder).to(memory_format=torch.channels_last)
    names: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.npz")):
        names.setdefault(path.stem.split("-")[0], []).append(path)
    runs = []
    for paths in names.values():
        if len(paths) < FRAMES:
            continue
        drawn = [np.load(path) for path in paths[:FRAMES]]
        source = np.stack([d["photo"] for d in drawn])
        target = even_out(source, np.stack([d[look] for d in drawn]))
        latents = torch.stack([codec.latents_of(vae, frame) for frame in target])
        plain = torch.stack([codec.latents_of(vae, frame) for frame in source])
        lines = torch.from_numpy(np.stack([d["line"][..., 0] for d in drawn]))
        runs.append({"latents": latents, "plain": plain, "photo": torch.from_numpy(source), "lines": lines})
    return runs


def fit(model: base.Model, branches: dict[str, Branch], runs: list[dict[str, Tensor]], plan: Plan) -> MotionModules:
    """Train new motion modules inside the frozen model, with the LoRA of ``branches`` at 1 and, as often, at 0.

    Half of the runs ask for the plain picture, so that the module learns to be calm and not to draw.
    """
    torch.manual_seed(4)
    for part in model.parts().values():
        part.requires_grad_(False)
        part.to(memory_format=torch.channels_last)
    modules = MotionModules.for_unet(model.unet)
    alphas = base.scheduler().alphas_cumprod
    weights = torch.tensor(base.CHANNEL_WEIGHTS).view(1, -1, 1, 1)
    random, generator = np.random.default_rng(8), torch.Generator().manual_seed(8)
    tokens = clip_tokenizer()([""], padding="max_length", max_length=77, return_tensors="pt").input_ids

    def loss_of(count: int) -> Tensor:
        run = runs[random.integers(len(runs))]
        drawn = random.random() < 0.5
        for branch in branches.values():
            branch.scale = float(drawn)
        z = run["latents" if drawn else "plain"]
        y, x = random.integers(0, z.shape[2] - CROP + 1), random.integers(0, z.shape[3] - CROP + 1)
        area = (slice(None), slice(y * 4, (y + CROP) * 4), slice(x * 4, (x + CROP) * 4))
        cl = torch.channels_last
        batch = Batch(
            target=z[:, :, y : y + CROP, x : x + CROP].float(),
            tile=(run["photo"][area].permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=cl),
            lines=(run["lines"][area][:, None].float().expand(-1, 3, -1, -1) / 255).contiguous(memory_format=cl),
            tokens=tokens.expand(FRAMES, -1),
        )
        timestep = (
            base.TIMESTEPS[0] if random.random() < base.LAST_STEP_SHARE else int(random.choice(base.TIMESTEPS[1:]))
        )
        noise = torch.zeros_like(batch.target)
        if timestep != base.TIMESTEPS[0] or random.random() < 0.3:
            noise = torch.randn(noise.shape, generator=generator)
        a, s = alphas[timestep].sqrt(), (1 - alphas[timestep]).sqrt()
        v = a * noise - s * batch.target
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = model(a * batch.target + s * noise, torch.full((FRAMES,), timestep), batch).float()
        steady = ((got[1:] - got[:-1]) - (v[1:] - v[:-1])).abs()
        return ((got - v).abs() * weights).mean() + 0.5 * (steady * weights).mean()

    with joined(model.unet, modules) as join:
        join.frames = FRAMES
        train(plan, {"motion": modules}, loss_of)
    return modules
