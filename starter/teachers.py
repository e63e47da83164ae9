"""The pictures that the starter model learns from: a frame drawn by rules, in four looks.

Each teacher is plain picture processing, plus one small network with a free licence (realesr-animevideov3,
BSD-3-Clause) that paints over texture. No research-only network is involved. All take and give RGB uint8.
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from sakuga.render.annotators import lineart

WORK = 384  # the painter's short side: four times what it enlarges from
NCNN_HALF = 0x01306B47  # ncnn's tag in front of half-precision weights


class Painter:
    """realesr-animevideov3 x4 (SRVGGNetCompact), read from its ncnn files: shrinks four times and paints it large."""

    def __init__(self, param: Path, weights: Path) -> None:
        self.layers: list[tuple[str, tuple[torch.Tensor, ...]]] = []
        blob, offset, channels = weights.read_bytes(), 0, 3
        for line in param.read_text().splitlines()[2:]:
            words = line.split()
            options = dict(w.split("=") for w in words if "=" in w)
            if words[0] == "Convolution":
                (tag,) = struct.unpack_from("<I", blob, offset)
                if tag != NCNN_HALF:
                    raise ValueError(f"{weights.name}: half-precision weights were expected, tag {tag:#x} was found")
                count, out = int(options["6"]), int(options["0"])
                weight = np.frombuffer(blob, "<f2", count, offset + 4).astype(np.float32)
                offset += 4 + (2 * count + 3) // 4 * 4
                bias = np.frombuffer(blob, "<f4", out, offset)
                offset += 4 * out
                kernel = torch.from_numpy(weight.reshape(out, channels, 3, 3).copy())
                self.layers.append(("conv", (kernel, torch.from_numpy(bias.copy()))))
                channels = out
            elif words[0] == "PReLU":
                count = int(options["0"])
                slope = np.frombuffer(blob, "<f4", count, offset)
                offset += 4 * count
                self.layers.append(("prelu", (torch.from_numpy(slope.copy()),)))

    @torch.inference_mode()
    def __call__(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        small = cv2.resize(frame, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        x = torch.from_numpy(small.copy()).permute(2, 0, 1)[None].float() / 255
        y = x
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for kind, tensors in self.layers:
                y = F.conv2d(y, *tensors, padding=1) if kind == "conv" else F.prelu(y, tensors[0].to(y.dtype))
        y = F.pixel_shuffle(y.float(), 4) + F.interpolate(x, scale_factor=4, mode="nearest")
        return (y[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def at_short_side(frame: np.ndarray, side: int, multiple: int = 1) -> np.ndarray:
    """``frame`` scaled so that its short side is ``side``, both sides cut down to a multiple."""
    height, width = frame.shape[:2]
    zoom = side / min(height, width)
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(frame, (round(width * zoom), round(height * zoom)), interpolation=way)
    h, w = (n // multiple * multiple for n in scaled.shape[:2])
    return np.ascontiguousarray(scaled[:h, :w])


def paint(frame: np.ndarray, painter: Painter) -> np.ndarray:
    """Flat cel colours: painted over, evened out, lightness in four soft steps, colours stronger by a third."""
    large = at_short_side(frame, WORK, 16)
    flat = cv2.pyrMeanShiftFiltering(painter(large), 12, 28)
    lab = cv2.cvtColor(flat, cv2.COLOR_RGB2LAB)
    light = cv2.createCLAHE(2.0, (4, 4)).apply(lab[..., 0]).astype(np.float32) / 255 * 4
    step = np.floor(light)
    soft = (step + 0.5 + np.tanh((light - step - 0.5) * 8) / 2) / 4
    colour = 128 + (lab[..., 1:].astype(np.float32) - 128) * 1.35
    lab = np.dstack([(0.12 + 0.88 * soft) * 255, colour])
    drawn = cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    return cv2.resize(drawn, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_AREA)


def comic(painted: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Flat colours under dark ink: the look of ``celcomic``."""
    ink = lines[..., :1].astype(np.float32) / 255
    return np.round(painted * (1 - ink) + np.array([18, 14, 22], np.float32) * ink).astype(np.uint8)


def inked(frame: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Black ink on paper with one grey wash: the look of ``ink``."""
    large = at_short_side(frame, WORK)
    light = cv2.cvtColor(cv2.bilateralFilter(large, 15, 60, 9), cv2.COLOR_RGB2LAB)[..., 0]
    light = cv2.GaussianBlur(cv2.createCLAHE(2.5, (4, 4)).apply(light), (0, 0), 2.2).astype(np.float32) / 255
    black = 1 / (1 + np.exp((light - 0.22) * 60))
    wash = 1 / (1 + np.exp((light - 0.45) * 60))
    tone = np.clip(1 - 0.30 * wash, 0, 1) * (1 - black) + 0.04 * black
    tone = cv2.resize(tone, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_AREA)
    tone = tone * (1 - lines[..., 0].astype(np.float32) / 255)
    paper = np.array([250, 247, 240], np.float32)
    return np.round(tone[..., None] * paper + (1 - tone[..., None]) * 14).clip(0, 255).astype(np.uint8)


def drawing(lines: np.ndarray) -> np.ndarray:
    """Black lines on white."""
    return 255 - lines


def lines_of(frame: np.ndarray) -> np.ndarray:
    """The product's own annotator: what the lineart ControlNet will see when somebody renders."""
    return lineart.draw(frame)
