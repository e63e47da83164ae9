"""Plan: a Job with every name turned into a path and every question answered. A check gives it, a render follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sakuga.models.device import Placement
from sakuga.render.annotators import Annotator
from sakuga.render.settings import Settings
from sakuga.spec.job import Job
from sakuga.spec.uses import ControlUse


@dataclass(frozen=True, kw_only=True)
class ControlPlan:
    """A control as it will be used: what draws its pictures, and where its network is."""

    use: ControlUse
    annotator: Annotator
    path: Path


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """A Stage with its files. ``adapters`` are in the order of ``settings.adapters``; ``motion``, ``vae`` or None."""

    settings: Settings
    adapters: tuple[Path, ...]
    controls: tuple[ControlPlan, ...]
    embeddings: tuple[Path, ...]
    motion: Path | None
    vae: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file and folder that it reads."""
        more = (path for path in (self.motion, self.vae) if path is not None)
        return (*self.adapters, *(control.path for control in self.controls), *self.embeddings, *more)


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
    base: Path
    stages: tuple[StagePlan, ...]
    where: Placement
