"""DiffSynth 1.x's way through a clip, step by step in plain loops: what the pipeline is held against.

Nothing of the package's render is used. The networks' own layers are called one by one, the way its wiring describes
them; two passes, window by window, chunk by chunk, and every ControlNet again for each window.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

ROW, END = 77, 49407


@dataclass(frozen=True, kw_only=True)
class Model:
    """The networks. ``motion``: the module behind each layer, by ``down_blocks.0.motion_modules.1``; none: {}."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    motion: Mapping[str, nn.Module]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run is asked for. ``units``: (network, scale, pictures [F, 3, H, W] in 0 … 1). ``frames``: −1 … 1."""

    prompt: str
    negative: str
    units: Sequence[tuple[Any, float, Tensor]]
    frames: Tensor
    seed: int
    steps: int
    strength: float = 1.0
    cfg: float = 7.0
    clip_skip: int = 1
    window: int = 16
    stride: int = 8
    unet_batch: int = 1
    cross_frame: bool = False
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    smooth_at: Sequence[int] = ()
    smooth: Callable[[Tensor], Tensor] = lambda frames: frames
    tile: int | None = None
    tile_stride: int = 32


def timesteps(steps: int, strength: float) -> list[int]:
    """The grid: from the noisiest timestep to 0, both among them."""
    top = max(round(1000 * strength) - 1, 0)
    count = min(steps, top + 1)
    return [top] if count == 1 else [round(top - i * top / (count - 1)) for i in range(count)]


def alphas(moving: bool) -> list[float]:
    """ᾱ of the 1000 timesteps: even betas with a motion module, even roots of betas without."""
    first, last = 0.00085, 0.012
    betas = torch.linspace(first, last, 1000) if moving else torch.linspace(first**0.5, last**0.5, 1000) ** 2
    return torch.cumprod(1 - betas, 0).tolist()


def encode_text(model: Model, text: str, clip_skip: int, embeddings: Mapping[str, Tensor]) -> Tensor:
    """[1, 77 · rows, C]: one long tokenisation cut every 77 tokens, rows encoded alone."""
    tokenizer, encoder = copy.deepcopy(model.tokenizer), copy.deepcopy(model.text_encoder)
    inner = getattr(encoder, "text_model", encoder)
    table = inner.embeddings.token_embedding
    for name, vectors in sorted(embeddings.items(), key=lambda item: -len(item[0])):
        tokens = [f"{name}_{i}" for i in range(len(vectors))]
        tokenizer.add_tokens(tokens)
        text = text.replace(name, " " + " ".join(tokens) + " ")
        ids = [tokenizer.convert_tokens_to_ids(token) for token in tokens]
        table.weight = nn.Parameter(torch.cat([table.weight, vectors.to(table.weight)]), requires_grad=False)
        assert ids == list(range(len(table.weight) - len(vectors), len(table.weight)))
    ids = tokenizer(text, truncation=False, verbose=False).input_ids
    ids += [END] * (-len(ids) % ROW)
    states = []
    for first in range(0, len(ids), ROW):
        answer = encoder(torch.tensor([ids[first : first + ROW]]), output_hidden_states=True)
        states.append(inner.final_layer_norm(answer.hidden_states[-clip_skip]))
    return torch.cat(states, dim=1)


def tiled(inputs: Inputs, run: Callable[[Tensor], Tensor], x: Tensor, given: float = 1, gives: float = 1) -> Tensor:
    """``run`` on tiles of x, the last of a row at the border. ``given``, ``gives``: pixels of x and of the answer."""
    if inputs.tile is None:
        return run(x)
    side, stride = int(inputs.tile * given), int(inputs.tile_stride * given)
    border = inputs.tile_stride * gives / 2
    tall, wide = (min(side, length) for length in x.shape[-2:])
    places = []
    for length, own in ((x.shape[-2], tall), (x.shape[-1], wide)):
        found = list(range(0, length - own + 1, stride))
        places.append(found if found[-1] + own == length else [*found, length - own])
    total, weights = torch.zeros(()), torch.zeros(())
    for top, left in itertools.product(*places):
        said = run(x[..., top : top + tall, left : left + wide])
        h, w = said.shape[-2:]
        rings = [[min(i + 1, h - i, j + 1, w - j, border) / border for j in range(w)] for i in range(h)]
        mask = torch.tensor(rings).to(said)
        a, b = int(top * gives / given), int(left * gives / given)
        height, width = (int(length * gives / given) for length in x.shape[-2:])
        around = (b, width - b - w, a, height - a - h)
        total, weights = total + functional.pad(said * mask, around), weights + functional.pad(mask, around)
    return total / weights


def temporal(module: Any, x: Tensor) -> Tensor:
    """A motion module on all frames x [F, C, h, w] of a window: each frame normalised alone, pixels are sequences."""
    frames, channels, height, width = x.shape
    h = torch.cat([module.norm(frame[None]) for frame in x])
    h = module.proj_in(h.permute(2, 3, 0, 1).reshape(-1, frames, channels))
    for block in module.transformer_blocks:
        for attention, norm in zip(block.attention_blocks, block.norms, strict=True):
            near = norm(h) + attention.pos_encoder.pe[:, :frames]
            q, k, v = (
                layer(near).unflatten(-1, (8, -1)).transpose(1, 2)
                for layer in (attention.to_q, attention.to_k, attention.to_v)
            )
            shares = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
            h = h + attention.to_out[0]((shares @ v).transpose(1, 2).flatten(2))
        value, gate = block.ff.net[0].proj(block.ff_norm(h)).chunk(2, dim=-1)
        h = h + block.ff.net[2](value * functional.gelu(gate))
    moved = module.proj_out(h).reshape(height, width, frames, channels)
    return x + moved.permute(2, 3, 0, 1)


def attend(layer: Any, x: Tensor, text: Tensor, cross_frame: bool) -> Tensor:
    """An attention block on a chunk of frames; with ``cross_frame`` their pixels are one sequence."""
    frames, channels, height, width = x.shape
    h = layer.proj_in(layer.norm(x)).permute(0, 2, 3, 1).reshape(frames, height * width, channels)
    text = text.expand(frames, -1, -1)
    if cross_frame:
        h, text = h.reshape(1, -1, channels), text.mean(dim=0, keepdim=True)
    for block in layer.transformer_blocks:
        h = h + block.attn1(block.norm1(h))
        h = h + block.attn2(block.norm2(h), encoder_hidden_states=text)
        h = h + block.ff(block.norm3(h))
    h = h.reshape(frames, height, width, channels).permute(0, 3, 1, 2)
    return x + layer.proj_out(h)


def unet(model: Model, inputs: Inputs, x: Tensor, time: int, text: Tensor, extra: list[Tensor] | None) -> Tensor:
    """ε of the frames x of a window: layers in chunks of ``unet_batch`` frames, motion modules on all of them."""
    net, size = model.unet, inputs.unet_batch
    emb = net.time_embedding(net.time_proj(torch.tensor([float(time)])).to(x))

    def chunks(run: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
        return torch.cat([run(part) for part in h.split(size)])

    def layer(place: str, resnet: Any, attention: Any, h: Tensor) -> Tensor:
        h = chunks(lambda part: resnet(part, emb.expand(len(part), -1)), h)
        if attention is not None:
            h = chunks(lambda p: tiled(inputs, lambda x: attend(attention, x, text, inputs.cross_frame), p), h)
        return temporal(model.motion[place], h) if place in model.motion else h

    h = net.conv_in(x)
    skips = [h]
    for b, block in enumerate(net.down_blocks):
        looking = getattr(block, "attentions", None) or [None] * len(block.resnets)
        for i, (resnet, attention) in enumerate(zip(block.resnets, looking, strict=True)):
            h = layer(f"down_blocks.{b}.motion_modules.{i}", resnet, attention, h)
            skips.append(h)
        for down in block.downsamplers or ():
            h = chunks(down, h)
            skips.append(h)
    middle = net.mid_block
    h = layer("mid_block.motion_modules.0", middle.resnets[0], middle.attentions[0], h)
    h = layer("", middle.resnets[1], None, h)
    if extra is not None:
        h = h + extra[-1]
        skips = [skip + more for skip, more in zip(skips, extra[:-1], strict=True)]
    for b, block in enumerate(net.up_blocks):
        looking = getattr(block, "attentions", None) or [None] * len(block.resnets)
        for i, (resnet, attention) in enumerate(zip(block.resnets, looking, strict=True)):
            h = layer(f"up_blocks.{b}.motion_modules.{i}", resnet, attention, torch.cat([h, skips.pop()], dim=1))
        for up in block.upsamplers or ():
            h = chunks(up, h)
    return net.conv_out(functional.silu(net.conv_norm_out(h)))


def control(net: Any, inputs: Inputs, x: Tensor, time: int, text: Tensor, shown: Tensor) -> list[Tensor]:
    """What a ControlNet says about the frames x: the tensors for the skips, then that for the middle."""
    emb = net.time_embedding(net.time_proj(torch.tensor([float(time)])).to(x)).expand(len(x), -1)
    h = net.conv_in(x) + net.controlnet_cond_embedding(shown)
    skips = [h]

    def layer(resnet: Any, attention: Any, h: Tensor, size: float) -> Tensor:
        h = tiled(inputs, lambda part: resnet(part, emb), h, size, size)
        return h if attention is None else tiled(inputs, lambda p: attend(attention, p, text, False), h, size, size)

    size = 1.0
    for block in net.down_blocks:
        looking = getattr(block, "attentions", None) or [None] * len(block.resnets)
        for resnet, attention in zip(block.resnets, looking, strict=True):
            h = layer(resnet, attention, h, size)
            skips.append(h)
        for down in block.downsamplers or ():
            h, size = tiled(inputs, down, h, size, size / 2), size / 2
            skips.append(h)
    middle = net.mid_block
    h = layer(middle.resnets[1], None, layer(middle.resnets[0], middle.attentions[0], h, size), size)
    said = [conv(skip) for conv, skip in zip(net.controlnet_down_blocks, skips, strict=True)]
    return [*said, net.controlnet_mid_block(h)]


def residuals(inputs: Inputs, window: range, x: Tensor, time: int, text: Tensor) -> list[Tensor] | None:
    """What the ControlNets say about the frames of a window, each at its scale, summed: skips first, middle last."""
    total: list[Tensor] | None = None
    for net, scale, pictures in inputs.units:
        shown = pictures[window.start : window.stop].to(x)
        said = [part * scale for part in control(net, inputs, x, time, text, shown)]
        total = said if total is None else [a + b for a, b in zip(total, said, strict=True)]
    return total


def windows(count: int, length: int, stride: int) -> list[range]:
    found = []
    for first in range(0, count, stride):
        found.append(range(first, min(first + length, count)))
        if first + length >= count:
            break
    return found


def predict(model: Model, inputs: Inputs, x: Tensor, time: int, text: Tensor) -> Tensor:
    """ε of all frames for one text: windows of the same latents, averaged by their weights."""
    total, weights = torch.zeros_like(x), torch.zeros(len(x)).to(x)
    for window in windows(len(x), inputs.window, inputs.stride):
        a, b = window.start, window.stop
        part = x[a:b]
        said = unet(model, inputs, part, time, text, residuals(inputs, window, part, time, text))
        for i in window:
            weight = max(1 - abs(i - (a + b - 1) / 2) / ((b - a - 1 + 0.01) / 2), 0.01)
            total[i] += weight * said[i - a]
            weights[i] += weight
    return total / weights[:, None, None, None]


def factor(model: Model) -> int:
    """Pixels along a side of one latent: 8 for SD."""
    return int(2 ** (len(model.vae.config["block_out_channels"]) - 1))


def encode_frames(model: Model, inputs: Inputs, frames: Tensor) -> Tensor:
    def encode(part: Tensor) -> Any:
        return model.vae.encode(part).latent_dist.mode() * model.vae.config["scaling_factor"]

    return torch.cat([tiled(inputs, encode, frame[None], factor(model), 1) for frame in frames])


def decode_frames(model: Model, inputs: Inputs, x: Tensor) -> Tensor:
    x = x / model.vae.config["scaling_factor"]
    frames = [tiled(inputs, lambda part: model.vae.decode(part).sample, one[None], 1, factor(model)) for one in x]
    return torch.cat(frames).clamp(-1, 1)


@torch.no_grad()
def run(model: Model, inputs: Inputs) -> tuple[list[Tensor], Tensor]:
    """(the latents after each step, the finished frames in −1 … 1), in the number format of the UNet."""
    moving = bool(model.motion)
    bars, grid = alphas(moving), timesteps(inputs.steps, inputs.strength)
    frames = inputs.frames.to(next(model.unet.parameters()))
    count, _, height, width = frames.shape
    torch.manual_seed(inputs.seed)
    size = height // factor(model), width // factor(model)
    noise = torch.randn((count if moving else 1, 4, *size), dtype=torch.float16).to(frames)
    noise = noise.expand(count, -1, -1, -1)
    x = noise
    if inputs.strength < 1:
        bar = bars[grid[0]]
        x = math.sqrt(bar) * encode_frames(model, inputs, frames) + math.sqrt(1 - bar) * noise
    texts = [encode_text(model, t, inputs.clip_skip, inputs.embeddings) for t in (inputs.prompt, inputs.negative)]
    path = []
    for number, time in enumerate(grid):
        positive, negative = (predict(model, inputs, x, time, text) for text in texts)
        said = negative + inputs.cfg * (positive - negative)
        bar, after = bars[time], bars[grid[number + 1]] if number + 1 < len(grid) else 1.0
        if number in inputs.smooth_at:
            clean = (x - math.sqrt(1 - bar) * said) / math.sqrt(bar)
            clean = encode_frames(model, inputs, inputs.smooth(decode_frames(model, inputs, clean)))
            said = (x - math.sqrt(bar) * clean) / math.sqrt(1 - bar)
        x = math.sqrt(after / bar) * x + (math.sqrt(1 - after) - math.sqrt(after * (1 - bar) / bar)) * said
        path.append(x)
    return path, decode_frames(model, inputs, x)


def pictures(frames: Sequence[np.ndarray]) -> Tensor:
    """uint8 [H, W, 3] as float64 [F, 3, H, W] in 0 … 1."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).double() / 255
