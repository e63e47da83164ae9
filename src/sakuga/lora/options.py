"""Options: what a caller says about how a stack is applied, and the Summary that it gets of it. Plain data."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sakuga.errors import SakugaError
from sakuga.lora.cache import Cache
from sakuga.lora.origin import Origin


def by_name(component: str, module: str) -> bool:
    """Whether a layer is one of a motion module, by AnimateDiff's name for them."""
    return component == "motion" or "motion_modules" in module.split(".")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a stack is applied. ``live``: leave the weights and add beside them, for weights that change often.
    ``motion`` tells layers whose input is [pixels, frames, channels]. ``cache`` keeps fused weights for the next time.
    ``origin`` gives pristine numbers again; they are read from there where copies have no room, or ``reread`` asks.
    Raises SakugaError for what is of another kind.
    """

    live: bool = False
    motion: Callable[[str, str], bool] = by_name
    cache: Cache | None = None
    origin: Origin | None = None
    reread: bool = False

    def __post_init__(self) -> None:
        if self.cache is not None and not isinstance(self.cache, Cache):
            raise _unlike("cache", self.cache, "a sakuga.lora.cache.Cache, or None")
        for what, given in (("motion", self.motion), ("origin", self.origin)):
            if not callable(given) and (what, given) != ("origin", None):
                raise _unlike(what, given, "a function, as the documentation of applied says")


def _unlike(what: str, given: object, expected: str) -> SakugaError:
    return SakugaError(
        f"{what} is of another kind", given=reprlib.repr(given), expected=expected, do=f"leave {what} out, or give that"
    )


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """Where pristine bytes of changed weights are, and why: ``way`` is "kept copy" or "reread from the file"."""

    way: str
    why: str
    tensors: int
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What an applied stack does at this moment. ``tensors`` are changed themselves, ``live`` layers add beside.
    ``fresh_bytes`` is memory that is taken for changed weights, ``factor_bytes`` for live layers. ``ways``: why tensors
    are fused or live, and how many. ``back``: where the pristine bytes of what is changed will come from. ``tied``
    names weights that more than one module holds: all change.
    """

    tensors: int
    live: int
    fresh_bytes: int
    factor_bytes: int
    ways: Mapping[str, int] = field(default_factory=dict)
    back: tuple[WayBack, ...] = ()
    tied: tuple[tuple[str, ...], ...] = ()
