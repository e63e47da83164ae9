"""Through a network and back: the geometry that every annotator with a network has in common.

A frame is brought to sizes that are multiples of 64 (Lanczos when that enlarges it, area when it does not), and the
drawing back to the frame's size (bicubic). The short side stays what it is, up to that rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

MULTIPLE = 64


class Maps(Protocol):
    """A loaded network: RGB [3, H, W] in 0 … 255 to maps [C, H', W'], float32 on the CPU."""

    def __call__(self, pixels: Tensor) -> Tensor: ...


def worked(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame at the nearest multiples of 64, at least one of them."""
    height, width = (max(1, round(size / MULTIPLE)) * MULTIPLE for size in frame.shape[:2])
    return resized(np.ascontiguousarray(frame), height, width)


def resized(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """``picture`` in another size: Lanczos if that has more pixels, otherwise area."""
    import cv2

    had = picture.shape[:2]
    if had == (height, width):
        return picture
    larger = height + width > sum(had)
    by = cv2.INTER_LANCZOS4 if larger else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, (width, height), interpolation=by), dtype=picture.dtype)


def asked(network: Maps, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the network says of an RGB picture: maps (H', W', C)."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32))
    return np.ascontiguousarray(network(pixels).numpy().transpose(1, 2, 0))


def drawing(shares: NDArray[np.float32], frame: NDArray[np.uint8], *, inverted: bool = False) -> NDArray[np.uint8]:
    """Shares 0 … 1, (h, w, 1 or 3), as a picture of the size of ``frame``; values between two steps are cut."""
    cut = (np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return back(255 - cut if inverted else cut, frame)


def back(drawn: NDArray[np.uint8], frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A drawing (h, w, 1 or 3) as RGB in the size of ``frame``."""
    import cv2

    height, width = frame.shape[:2]
    if drawn.shape[:2] != (height, width):
        drawn = np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    drawn = drawn.reshape(height, width, -1)
    return np.repeat(drawn, 3, axis=2) if drawn.shape[2] == 1 else drawn
