"""Presets: settings under a name, as a table. What the user says himself always counts; a preset fills in the rest.

``diffutoon`` and ``diffutoon-edit`` are the settings of the paper (Duan et al., "Diffutoon", 2024) and of its public
examples. The starter is made for one step from an empty latent, and draws toons with its adapters, so there
``on_starter`` takes the place of some values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sakuga.errors import JobError, nearest_name

Values = Mapping[str, Any]
STARTER = "starter"

_MAIN: dict[str, Any] = {
    "prompt": "best quality, perfect anime illustration",
    "negative_prompt": "verybadimagenegative_v1.3",
    "controls": ["lineart:0.5", "tile:0.5"],
    "sampler": "ddim",
    "steps": 10,
    "guidance": 7.0,
    "strength": 1.0,
    "clip_skip": 2,
    "noise": "frame",
    "window": 16,
    "stride": 8,
}
_BRANCH: dict[str, Any] = {
    **_MAIN,
    "controls": ["depth:0.5", "softedge:0.5"],
    "motion": "none",
    "steps": 20,
    "strength": 0.9,
    "clip_skip": 1,
    "noise": "shared",
    "window": 8,
    "stride": 4,
    "cross_frame": True,
    "frames_at_once": 8,
    "smoothers": ["fastblend:mode=fast:window=60"],
    "smooth_at": [4, 9, 14, 19],
}
_OVER_THE_BRANCH = {
    **_MAIN,
    "controls": [{"kind": "tile", "scale": 0.5}, {"kind": "lineart", "scale": 0.5, "source": "clip"}],
}
_FINE = {"steps": 20, "guidance": 3.0, "window": 32, "stride": 16, "smoothers": ["light"], "smooth_at": [-1]}
_STARTER: dict[str, Any] = {"steps": 1, "guidance": 1.0, "noise": "zero", "negative_prompt": ""}
_STYLE = {"prompt": "flat colours, clean ink lines", "adapters": ["celcomic:1", "ink:0.2"]}
_STARTER_MAIN = {**_STARTER, **_STYLE, "controls": ["lineart:1", "tile:1"]}
_STARTER_BRANCH = {  # its words know paint and drawings: away from a drawing colours grow deep and warm
    **_STARTER,
    "prompt": "flat paint",
    "negative_prompt": "line drawing",
    "guidance": 1.6,
    "controls": ["lineart:1", "tile:1"],  # it has no depth and no softedge
    "strength": 1.0,
    "smoothers": ["light"],
    "smooth_at": [-1],
}
_STARTER_OVER_THE_BRANCH = {
    **_STARTER_MAIN,
    "controls": [{"kind": "tile", "scale": 1.0}, {"kind": "lineart", "scale": 1.0, "source": "clip"}],
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """``stages``: the fields of each Stage; ``on_starter``: what takes their place on the starter."""

    title: str
    stages: tuple[Values, ...]
    on_starter: tuple[Values, ...]

    def values(self, base: str) -> tuple[dict[str, Any], ...]:
        """The fields of each Stage on a base."""
        more: tuple[Values, ...] = self.on_starter if base == STARTER else tuple({} for _ in self.stages)
        return tuple({**stage, **instead} for stage, instead in zip(self.stages, more, strict=True))


PRESETS: Mapping[str, Preset] = {
    "diffutoon": Preset(
        title="flat anime with the clip's own lines and colours, as in the paper: 10 steps, windows of 16",
        stages=(_MAIN,),
        on_starter=(_STARTER_MAIN,),
    ),
    "diffutoon-edit": Preset(
        title="the prompt decides the colours in a first stage, the second draws it as diffutoon does",
        stages=(_BRANCH, _OVER_THE_BRANCH),
        on_starter=(_STARTER_BRANCH, _STARTER_OVER_THE_BRANCH),
    ),
    "toon-fast": Preset(
        title="diffutoon in half the time: 5 steps, windows that overlap less",
        stages=({**_MAIN, "steps": 5, "stride": 12},),
        on_starter=(_STARTER_MAIN,),
    ),
    "toon-fine": Preset(
        title="diffutoon with more care: 20 steps, windows of 32, gentler guidance, light evened over time",
        stages=({**_MAIN, **_FINE},),
        on_starter=(_STARTER_MAIN,),
    ),
    "recolour": Preset(
        title="the clip as it is drawn, in the colours of the prompt: the first stage of diffutoon-edit alone",
        stages=(_BRANCH,),
        on_starter=({**_STARTER_BRANCH, "guidance": 1.3},),
    ),
}


def check_preset(name: str) -> str:
    """``name``, if there is such a preset. Raises JobError with the nearest name.

    >>> check_preset("diffutoon")
    'diffutoon'
    """
    if name not in PRESETS:
        raise JobError(
            "there is no such preset",
            given=name[:80],
            expected="one of " + ", ".join(PRESETS),
            nearest=nearest_name(name, PRESETS),
            do="sakuga presets says what is in each",
        )
    return name


def with_preset(data: Mapping[str, Any]) -> dict[str, Any]:
    """The plain data of a Job, what it leaves out filled in by its preset; as it is where there is none."""
    preset = PRESETS.get(str(data.get("preset")))
    given = data.get("stages", ())
    if preset is None or not isinstance(given, list | tuple):
        return dict(data)
    stages: list[Any] = list(given)
    values = preset.values(str(data.get("base", STARTER)))
    for number, fields in enumerate(values):
        if number == len(stages):
            stages.append(fields)
        else:
            stages[number] = _filled(stages[number], fields)
    return {**data, "stages": stages}


def _filled(stage: Any, fields: Values) -> Any:
    """A stage, as a table or as a record, with ``fields`` where it says nothing; what is neither stays."""
    if isinstance(stage, Mapping):
        return {**fields, **stage}
    if hasattr(stage, "model_fields_set"):
        return {**fields, **{name: getattr(stage, name) for name in stage.model_fields_set}}
    return stage
