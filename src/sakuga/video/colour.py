"""Frames between the file and the model: uint8 to float and back, to a size for rendering and back, padding and back.

All of it is exact where it can be: a round trip through float changes no value, and padding is cut off again to the
very same pixels. Only ``resize`` changes a picture. Knows no codec: colour matrices are for readers and writers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

HALF = 127.5  # 0 becomes -1 and 255 becomes 1


def to_float(frames: NDArray[np.uint8]) -> torch.Tensor:
    """Frames (F, height, width, 3), 0 to 255, as a float32 tensor (F, 3, height, width), -1 to 1."""
    import torch

    assert frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3, (frames.dtype, frames.shape)
    planes = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
    return planes.to(torch.float32).div_(HALF).sub_(1)


def to_uint8(pixels: torch.Tensor) -> NDArray[np.uint8]:
    """A tensor (F, 3, height, width), -1 to 1, of any float type, as frames (F, height, width, 3).

    Values outside are clamped, those between two numbers rounded, halves upwards; ``to_uint8(to_float(x))`` is ``x``.
    """
    import torch

    levels = pixels.detach().to("cpu", torch.float32).clamp(-1, 1).add(1).mul_(HALF).add_(0.5).floor_()
    return np.ascontiguousarray(levels.to(torch.uint8).numpy().transpose(0, 2, 3, 1))


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A size brought up to a multiple: ``pad`` repeats the edge pixels all around, ``cut`` takes them off again."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int

    @property
    def padded(self) -> tuple[int, int]:
        """(width, height) with the padding."""
        return self.left + self.width + self.right, self.top + self.height + self.bottom

    def pad(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame (height, width, 3), or several (F, height, width, 3), with its edges repeated outwards."""
        assert frame.shape[-3:] == (self.height, self.width, 3), (frame.shape, self)
        around = [(0, 0)] * (frame.ndim - 3) + [(self.top, self.bottom), (self.left, self.right), (0, 0)]
        return np.pad(frame, around, mode="edge")

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The inner part of padded frames, in memory of its own: what ``pad`` was given."""
        assert frame.shape[-3:-1] == self.padded[::-1], (frame.shape, self)
        inner = frame[..., self.top : self.top + self.height, self.left : self.left + self.width, :]
        return np.ascontiguousarray(inner)


def fit(width: int, height: int, multiple: int) -> Fit:
    """The padding, as even on both sides as it can be, that brings a size up to multiples of ``multiple``."""
    assert width > 0 and height > 0 and multiple > 0
    across, down = -width % multiple, -height % multiple
    left, top = across // 2, down // 2
    return Fit(width=width, height=height, left=left, right=across - left, top=top, bottom=down - top)


def cropped(frame: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The middle of the frame (height, width, 3) that has the shape of ``width`` x ``height``, at its own size."""
    old_height, old_width = frame.shape[:2]
    if old_height * width < height * old_width:
        across = max(1, old_height * width // height)
        left = (old_width - across) // 2
        return frame[:, left : left + across]
    down = max(1, old_width * height // width)
    top = (old_height - down) // 2
    return frame[top : top + down]


def resize(frame: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The frame (height, width, 3) at another size: averaged over areas to shrink, bicubic as soon as a side grows."""
    import cv2

    old_height, old_width = frame.shape[:2]
    if (old_width, old_height) == (width, height):
        return frame
    grows = width > old_width or height > old_height
    how = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    return np.asarray(cv2.resize(frame, (width, height), interpolation=how), dtype=np.uint8)
