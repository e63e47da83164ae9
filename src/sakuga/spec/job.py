"""Job and Stage: everything that a user asks for, with its defaults and its help in one place.

Strict, frozen, plain and hashable. The docstring under a field is the help of its flag, so it is written for the
reader of ``--help``. Refuses contradictions at once; whether files exist and fit is for ``Studio.check`` to say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PlainSerializer, model_validator

from sakuga.errors import JobError
from sakuga.spec.fields import Flag
from sakuga.spec.findings import carried, shown
from sakuga.spec.numbers import as_range, range_text
from sakuga.spec.plain import FilePath, Name, Plain, Prompt, before, check, reader
from sakuga.spec.presets import check_preset, with_preset
from sakuga.spec.prompt import parse_emphasis, split_prompt
from sakuga.spec.size import Size, as_size
from sakuga.spec.uses import ControlUse, LoraUse, SmootherUse

LARGEST_SEED = 2**63 - 1
WORST_QUALITY = 63


def _moment(number: int) -> int:
    if not -1 <= number <= 999:
        expected = "a step from 0 to 999, or -1 for the finished frames"
        raise JobError("smoothers cannot run then", given=str(number), expected=expected)
    return number


class Stage(Plain):
    """One pass over the clip. What is left out (None) is the base's own default; the report tells which that was."""

    prompt: Annotated[Prompt, Flag(metavar="TEXT")] = ""
    """What the result looks like. Emphasis as in A1111, (word:1.2) [word] \\(, and <lora:name:0.8> tags."""
    negative_prompt: Annotated[Prompt, Flag(metavar="TEXT")] = ""
    """What the result shall not look like."""
    adapters: Annotated[tuple[LoraUse, ...], Flag(names=("--lora",), metavar="NAME[:WEIGHT]")] = ()
    """An adapter and its weight, by name or path; may be given several times. WEIGHT: 0.8, 0->1@steps or a pair
    TE:UNET; :lbw=OUTD (blocks), :start=2:stop=6 (steps) and :te=0.5 may follow."""
    controls: Annotated[tuple[ControlUse, ...] | None, Flag(names=("--control",), metavar="KIND[:SCALE]")] = None
    """A control drawn from every frame, such as lineart:0.7 or tile; may be given several times. The base's own set
    when left out; none at all with --set stages.0.controls=[]"""
    prompt_style: Literal["a1111", "plain"] = "a1111"
    """How prompts are read: a1111 (emphasis and tags) or plain (every sign is text, and long prompts are cut every 77
    tokens, as DiffSynth 1.x did)."""
    embeddings: Annotated[tuple[Name, ...], Flag(names=("--embedding",), metavar="NAME")] = ()
    """A textual inversion, by name or path, that prompts call by its name; may be given several times."""
    motion: Annotated[Name, before(lambda value: "auto" if value is None else value), Flag(metavar="NAME")] = "auto"
    """The motion module that makes neighbouring frames agree: auto (the base's own if it has one), none, or a name or
    path."""
    vae: Annotated[Name | None, Flag(metavar="NAME")] = None
    """Another VAE for the base, by name or path."""
    sampler: Annotated[Name | None, Flag(metavar="NAME")] = None
    """The function that walks from noise to picture: ddim, euler, dpmpp_2m or lcm."""
    steps: Annotated[int | None, Flag(metavar="N")] = Field(default=None, ge=1, le=1000, strict=True)
    """Steps of the sampler; a smaller strength walks as many, over a shorter way."""
    guidance: Annotated[float | None, Flag(metavar="X")] = Field(default=None, ge=0, le=100, strict=True)
    """How strongly the prompt pulls (classifier-free guidance); 1 is without."""
    strength: Annotated[float, Flag(metavar="X")] = Field(default=1.0, gt=0, le=1, strict=True)
    """How much is drawn anew: 1 starts from noise alone, small values stay near the source's own pixels."""
    clip_skip: Annotated[int, Flag(metavar="N")] = Field(default=1, ge=1, le=12, strict=True)
    """Which layer of the text encoder is read, counted from its end: 1 is the last, 2 the one before."""
    noise: Literal["frame", "shared", "zero", "diffsynth1"] | None = None
    """Noise to start from: frame (each frame its own), shared (one for all), zero (none) or diffsynth1 (drawn for the
    whole clip at once as DiffSynth 1.x did; the clip must fit one span)."""
    window: Annotated[int, Flag(metavar="N")] = Field(default=16, ge=1, le=32, strict=True)
    """Frames that the motion module sees at once."""
    stride: Annotated[int | None, Flag(metavar="N")] = Field(default=None, ge=1, le=32, strict=True)
    """Frames from one window to the next, not more than the window; half the window when left out."""
    frames_at_once: Annotated[int | None, Flag(metavar="N")] = Field(default=None, ge=1, le=1000, strict=True)
    """Frames in one call of the UNet where there is no motion module; as the program thinks best when left out."""
    cross_frame: bool = Field(default=False, strict=True)
    """Lets the frames of one call of the UNet look at each other, so that they agree without a motion module."""
    tile: Annotated[int | None, Flag(metavar="N")] = Field(default=None, ge=8, le=4096, strict=True)
    """Works through large pictures in overlapping tiles of N latents (8 pixels each) a side, which needs less memory;
    whole when left out."""
    tile_stride: Annotated[int | None, Flag(metavar="N")] = Field(default=None, ge=1, le=4096, strict=True)
    """Latents from one tile to the next, not more than the tile; half the tile when left out."""
    size: Annotated[
        Annotated[Size, reader(as_size), PlainSerializer(str)] | None,
        Flag(names=("--stage-size",), metavar="WxH"),
    ] = None
    """Size at which this stage works, inside the job's shape: a first stage that only finds the colours may be small.
    The job's own when left out."""
    smoothers: Annotated[tuple[SmootherUse, ...], Flag(names=("--smoother",), metavar="KIND[:OPTION=VALUE]")] = ()
    """What evens out flicker: light (options window, strength), fastblend (mode, window, batch, patch, iterations,
    guide_weight, initialize, tracking), contrast or sharpness (rate), such as fastblend:mode=accurate:window=15; may be
    given several times, then one after the other. When it runs is for smooth_at to say."""
    smooth_at: Annotated[tuple[Annotated[int, Field(strict=True), check(_moment)], ...], Flag(metavar="N")] = ()
    """When the smoothers run: a step, counted from 0, or -1 for the finished frames; may be given several times."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        try:
            if self.stride is not None and self.stride > self.window:
                given = f"stride {self.stride}, window {self.window}"
                error = JobError("windows would leave frames out", given=given, expected="stride at most window")
                raise error.at("stride")
            if self.tile is not None and self.tile_stride is not None and self.tile_stride > self.tile:
                given = f"tile_stride {self.tile_stride}, tile {self.tile}"
                error = JobError("tiles would leave parts out", given=given, expected="tile_stride at most tile")
                raise error.at("tile_stride")
            if self.prompt_style == "a1111":
                for text in (split_prompt(self.prompt)[0], self.negative_prompt):
                    parse_emphasis(text)
        except JobError as error:
            raise carried(error) from None
        return self


def as_quality(value: object) -> int | str:
    """A quality from a number or the word. Raises JobError."""
    if value == "lossless":
        return "lossless"
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= WORST_QUALITY:
        return value
    expected = f"a whole number from 0 (best) to {WORST_QUALITY}, or lossless"
    raise JobError("this is no quality", given=shown(value), expected=expected)


def _at_most_two(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    if len(stages) > 2:
        raise JobError("a job has at most two stages", given=f"{len(stages)}", expected="0, 1 or 2")
    return stages


class Job(Plain):
    """A clip and what shall become of it.

    >>> Job(source="clip.mp4", stages=[{"prompt": "flat colours", "adapters": ["ink:0.8"]}]).output_for(picture=False)
    PosixPath('clip-toon.mp4')
    """

    source: FilePath
    """The clip: a video, a picture or a folder of pictures; demo is the clip that comes with the package. In a job file
    a relative path is taken from the file's own folder if it exists there, otherwise from the working directory."""
    base: Annotated[Name, Flag(metavar="NAME")] = "starter"
    """The base model, by name or path."""
    preset: Annotated[Annotated[Name, check(check_preset)] | None, Flag(metavar="NAME")] = None
    """Settings under a name, which fill in what is left out: diffutoon, diffutoon-edit, toon-fast, toon-fine or
    recolour; sakuga presets says what is in each."""
    stages: Annotated[tuple[Stage, ...], check(_at_most_two)] = (Stage(),)
    """One or two passes, or none ([]), which leaves the frames as they are; the flags of the command line speak of the
    first."""
    output: Annotated[FilePath | None, Flag(names=("-o", "--output"), metavar="FILE")] = None
    """Where the result goes, from the working directory; the source's name with -toon when left out."""
    codec: Literal["h264", "vp9", "av1", "prores", "ffv1"] | None = None
    """How a video is encoded; when left out h264, and in .webm vp9."""
    quality: Annotated[
        Annotated[int | Literal["lossless"], before(as_quality)] | None,
        Flag(metavar="N"),
    ] = None
    """How well a video is encoded: a number as the codec counts it, 0 being the best, or lossless; when left out what
    no eye tells from the frames (h264 16, vp9 18, av1 24)."""
    seed: Annotated[int, Flag(metavar="N")] = Field(default=0, ge=0, le=LARGEST_SEED, strict=True)
    """What the noise is drawn from: the same seed, the same picture."""
    size: Annotated[
        Annotated[Size, reader(as_size), PlainSerializer(str)] | None,
        Flag(metavar="WxH"),
    ] = None
    """Size of the result: what fits into 384x216, or 256 for the short side alone; the source's own when left out. Its
    shape is kept."""
    frames: Annotated[
        Annotated[tuple[int, int | None], reader(as_range), PlainSerializer(range_text)] | None,
        Flag(metavar="FIRST:END"),
    ] = None
    """The frames to render, END not among them; all when left out."""
    crop: bool = Field(default=False, strict=True)
    """Fill the size exactly, and cut off evenly what stands over, instead of keeping the source's shape."""
    fps: Annotated[float | None, Flag(metavar="X")] = Field(default=None, gt=0, le=1000, strict=True)
    """Frames a second of the result; the source's own times when left out. At another speed the sound is left out."""
    pictures: Annotated[FilePath | None, Flag(metavar="DIR")] = None
    """A folder that gets every finished frame as a PNG too: 0.png, 1.png …"""
    held: Literal["once", "each"] = "once"
    """Frames that do not change (held drawings, still screens): drawn once, or each with noise of its own. Where
    weights change over frames, each is drawn in any case."""
    watch: Annotated[FilePath | None, Flag(metavar="FILE")] = None
    """A small .mkv that grows as frames are finished and can be watched meanwhile; it has no sound."""
    device: Annotated[Name, Flag(metavar="NAME")] = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1 or mps."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """The number format of the networks."""
    span: Annotated[int, Flag(metavar="N")] = Field(default=48, ge=1, le=10_000, strict=True)
    """Most frames that are rendered together and in memory at once."""
    overwrite: bool = Field(default=False, strict=True)
    """Replace an output that is there already."""
    models: Annotated[tuple[FilePath, ...], Flag(metavar="DIR")] = ()
    """One more folder to look for names in; may be given several times."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: object) -> object:
        return with_preset(data) if isinstance(data, dict) and data.get("preset") is not None else data

    def output_for(self, *, picture: bool) -> Path:
        """Where the result goes: ``output``, or ``<source>-toon.mp4`` (picture: ``.png``) in the working directory."""
        if self.output is not None:
            return self.output
        stem = self.source.stem or self.source.resolve().name or "clip"
        return Path(f"{stem}-toon{'.png' if picture else '.mp4'}")
