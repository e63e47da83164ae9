"""Plan: a Job with every name turned into a path and every question answered. A check gives it, a render follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sakuga.models.device import Placement
from sakuga.render.annotators import Annotator
from sakuga.render.settings import Settings
from sakuga.render.smoothing import Smoothing
from sakuga.spec.job import Job
from sakuga.spec.uses import ControlUse


@dataclass(frozen=True, kw_only=True)
class ControlClip:
    """A clip that a control is drawn from, other than the job's own: its ``frames``, one for each of the job's."""

    path: Path
    frames: range
    content_key: str


@dataclass(frozen=True, kw_only=True)
class ControlPlan:
    """A control as it will be used: what draws its pictures, where its network is, and a clip of its own or None.

    ``networks``: the files that the annotator draws with, in the order of its own; none: it draws alone.
    """

    use: ControlUse
    annotator: Annotator
    path: Path
    networks: tuple[Path | None, ...] = ()
    clip: ControlClip | None = None

    @property
    def drawn_by(self) -> str:
        """What draws the pictures, for the Report."""
        return " + ".join(path.name for path in self.networks if path is not None) or str(self.annotator.alone)


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """A Stage with its files. ``adapters`` are in the order of ``settings.adapters``; ``motion``, ``vae`` or None.

    ``size``: (width, height) at which it works.
    """

    settings: Settings
    adapters: tuple[Path, ...]
    controls: tuple[ControlPlan, ...]
    embeddings: tuple[Path, ...]
    motion: Path | None
    vae: Path | None
    smoothings: tuple[Smoothing, ...] = ()
    size: tuple[int, int] = (0, 0)

    @property
    def clips(self) -> tuple[ControlClip, ...]:
        """The clips that controls bring along."""
        return tuple(control.clip for control in self.controls if control.clip is not None)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file and folder that it reads."""
        more = (path for path in (self.motion, self.vae) if path is not None)
        clips = (clip.path for clip in self.clips)
        networks = (path for control in self.controls for path in control.networks if path is not None)
        controls = (control.path for control in self.controls)
        return (*self.adapters, *controls, *networks, *self.embeddings, *more, *clips)


@dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """The clip: the chosen ``frames``, the ``size`` (width, height) of the result, and the sha256 of its bytes."""

    path: Path
    frames: range
    size: tuple[int, int]
    picture: bool
    content_key: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a render will do."""

    job: Job
    source: SourcePlan
    output: Path
    base: Path | None  # None where there is no Stage
    stages: tuple[StagePlan, ...]
    where: Placement
