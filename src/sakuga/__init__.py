"""Turns real video into anime and comic video, with any stack of LoRAs.

These are the public names; each is brought in when it is first asked for, so that ``import sakuga`` costs next to
nothing and reading a job never loads the engines. Everything else in the package may change without notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sakuga.errors import (
        AdapterDoesNotFit,
        ClipError,
        DeviceError,
        FileProblem,
        InUse,
        JobError,
        OutputError,
        OutputExists,
        SakugaError,
        Several,
        Stopped,
        UnknownFile,
        UnreadableFile,
    )
    from sakuga.lora.load import load_lora
    from sakuga.lora.stack import Stack
    from sakuga.progress import Progress
    from sakuga.render.studio import Studio
    from sakuga.report import Report
    from sakuga.spec.job import Job, Stage
    from sakuga.spec.load import load_job
    from sakuga.spec.uses import ControlUse, LoraUse, SmootherUse

__version__ = "0.1.0"

__all__ = [
    "AdapterDoesNotFit",
    "ClipError",
    "ControlUse",
    "DeviceError",
    "FileProblem",
    "InUse",
    "Job",
    "JobError",
    "LoraUse",
    "OutputError",
    "OutputExists",
    "Progress",
    "Report",
    "SakugaError",
    "Several",
    "SmootherUse",
    "Stack",
    "Stage",
    "Stopped",
    "Studio",
    "UnknownFile",
    "UnreadableFile",
    "load_job",
    "load_lora",
]

_HOMES = {
    "ControlUse": "sakuga.spec.uses",
    "Job": "sakuga.spec.job",
    "LoraUse": "sakuga.spec.uses",
    "Progress": "sakuga.progress",
    "Report": "sakuga.report",
    "SmootherUse": "sakuga.spec.uses",
    "Stack": "sakuga.lora.stack",
    "Stage": "sakuga.spec.job",
    "Studio": "sakuga.render.studio",
    "load_job": "sakuga.spec.load",
    "load_lora": "sakuga.lora.load",
}  # every other public name is an error


def __getattr__(name: str) -> object:
    """The public name ``name`` from the module where it lives."""
    if name not in __all__:
        raise AttributeError(f"module 'sakuga' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES.get(name, "sakuga.errors")), name)
    globals()[name] = value  # the next time it is found without this function
    return value


def __dir__() -> list[str]:
    """The public names, so that completion shows them before they are loaded."""
    return [*__all__, "__version__"]
