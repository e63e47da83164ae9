"""Settings: a Stage with every open question answered, by the user or else by the base's own defaults.

The one place where the two meet. Refuses to look at files; it only decides, and says what it decided for the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

from sakuga.errors import JobError
from sakuga.models.family import Defaults
from sakuga.render.samplers import Sampler, find_sampler
from sakuga.render.weights import Moment, at, block_factors, moves
from sakuga.report import Note
from sakuga.spec.job import Stage
from sakuga.spec.prompt import split_prompt, tags_left
from sakuga.spec.uses import ControlUse, LoraUse
from sakuga.spec.vary import Auto, Curve, Weight, format_weight

OFF = "none"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One pass over the clip, decided. ``motion`` and ``vae`` are names or paths; None: none, the base's own VAE.

    ``places`` says for each adapter where it was given: ``stages.0.adapters.1``, or ``stages.0.prompt`` by a tag.
    """

    prompt: str
    negative_prompt: str
    adapters: tuple[LoraUse, ...]
    places: tuple[str, ...]
    controls: tuple[ControlUse, ...]
    embeddings: tuple[str, ...]
    motion: str | None
    vae: str | None
    sampler: Sampler
    steps: int
    guidance: float
    strength: float
    clip_skip: int
    noise: Literal["frame", "shared", "zero"]
    window: int
    stride: int
    notes: tuple[Note, ...]

    def told(self) -> dict[str, Any]:
        """Plain data for the Report."""
        return {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "controls": [f"{use.kind}:{_number(use.scale)}" for use in self.controls],
            "motion": self.motion or OFF,
            "vae": self.vae,
            "sampler": self.sampler.name,
            "steps": self.steps,
            "guidance": self.guidance,
            "strength": self.strength,
            "clip_skip": self.clip_skip,
            "noise": self.noise,
            "window": self.window,
            "stride": self.stride,
        }


def settle(stage: Stage, defaults: Defaults, number: int = 0) -> Settings:
    """The settings of ``stage`` on a base with these defaults. Raises ``JobError`` for what cannot be done."""
    path = f"stages.{number}"
    decided: list[str] = []

    def own(field: str, default: Any) -> Any:
        given = getattr(stage, field)
        if given is not None:
            return given
        told = " ".join(_short(use) for use in default) or OFF if isinstance(default, tuple) else default
        decided.append(f"{field} {told}")
        return default

    prompt, tagged = split_prompt(stage.prompt)
    adapters = (*stage.adapters, *tagged)
    places = (*(f"{path}.adapters.{index}" for index in range(len(stage.adapters))), *[f"{path}.prompt"] * len(tagged))
    for use, place in zip(adapters, places, strict=True):
        for weight in (use.weight, use.text_encoder_weight):
            _check_weight(weight, place)
        _check_blocks(use, place)
    motion = stage.motion
    if motion == "auto":
        motion = defaults.motion or OFF
        decided.append(f"motion {motion}")
    parsed = tuple(ControlUse.parse(short) for short in defaults.controls)
    settings = Settings(
        prompt=prompt,
        negative_prompt=stage.negative_prompt,
        adapters=adapters,
        places=places,
        controls=own("controls", parsed),
        embeddings=stage.embeddings,
        motion=None if motion == OFF else motion,
        vae=stage.vae,
        sampler=find_sampler(own("sampler", defaults.sampler)),
        steps=own("steps", defaults.steps),
        guidance=own("guidance", defaults.guidance),
        strength=stage.strength,
        clip_skip=stage.clip_skip,
        noise=own("noise", defaults.noise),
        window=stage.window,
        stride=max(1, stage.window // 2) if stage.stride is None else stage.stride,
        notes=(),
    )
    notes = _read_as_words(settings, path) + _silent(settings, path, stage.model_fields_set)
    if decided:
        notes.append(Note(what=path, reason=f"left open, so the base's own: {', '.join(decided)}"))
    return replace(settings, notes=tuple(notes))


def _read_as_words(settings: Settings, path: str) -> list[Note]:
    """The tags that are none where they stand."""
    found = []
    for name in ("prompt", "negative_prompt"):
        for tag in tags_left(getattr(settings, name)):
            adapter = tag.startswith(("<lora:", "<lyco:"))  # in the prompt these have become adapters
            why = "counts in the prompt alone" if adapter else "is no tag that is known here"
            found.append(Note(what=f"{path}.{name}", reason=f"{tag} {why}; the model reads it as words"))
    return found


def _silent(settings: Settings, path: str, given: Collection[str]) -> list[Note]:
    """What was ``given`` and cannot have an effect, each with the reason."""
    found = []
    for use, place in zip(settings.adapters, settings.places, strict=True):
        start = at(use.weight, Moment())
        if use.steps is not None and use.steps[0] >= settings.steps:
            found.append(
                Note(what=place, reason=f"it acts from step {use.steps[0]} on, of {settings.steps}: without effect")
            )
        text = use.weight if use.text_encoder_weight is None else use.text_encoder_weight
        if isinstance(text, Curve) and (moves(use) or use.text_encoder_weight is not None):
            found.append(
                Note(
                    what=place,
                    reason=f"the prompt is read once: the text encoder has {at(text, Moment()):g}, as at the start",
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
    for index, control in enumerate(settings.controls):
        if control.scale == 0:
            found.append(Note(what=f"{path}.controls.{index}", reason="its scale is 0, so it has no effect"))
    if settings.negative_prompt and settings.guidance == 1:
        found.append(Note(what=f"{path}.negative_prompt", reason="guidance is 1, so it has no effect"))
    for name in ("window", "stride"):
        if name in given and settings.motion is None:
            found.append(Note(what=f"{path}.{name}", reason="there is no motion module, so it has no effect"))
    return found


def _check_weight(weight: Weight | None, path: str) -> None:
    if isinstance(weight, Auto):
        raise JobError(
            "automatic weights are not part of this version",
            given=f"{path}: {format_weight(weight)}",
            expected="a number, or a curve over the steps",
            do="give a number, such as 0.8",
        )


def _check_blocks(use: LoraUse, place: str) -> None:
    if use.blocks is None:
        return
    try:
        block_factors(use.blocks)
    except JobError as error:
        raise error.at(place if place.endswith("prompt") else f"{place}.blocks") from None


def _short(use: ControlUse) -> str:
    return f"{use.kind}:{_number(use.scale)}"


def _number(weight: Weight) -> str:
    return format_weight(weight) if isinstance(weight, Auto | Curve) else f"{weight:g}"
