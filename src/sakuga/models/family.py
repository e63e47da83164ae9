"""Family: how one kind of model is called, built and used, as data. No weights, no files.

Defaults are what a run does when the user says nothing; a bundle's own ``sakuga.json`` may replace each of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sakuga.errors import FileProblem, nearest_name
from sakuga.models.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a Stage does where it says nothing. ``controls`` in short form ("tile:0.5"); ``motion``: a name, or None.

    ``prompt`` and ``negative_prompt`` are words that the model was trained with, for those who do not know what to say.
    """

    sampler: str
    steps: int
    guidance: float
    noise: str
    controls: tuple[str, ...] = ()
    motion: str | None = None
    prompt: str = ""
    negative_prompt: str = ""

    def replaced(self, given: Mapping[str, Any], source: str) -> Defaults:
        """These defaults with those of a ``sakuga.json``. Raises FileProblem for unknown or odd ones."""
        for key, value in given.items():
            if key not in _KINDS:
                raise FileProblem(
                    f"{source} sets a default that does not exist",
                    given=key,
                    expected=", ".join(_KINDS),
                    nearest=nearest_name(key, _KINDS),
                )
            if not isinstance(value, _KINDS[key]) or isinstance(value, bool):
                raise FileProblem(f"{source} sets a default of the wrong kind", given=f"{key}: {value!r}")
        ready: dict[str, Any] = {
            key: tuple(map(str, value)) if isinstance(value, list) else value for key, value in given.items()
        }
        return dataclasses.replace(self, **ready)


_KINDS: Mapping[str, tuple[type, ...]] = {
    "sampler": (str,),
    "steps": (int,),
    "guidance": (int, float),
    "noise": (str,),
    "controls": (list,),
    "motion": (str, type(None)),
    "prompt": (str,),
    "negative_prompt": (str,),
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of model. ``heads``: attention heads of UNets without a config. ``scaling_factor``: of its VAE.

    ``schedule`` is for pictures; ``motion_schedule`` for a motion module that was trained for the family at large.
    """

    name: str
    title: str
    heads: int
    scaling_factor: float
    defaults: Defaults
    schedule: Callable[..., Schedule]
    motion_schedule: Callable[..., Schedule]
