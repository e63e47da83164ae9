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
from sakuga.spec.findings import carried
from sakuga.spec.numbers import as_range, range_text
from sakuga.spec.plain import FilePath, Name, Plain, Prompt, before, check, reader
from sakuga.spec.prompt import parse_emphasis, split_prompt
from sakuga.spec.size import Size, as_size
from sakuga.spec.uses import ControlUse, LoraUse

LARGEST_SEED = 2**63 - 1


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
    noise: Literal["frame", "shared", "zero"] | None = None
    """Noise to start from: frame (each frame its own), shared (one for all) or zero (none)."""
    window: Annotated[int, Flag(metavar="N")] = Field(default=16, ge=1, le=32, strict=True)
    """Frames that the motion module sees at once."""
    stride: Annotated[int | None, Flag(metavar="N")] = Field(default=None, ge=1, le=32, strict=True)
    """Frames from one window to the next, not more than the window; half the window when left out."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        try:
            if self.stride is not None and self.stride > self.window:
                given = f"stride {self.stride}, window {self.window}"
                raise JobError("windows would leave frames out", given=given, expected="stride at most window")
            for text in (split_prompt(self.prompt)[0], self.negative_prompt):
                parse_emphasis(text)
        except JobError as error:
            raise carried(error) from None
        return self


def _one_or_two(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    if not 1 <= len(stages) <= 2:
        raise JobError("a job has one or two stages", given=f"{len(stages)}", expected="1 or 2")
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
    stages: Annotated[tuple[Stage, ...], check(_one_or_two)] = (Stage(),)
    """One or two passes; the flags of the command line speak of the first."""
    output: Annotated[FilePath | None, Flag(names=("-o", "--output"), metavar="FILE")] = None
    """Where the result goes, from the working directory; the source's name with -toon when left out."""
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

    def output_for(self, *, picture: bool) -> Path:
        """Where the result goes: ``output``, or ``<source>-toon.mp4`` (picture: ``.png``) in the working directory."""
        if self.output is not None:
            return self.output
        stem = self.source.stem or self.source.resolve().name or "clip"
        return Path(f"{stem}-toon{'.png' if picture else '.mp4'}")
