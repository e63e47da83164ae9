"""Windows for a network that looks along time, and plain batches for one that does not: the rest of the layers see some
frames of a Span at a time.

Refuses windows that leave frames of the Span out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sakuga.models.schedule import Level
from sakuga.render.denoisers import Denoiser, FrameDenoiser
from sakuga.render.windows import Window, shares


def windowed(denoise: FrameDenoiser, windows: tuple[Window, ...]) -> Denoiser:
    """All windows of a step look at the same x; their answers are averaged by ``windows.shares``.

    The mean of clean estimates is the mean of predictions, since both are straight lines in each other for one x.
    Windows come in rising order, which lets the layers below forget the frames that lie behind.
    """
    frame_count = windows[-1].stop
    parts = [torch.tensor(share, dtype=torch.float32) for share in shares(windows, frame_count)]

    def denoise_all(x: Tensor, level: Level, step: int) -> Tensor:
        assert len(x) == frame_count, f"windows for {frame_count} frames, but {len(x)} came"
        total = torch.zeros_like(x)
        for window, share in zip(windows, parts, strict=True):
            rows = slice(window.start, window.stop)
            clean = denoise(x[rows], level, step, window.frames)
            total[rows] += share.to(x.device)[:, None, None, None] * clean.to(x)
        return total

    return denoise_all
