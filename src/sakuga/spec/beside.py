"""Where relative paths of a job file point: beside the job file if it exists there, otherwise the working directory.

The rule holds for ``source`` (of the job and of controls) and ``models``, and for bases, adapters and other parts that
are written as paths: with a slash, or with an ending such as .safetensors. Plain names (``ink``) are never looked for
here; the library finds them.
``output``, and whatever a flag gave, belongs to the working directory. Only asks whether files exist.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sakuga.spec.job import Job, Stage
from sakuga.spec.plain import MODEL_ENDINGS
from sakuga.spec.uses import ControlUse, LoraUse

DEMO = "demo"  # the source that is the clip in the package, unless there is a file of that name


class FromFile(Protocol):
    """Whether the value at a place of the Job was written in the job file, not in a flag."""

    def __call__(self, *place: str | int) -> bool: ...


def beside(folder: Path, job: Job, from_file: FromFile) -> Job:
    """``job`` with the paths that exist in ``folder``, the job file's own, told from there."""
    changes: dict[str, object] = {
        "stages": tuple(
            _stage(folder, stage, lambda *place, number=number: from_file("stages", number, *place))
            for number, stage in enumerate(job.stages)
        ),
        "models": tuple(
            _there(folder, path) if from_file("models", number) else path for number, path in enumerate(job.models)
        ),
    }
    if from_file("source"):
        changes["source"] = _there(folder, job.source)
    if from_file("base"):
        changes["base"] = _part(folder, job.base)
    return job.model_copy(update=changes)


def absolute(folder: Path, job: Job) -> Job:
    """``job`` as it means the same from every working directory: what is relative is told from ``folder``.

    That holds for clips, outputs and folders whether they exist or not, for parts of models if they do. ``models`` in
    ``folder``, where names are looked for too, is among the job's own. The word demo stays.
    """
    job = beside(folder, job, lambda *place: True)
    models = [_rooted(folder, path) for path in job.models]
    if (here := folder / "models").is_dir() and here not in models:
        models.append(here)
    changes: dict[str, object] = {"models": tuple(models)}
    for name in ("source", "output", "pictures"):
        path = getattr(job, name)
        if path is not None and (name != "source" or str(path) != DEMO):
            changes[name] = _rooted(folder, path)
    return job.model_copy(update=changes)


def _rooted(folder: Path, path: Path) -> Path:
    return folder / (path.expanduser() if str(path).startswith("~/") else path)


def _stage(folder: Path, stage: Stage, from_file: Callable[..., bool]) -> Stage:
    def use(kind: str, number: int, given: LoraUse | ControlUse) -> LoraUse | ControlUse:
        found: dict[str, object] = {}
        if given.file is not None and from_file(kind, number, "file"):
            found["file"] = _part(folder, given.file)
        if isinstance(source := getattr(given, "source", None), Path) and from_file(kind, number, "source"):
            found["source"] = _there(folder, source)
        return given.model_copy(update=found) if found else given

    changes: dict[str, object] = {
        "adapters": tuple(use("adapters", number, given) for number, given in enumerate(stage.adapters)),
        "embeddings": tuple(
            _part(folder, name) if from_file("embeddings", number) else name
            for number, name in enumerate(stage.embeddings)
        ),
    }
    if stage.controls is not None:
        changes["controls"] = tuple(use("controls", number, given) for number, given in enumerate(stage.controls))
    for name in ("motion", "vae"):
        if (given := getattr(stage, name)) is not None and from_file(name):
            changes[name] = _part(folder, given)
    return stage.model_copy(update=changes)


def _part(folder: Path, name: str) -> str:
    """A part of a model: a path if it is written as one, else the name as it is."""
    written_as_path = "/" in name or "\\" in name or name.lower().endswith(MODEL_ENDINGS)
    return str(_there(folder, Path(name))) if written_as_path else name


def _there(folder: Path, path: Path) -> Path:
    path = path.expanduser() if str(path).startswith("~/") else path
    if path.is_absolute():
        return path
    try:
        return folder / path if (folder / path).exists() else path
    except OSError:  # too long a name, a loop of links: told when the file is opened
        return path
