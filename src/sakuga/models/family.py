"""Family: how one kind of model is called, built and used, as data. No weights, no files.

Defaults are what a run does when the user says nothing; a bundle's own ``sakuga.json`` may replace each of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sakuga.errors import FileProblem, SakugaError, Several, nearest_name
from sakuga.models.schedule import Schedule
from sakuga.spec.job import Stage


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
        known = [field.name for field in dataclasses.fields(self)]
        for key, value in given.items():
            if key not in known:
                raise FileProblem(
                    f"{source} sets a default that does not exist",
                    given=key,
                    expected=", ".join(known),
                    nearest=nearest_name(key, known),
                )
            if expected := _unlike_a_stage(key, value, may_be_none=getattr(self, key) is None):
                raise FileProblem(
                    f"{source} sets a default that no stage can have",
                    given=f"{key}: {value!r}"[:80],
                    expected=expected,
                    do=f"correct {source}",
                )
        ready: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
        }
        return dataclasses.replace(self, **ready)


def _unlike_a_stage(key: str, value: object, *, may_be_none: bool) -> str | None:
    """What would have to stand in the place of ``value`` for a Stage to take it; None if it does."""
    if value is None:
        return None if may_be_none else "a value, or no such entry"
    try:
        fields: dict[str, Any] = {key: value}
        Stage(**fields)
    except SakugaError as error:
        finding = error.findings[0] if isinstance(error, Several) else error
        return finding.expected or finding.title
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        return "controls in short form, such as tile:0.5"
    return None


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
