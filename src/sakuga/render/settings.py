"""Settings: a Stage with every open question answered, by the user or else by the base's own defaults.

The one place where the two meet. Refuses to look at files; it only decides, and says what it decided for the user.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sakuga.errors import JobError
from sakuga.models.chunks import Style
from sakuga.models.family import Defaults
from sakuga.render.noise import Policy
from sakuga.render.samplers import Sampler, find_sampler
from sakuga.render.silent import read_as_words, silent
from sakuga.render.weights import block_factors
from sakuga.report import Note
from sakuga.spec.job import Stage
from sakuga.spec.prompt import split_prompt
from sakuga.spec.uses import ControlUse, LoraUse, SmootherUse
from sakuga.spec.vary import Auto, Curve, Weight, format_weight

OFF = "none"
FINISHED = -1  # in smooth_at: the frames that a Stage gives
FRAMES_AT_ONCE = 8  # through the UNet when no motion module asks for more


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
    noise: Policy
    window: int
    stride: int
    frames_at_once: int
    cross_frame: bool
    tile: int | None
    tile_stride: int
    smoothers: tuple[SmootherUse, ...]
    smooth_at: frozenset[int]
    prompt_style: Style
    notes: tuple[Note, ...]

    @property
    def looks_along_time(self) -> bool:
        """Whether frames influence one another within a window."""
        return self.motion is not None or self.cross_frame

    @property
    def smooths(self) -> bool:
        """Whether anything smooths its frames, at a step or when they are finished."""
        return bool(self.smoothers and self.smooth_at)

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
            "frames_at_once": self.frames_at_once,
            "cross_frame": self.cross_frame,
            "tile": self.tile,
            "tile_stride": self.tile_stride if self.tile else None,
            "smoothers": [use.model_dump(mode="json") for use in self.smoothers],
            "smooth_at": sorted(self.smooth_at),
            "prompt_style": self.prompt_style,
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

    prompt, tagged = split_prompt(stage.prompt) if stage.prompt_style == "a1111" else (stage.prompt, ())
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
        frames_at_once=stage.frames_at_once or FRAMES_AT_ONCE,
        cross_frame=stage.cross_frame,
        tile=stage.tile,
        tile_stride=stage.tile_stride or max(1, (stage.tile or 0) // 2),
        smoothers=stage.smoothers,
        smooth_at=frozenset(stage.smooth_at),
        prompt_style=stage.prompt_style,
        notes=(),
    )
    notes = read_as_words(settings, path) + silent(settings, path, stage.model_fields_set)
    if decided:
        notes.append(Note(what=path, reason=f"left open, so the base's own: {', '.join(decided)}"))
    return replace(settings, notes=tuple(notes))


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
