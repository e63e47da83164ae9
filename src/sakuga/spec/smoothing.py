"""The options of each smoother, as records: names, ranges and defaults. Those of FastBlend are its own.

Refuses unknown names and values outside their range, each with what is expected. How a smoother works is not known
here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sakuga.errors import JobError
from sakuga.spec.plain import Plain, check


def _odd(side: int) -> int:
    if side % 2 == 0:
        expected = "an odd number, since a patch has a pixel in its middle"
        raise JobError("a patch cannot have this side", given=str(side), expected=expected, nearest=str(side + 1))
    return side


class LightOptions(Plain):
    """Options of ``light``."""

    window: int = Field(default=12, ge=0, le=1000, strict=True)
    """Frames to each side over which light and colour are evened."""
    strength: float = Field(default=1.0, ge=0, le=1, strict=True)
    """How much of what it finds is taken away; 0 changes nothing."""


class FastBlendOptions(Plain):
    """Options of ``fastblend``."""

    mode: Literal["fast", "balanced", "accurate"] = "fast"
    """fast blends through a tree, balanced moves every frame of the window, accurate also pulls them together."""
    window: int = Field(default=60, ge=0, le=1000, strict=True)
    """Frames to each side that a frame is blended with."""
    batch: int = Field(default=8, ge=1, le=10_000, strict=True)
    """Frames matched together: those that share a picture in accurate mode, and that lend matches to each other."""
    patch: Annotated[int, check(_odd)] = Field(default=5, ge=1, le=63, strict=True)
    """Side of the smallest patches that are compared, in pixels, odd."""
    iterations: int = Field(default=5, ge=1, le=50, strict=True)
    """Rounds of search at each size of the picture; the first one's patches are larger by two for each round."""
    guide_weight: float = Field(default=10.0, ge=0, le=1e6, strict=True)
    """What a difference of the source frames counts against one of the drawn frames."""
    initialize: Literal["identity", "random"] = "identity"
    """Where the search begins: each pixel at its own place, or anywhere."""
    tracking: int = Field(default=0, ge=0, le=1000, strict=True)
    """So many neighbours in the batch, before and behind, lend their matches."""


class RateOptions(Plain):
    """Options of ``contrast`` and ``sharpness``."""

    rate: float = Field(default=1.5, ge=0, le=20, strict=True)
    """1 changes nothing, 0 takes it away altogether, above 1 adds to it."""
