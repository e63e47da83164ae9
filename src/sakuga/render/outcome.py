"""Outcome: what makes a result, where it and its report lie, and whether what is there is that result, whole.

Reads and hashes files; renders nothing and writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sakuga import __version__
from sakuga.errors import OutputError, OutputExists
from sakuga.render.hashes import sha256_of
from sakuga.render.plan import Plan
from sakuga.report import Report
from sakuga.report import report_path as report_path
from sakuga.spec.job import Job
from sakuga.spec.load import job_key
from sakuga.video.outputs import check_folder


def content_key(job: Job, plan: Plan, report: Report) -> str:
    """The hash of what makes the result: source bytes, the Job without paths and device, weights and the configs
    beside them, version.
    """
    made_of: dict[str, Any] = {
        "version": __version__,
        "source": plan.source.content_key,
        "clips": [clip.content_key for stage in plan.stages for clip in stage.clips],
        "job": job_key(job),
        "stages": [stage.settings.told() for stage in plan.stages],  # with what the base's own defaults filled in
        "models": sorted((model["sha256"], model["beside_sha256"] or "") for model in report.models),
        "adapters": [(adapter["sha256"], adapter["config_sha256"]) for adapter in report.adapters],
        "suffix": plan.output.suffix,
        "dtype": str(plan.where.dtype),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def free_name(output: Path) -> Path:
    """A name beside ``output`` for frames that were finished before a stop: ``<stem>-stopped``, numbered if need be."""
    names = (
        output.with_name(f"{output.stem}-stopped{n}{output.suffix}") for n in ("", *(f"-{i}" for i in range(2, 1000)))
    )
    return next(name for name in names if not name.exists())


def check_free(plan: Plan, known: dict[str, Any] | None) -> None:
    """Raise before any work if the output or its report would take the place of something that is not to be replaced.

    ``known`` is the report of a finished output (``finished``), which may turn out to be the result of this very Job.
    """
    output, report = plan.output, report_path(plan.output)
    used = [*filter(None, [plan.base]), *(path for stage in plan.stages for path in stage.files)]
    for place in (path for path in (output, plan.job.pictures) if path is not None and path.exists()):
        if place.samefile(plan.source.path):
            raise OutputError(
                "the output is the source itself", given=str(place), expected="another name", do="choose another name"
            )
        if any(path.exists() and place.samefile(path) for path in used):
            raise OutputError(
                "the output is one of the files that the job reads",
                given=str(place),
                expected="another name",
                do="choose another output",
            )
    if report.is_dir():
        raise OutputError(
            "the report has no place", given=f"{report} is a folder", expected="a free name", do="choose another output"
        )
    if plan.job.overwrite or known:
        return
    if plan.job.pictures is not None:
        check_folder(plan.job.pictures, overwrite=False)
    if output.exists():
        raise not_ours(output).at("output")
    if report.exists():
        raise OutputExists(
            "a file stands where the report would go",
            given=str(report),
            expected="a free name for the report beside the output",
            do="choose another output, or say --overwrite",
        )


def not_ours(output: Path) -> OutputExists:
    """The error for an output that is there and is not the finished result of the Job."""
    return OutputExists(
        "the output is there already, and it is not the finished result of this job",
        given=str(output),
        expected="a name that is free, or the result of the very same job",
        do="choose another output, or say --overwrite",
    )


def finished(plan: Plan) -> dict[str, Any] | None:
    """The report of an output that is there and whole, or None."""
    path = report_path(plan.output)
    if not plan.output.exists() or not path.is_file():
        return None
    if plan.job.pictures is not None and not plan.job.pictures.is_dir():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # a report that cannot be read proves nothing; the output then counts as somebody else's
    if not isinstance(known, dict) or known.get("status") != "rendered":
        return None  # what a stop has kept is a part
    return known if known.get("output_sha256") == sha256_of(plan.output) else None
