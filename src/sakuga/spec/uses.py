"""How a job uses an adapter or a control: a name with a weight, and the short forms that people type.

Refuses to look for the files: a name stays a name until the library is asked. Short forms:

    NAME                    ink
    NAME:WEIGHT             ink:0.8 · ink:auto@0.8 · ink:0->1@frames · ink:0:0, 0.5:1 (a comma makes it one curve)
    NAME:TE:UNET            ink:0.5:0.8 — text encoder first, as A1111 writes it (adapters only)
    NAME:WEIGHT:OPTION=…    ink:0.8:lbw=OUTD:start=3 — see ``options`` (adapters only)
    KIND:SCALE              lineart:0.7 (controls)
    KIND:OPTION=…           fastblend:mode=accurate:window=15 (smoothers)

No weight has a slash or an ending such as .safetensors in it, so all up to the last of them is the name, colons too:
``C:\\ink.safetensors:0.8``, ``clip:2/ink``. Any other name with a colon needs the long form.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, PlainSerializer, model_validator

from sakuga.errors import JobError
from sakuga.spec.findings import carried
from sakuga.spec.numbers import as_range, range_text
from sakuga.spec.options import Option, as_blocks, as_options, named_options, smoother_options
from sakuga.spec.plain import MODEL_ENDINGS, Name, Plain, as_path, reader
from sakuga.spec.vary import Auto, Curve, Weight, as_weight, format_weight, parse_weight

_ENDINGS = "|".join(map(re.escape, MODEL_ENDINGS))
_TIMES = re.compile(r"[0-9]s\s*:")  # a curve over time, such as 0s:0->2s:1
_SURELY_NAME = re.compile(rf".*(?:[\\/]|(?:{_ENDINGS})(?=\s*(?::|$)))", re.IGNORECASE | re.DOTALL)


def _as_scale(value: object) -> float | Curve:
    weight = as_weight(value)
    if isinstance(weight, Auto):
        raise JobError("a control cannot be balanced", given="auto", expected="a number or a curve")
    return weight


def _plain(weight: Weight) -> float | str:
    return format_weight(weight) if isinstance(weight, Auto | Curve) else weight


SOURCES = ("stage", "clip")


def _as_source(value: object) -> Path | str:
    return value if isinstance(value, str) and value in SOURCES else as_path(value)


def _source_text(source: Path | str) -> str:
    """The text that ``_as_source`` reads back, also for a folder that is called clip."""
    return f"./{source}" if isinstance(source, Path) and str(source) in SOURCES else str(source)


AnySource: TypeAlias = Annotated[Path | Literal["stage", "clip"], reader(_as_source), PlainSerializer(_source_text)]
AnyOptions: TypeAlias = Annotated[tuple[tuple[str, Option], ...], reader(as_options), PlainSerializer(dict)]
AnyWeight: TypeAlias = Annotated[float | Auto | Curve, reader(as_weight), PlainSerializer(_plain)]
AnyBlocks: TypeAlias = Annotated[str, reader(as_blocks)]
AnySteps: TypeAlias = Annotated[tuple[int, int | None], reader(as_range), PlainSerializer(range_text)]
AnyScale: TypeAlias = Annotated[float | Curve, reader(_as_scale), PlainSerializer(_plain)]


class Short(Plain):
    """A record that may be written as a short text wherever the long form may stand."""

    short_form: ClassVar[str]

    @classmethod
    def parts(cls, text: str) -> dict[str, object]:
        """The fields of the long form, from the short one. Raises JobError."""
        raise NotImplementedError

    @classmethod
    def parse(cls, text: str) -> Self:
        """The record from its short form. Raises JobError."""
        return cls(**cls.parts(text))

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, value: object) -> object:
        try:
            if isinstance(value, str):
                return cls.parts(value)
            if isinstance(value, dict) and len(value) == 1 and not set(value) & set(cls.model_fields):
                raise _space_behind_colon(value, cls.short_form)
        except JobError as error:
            raise carried(error) from None
        return value


class LoraUse(Short):
    """An adapter with its weights.

    >>> LoraUse.parse("celcomic:0.8").weight
    0.8
    """

    short_form: ClassVar[str] = "NAME[:WEIGHT]"

    file: Name
    """Name in the library, or path of the adapter file."""
    weight: AnyWeight = 1.0
    """How strongly it changes the UNet, and the text encoder too unless that has its own weight."""
    text_encoder_weight: AnyWeight | None = None
    """How strongly it changes the text encoder; the same as weight when left out."""
    blocks: AnyBlocks | None = None
    """Factors of the weight by block: a preset (OUTD …), a list of 12, 17, 20, 26 or 61 numbers as block-weight tools
    write it, or a table ({M00: 0.5}, {down: 0.5, mid: 1})."""
    steps: AnySteps | None = None
    """The steps at which it acts, FIRST:END from 0, END not among them; all when left out."""
    alpha: Literal["file", "ignored"] = "file"
    """Whether the file's alpha counts: file (each change is weight · alpha / rank) or ignored (weight alone, as
    DiffSynth 1.x took it)."""

    @classmethod
    def parts(cls, text: str) -> dict[str, object]:
        """``ink:0.8``, ``ink:0.5:0.8`` (text encoder, UNet), ``ink:0.8:lbw=OUTD`` as fields. Raises JobError."""
        name, rest = _split_name(text)
        if rest is None:
            return {"file": name}
        items, named = named_options(rest.split(":"), text)
        fields = {"file": name} | (cls._weights(":".join(items), text) if items else {})
        text_encoder, unet = named.pop("te", None), named.pop("unet", None)
        if unet is not None and "text_encoder_weight" not in fields:
            fields["text_encoder_weight"] = fields.get("weight", 1.0)  # A1111: unet= leaves the text encoder's alone
        if text_encoder is not None:
            fields["text_encoder_weight"] = text_encoder
        if unet is not None or (text_encoder is not None and not items):
            fields["weight"] = unet if unet is not None else text_encoder  # A1111: the image model follows te=
        if fields.get("text_encoder_weight") == fields.get("weight", 1.0):
            fields.pop("text_encoder_weight", None)
        return fields | named

    @classmethod
    def _weights(cls, rest: str, text: str) -> dict[str, object]:
        """The fields of what stands behind the name and has no name itself."""
        if "," in rest or ":" not in rest or _TIMES.search(rest):
            return {"weight": _weight(rest, text)}
        text_encoder, *unet = rest.split(":")
        if len(unet) != 1:
            do = "write it in the long form: {file: …, weight: …, text_encoder_weight: …}"
            raise JobError("more colons than NAME:TE:UNET has", given=text[:80], expected=cls.short_form, do=do)
        return {"weight": parse_weight(unet[0]), "text_encoder_weight": parse_weight(text_encoder)}


class ControlUse(Short):
    """A control picture drawn from every frame, that holds the render to what is there.

    >>> ControlUse.parse("lineart:0.7").scale
    0.7
    """

    short_form: ClassVar[str] = "KIND[:SCALE]"

    kind: Name
    """Which annotator draws the picture: tile, lineart, canny …"""
    scale: AnyScale = 1.0
    """How strongly it holds; 0 does nothing."""
    file: Name | None = None
    """Name or path of the ControlNet; the base's own of this kind when left out."""
    start: float = Field(default=0.0, ge=0, le=1, strict=True)
    """Share of the steps before it begins to hold."""
    end: float = Field(default=1.0, ge=0, le=1, strict=True)
    """Share of the steps after which it lets go."""
    source: AnySource = "stage"
    """What its pictures are drawn from: stage (the frames that this stage works on), clip (the job's own source, also
    in a second stage), or the path of another video or folder of pictures, of the same size and count."""
    frames: AnySteps | None = None
    """The frames of that other video or folder, FIRST:END from 0, END not among them; all when left out."""

    @classmethod
    def parts(cls, text: str) -> dict[str, object]:
        """``lineart:0.7`` as fields. Raises JobError."""
        name, rest = _split_name(text)
        return {"kind": name} if rest is None else {"kind": name, "scale": parse_weight(rest)}

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start >= self.end:
            given = f"start {self.start}, end {self.end}"
            raise carried(JobError("a control ends before it starts", given=given, expected="start below end"))
        if self.frames is not None and not isinstance(self.source, Path):
            given = f"frames {range_text(self.frames)} of {self.source}"
            expected = "frames only beside a source that is a path"
            do = "choose frames for the whole job, or give the control a source of its own"
            raise carried(
                JobError("a control takes the frames that the job takes", given=given, expected=expected, do=do)
            )
        return self


class SmootherUse(Short):
    """Something that evens out flicker in rendered frames, with its options.

    >>> SmootherUse.parse("fastblend:mode=accurate:window=15").options
    (('mode', 'accurate'), ('window', 15))
    """

    short_form: ClassVar[str] = "KIND[:OPTION=VALUE]"

    kind: Name
    """Which smoother: light, fastblend, contrast or sharpness."""
    options: AnyOptions = ()
    """Its options by name, such as {mode: accurate, window: 15}; each smoother has its own."""

    @classmethod
    def parts(cls, text: str) -> dict[str, object]:
        """``fastblend:window=15`` as fields. Raises JobError."""
        name, rest = _split_name(text)
        return {"kind": name} if rest is None else {"kind": name, "options": smoother_options(rest, text)}


def _weight(rest: str, text: str) -> Weight:
    """The weight of an adapter, where words may stand that are still of its name."""
    try:
        return parse_weight(rest)
    except JobError as error:
        if rest.strip()[:1].isalpha() and error.nearest is None:
            long_form = f"--set 'stages.0.adapters=[{{file: \"{text[:60]}\"}}]'"
            error.do = f"a name with a colon takes its ending, {text[:60]}.safetensors, or the long form, {long_form}"
        raise


def _split_name(text: str) -> tuple[str, str | None]:
    """The name and what follows its colon, None without a colon."""
    found = _SURELY_NAME.match(text)
    skip = found.end() if found else 0
    name, colon, rest = text[skip:].partition(":")
    name = (text[:skip] + name).strip()
    if not name or (colon and not rest.strip()):
        raise JobError("a name or its weight is empty", given=f'"{text[:80]}"', expected="NAME or NAME:WEIGHT")
    return name, rest if colon else None


def _space_behind_colon(table: dict[object, object], short_form: str) -> JobError:
    (name, weight), *_ = table.items()
    nearest = f"{name}:{weight}" if isinstance(weight, str | int | float) else None
    title = "this is neither the short nor the long form"
    return JobError(title, given=f"{name}: {weight}"[:80], expected=f"{short_form} without a space", nearest=nearest)
