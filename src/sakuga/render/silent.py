"""What a Stage says and what has no effect: words that are no tags, weights of 0, windows that nothing looks through.

Each becomes a Note with its reason, so that nobody waits for a change that cannot come. Decides nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from sakuga.render.weights import Moment, at, block_factors
from sakuga.report import Note
from sakuga.spec.prompt import tags_left
from sakuga.spec.vary import Curve

if TYPE_CHECKING:
    from sakuga.render.settings import Settings

_STRESSED = re.compile(r"\([^()]*:\s*[0-9.]+\s*\)")  # A1111's (word:1.2)


def read_as_words(settings: Settings, path: str) -> list[Note]:
    """The tags that are none where they stand."""
    found = []
    for name in ("prompt", "negative_prompt"):
        text = getattr(settings, name)
        if settings.prompt_style == "plain":
            for sign in (*tags_left(text), *_STRESSED.findall(text)):
                found.append(
                    Note(what=f"{path}.{name}", reason=f"{sign} is read as words, because prompt_style is plain")
                )
            continue
        for tag in tags_left(text):
            adapter = tag.startswith(("<lora:", "<lyco:"))  # in the prompt these have become adapters
            why = "counts in the prompt alone" if adapter else "is no tag that is known here"
            found.append(Note(what=f"{path}.{name}", reason=f"{tag} {why}; the model reads it as words"))
    return found


def silent(settings: Settings, path: str, given: Collection[str]) -> list[Note]:
    """What was ``given`` and cannot have an effect, each with the reason."""
    found = _silent_adapters(settings, path)
    for index, control in enumerate(settings.controls):
        if control.scale == 0:
            found.append(Note(what=f"{path}.controls.{index}", reason="its scale is 0, so it has no effect"))
    if settings.negative_prompt and settings.guidance == 1:
        found.append(Note(what=f"{path}.negative_prompt", reason="guidance is 1, so it has no effect"))
    for name in ("window", "stride"):
        if name in given and not settings.looks_along_time:
            found.append(Note(what=f"{path}.{name}", reason="there is no motion module, so it has no effect"))
    if settings.motion is not None and not settings.cross_frame and "frames_at_once" in given:
        reason = "a motion module sees a whole window at once, so it has no effect"
        found.append(Note(what=f"{path}.frames_at_once", reason=reason))
    if settings.cross_frame and min(settings.frames_at_once, settings.window) == 1:
        name = "frames_at_once" if settings.frames_at_once == 1 else "window"
        reason = f"{name} is 1, so a frame sees itself alone: without effect"
        found.append(Note(what=f"{path}.cross_frame", reason=reason))
    if "tile_stride" in given and settings.tile is None:
        found.append(Note(what=f"{path}.tile_stride", reason="there is no tile, so it has no effect"))
    return found + _silent_smoothers(settings, path)


def _silent_smoothers(settings: Settings, path: str) -> list[Note]:
    found = []
    if settings.smoothers and not settings.smooth_at:
        reason = "smooth_at says no time to run, so they have no effect; -1 smooths the finished frames"
        found.append(Note(what=f"{path}.smoothers", reason=reason))
    if settings.smooth_at and not settings.smoothers:
        found.append(Note(what=f"{path}.smooth_at", reason="there are no smoothers, so it has no effect"))
    for late in sorted(step for step in settings.smooth_at if step >= settings.steps):
        reason = f"step {late} of {settings.steps} (counted from 0) never comes; -1 smooths the finished frames"
        found.append(Note(what=f"{path}.smooth_at", reason=reason))
    return found


def _silent_adapters(settings: Settings, path: str) -> list[Note]:
    found = []
    for use, place in zip(settings.adapters, settings.places, strict=True):
        start = at(use.weight, Moment())
        if use.steps is not None and use.steps[0] >= settings.steps:
            found.append(
                Note(
                    what=place,
                    reason=f"it acts from step {use.steps[0]} on, and the last is {settings.steps - 1}, because steps "
                    "count from 0: without effect",
                )
            )
        if settings.steps == 1 and isinstance(use.weight, Curve) and use.weight.over == "steps":
            found.append(Note(what=place, reason=f"a curve over a single step stays at its start, {start:g}"))
        elif use.weight == 0 and use.text_encoder_weight in (0, None):
            found.append(Note(what=place, reason="its weight is 0, so it has no effect"))
        if use.blocks is not None and not any(block_factors(use.blocks).values()):
            found.append(Note(what=place, reason="all its block weights are 0, so it has no effect on the blocks"))
    for file, count in Counter(use.file for use in settings.adapters).items():
        if count > 1:
            found.append(Note(what=f"{path}.adapters", reason=f"{file} is there {count} times; the weights add up"))
    return found
