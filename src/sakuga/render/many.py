"""Many clips: which ones are meant, where each result goes, and rendering one after the other.

One clip's failure stops none of the others. Refuses two results under one name, and to render what it writes itself.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sakuga.errors import JobError, OutputError, SakugaError, Stopped, raise_all, refused
from sakuga.progress import Listener, Progress
from sakuga.report import SCHEMA, Report
from sakuga.spec.beside import absolute
from sakuga.spec.job import Job
from sakuga.spec.load import Written
from sakuga.spec.many import Listed
from sakuga.video.folder import natural_order
from sakuga.video.outputs import CONTAINERS, PICTURES_OUT
from sakuga.video.pictures import PICTURE_SUFFIXES

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".ogv", ".3gp", ".mxf", ".gif"),
)
FAILED, STOPPED, CANCELLED, NOT_BEGUN = "failed", "stopped", "cancelled", "not begun"
_STOPPED_PART = re.compile(r"-stopped(-\d+)?$")  # as outcome.free_name numbers them
Draw = Callable[[Written, Progress], Report]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one clip: its report, an error, or neither where it was not begun."""

    source: Path
    output: Path | None
    status: str  # that of the report, or one of FAILED, STOPPED, CANCELLED, NOT_BEGUN
    report: Report | None = None
    error: SakugaError | None = None

    @classmethod
    def of(cls, source: Path | str, output: Path | str | None, result: Report | SakugaError) -> Outcome:
        """From what ``attempt`` gave, or ``Stopped``."""
        report, error = (result, None) if isinstance(result, Report) else (None, result)
        status = report.status if report else STOPPED if isinstance(error, Stopped) else FAILED
        told = Path(output) if output is not None else None
        return cls(source=Path(source), output=told, status=status, report=report, error=error)

    def as_json(self) -> dict[str, Any]:
        """The report as plain data, or what stands in its place. docs/decisions holds the shape."""
        if self.report is not None:
            return self.report.as_json()
        errors = self.error.parts() if self.error else []
        output = str(self.output) if self.output else None
        return {"schema": SCHEMA, "status": self.status, "source": str(self.source), "output": output, "errors": errors}


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder that holds no pictures, in natural order; none for another folder, or what is none."""
    if not folder.is_dir():
        return []
    files = [file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file()]
    if any(file.suffix.lower() in PICTURE_SUFFIXES for file in files):
        return []
    return sorted((file for file in files if file.suffix.lower() in VIDEO_SUFFIXES), key=natural_order)


def placed(listed: Sequence[Listed]) -> list[Written]:
    """The jobs, each with its own output: the name that the source alone would give it, in the folder said for all.

    Makes those folders. Raises JobError, Several for results that would have one name, OutputError.
    """
    written = [_placed(one) for one in listed]
    _check_apart([one.job for one in written])
    folders = {
        path.parent
        for one, done in zip(listed, written, strict=True)
        for name in one.shared
        if (path := getattr(done.job, name)) is not None
    }
    for folder in sorted(folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"the folder {folder} cannot be made",
                given=error.strerror,
                expected="a folder for the results",
                do="choose another",
            ) from error
    return written


def rooted(jobs: Iterable[Written]) -> list[Written]:
    """The jobs as they mean the same from every working directory, each with its output."""
    placed = (_placed(Listed(written=written)) for written in jobs)
    return [replace(written, job=absolute(Path.cwd(), written.job)) for written in placed]


def without_results(listed: Sequence[Listed]) -> tuple[list[Listed], list[Path]]:
    """The jobs but those whose source is where the result of another one goes, and the sources left out.

    So that rendering all clips of a folder into the same folder twice does not render the results of the first time.
    """
    results = {_key(output) for one in listed if (output := _placed(one).job.output)}

    def is_result(source: Path) -> bool:
        stems = (source.stem, _STOPPED_PART.sub("", source.stem))
        return any(_key(source.parent / (stem + source.suffix)) in results for stem in stems)

    left = [one.written.job.source for one in listed if is_result(one.written.job.source)]
    return [one for one in listed if one.written.job.source not in left], left


def each(
    jobs: Sequence[Written],
    draw: Draw,
    progress: Progress,
    shown: Callable[[], AbstractContextManager[Listener]],
) -> Iterator[Outcome]:
    """Draw one job after the other and give what became of each; after a stop, that the rest was not begun.

    ``progress`` carries the wish to stop; ``shown`` opens what listens to one job.
    """
    for written in jobs:
        job = written.job
        if progress.stop_asked:
            yield Outcome(source=job.source, output=job.output, status=NOT_BEGUN)
            continue
        progress.about = f"{job.source.name}: "
        result: Report | SakugaError
        with shown() as progress.listener:
            try:
                result = attempt(draw, written, progress)
            except Stopped as stopped:
                result = stopped
        yield Outcome.of(job.source, job.output, result)


def attempt(draw: Draw, written: Written, progress: Progress) -> Report | SakugaError:
    """What ``draw`` gives, or what went wrong. A bug of ours shows its traceback and counts as an error of this job.

    Raises Stopped.
    """
    try:
        return draw(written, progress)
    except Stopped:
        raise
    except SakugaError as error:
        return written.located(error)
    except OSError as error:
        return refused(error)
    except Exception as error:
        traceback.print_exc()
        return SakugaError(
            f"a mistake of the program, or no memory: {type(error).__name__}: {error}"[:300],
            given=str(written.job.source),
            do="the traceback is above; render this one alone, smaller or with a smaller span, to see whether it stays",
        )


def alike(errors: Iterable[tuple[str, SakugaError]]) -> list[tuple[list[str], SakugaError]]:
    """Errors that say the same, put together: the names of those that have it, and the error."""
    found: dict[str, tuple[list[str], SakugaError]] = {}
    for name, error in errors:
        found.setdefault(error.told(), ([], error))[0].append(name)
    return list(found.values())


def _placed(one: Listed) -> Written:
    job = one.written.job
    changes: dict[str, object] = {}
    output = job.output
    if output is None or "output" in one.shared:
        if output is not None and output.suffix.lower() in (*CONTAINERS, *PICTURES_OUT):
            error = JobError(
                "many clips have no place in one file",
                given=str(output),
                expected="a folder: a name without suffix",
                nearest=str(output.parent / output.stem),
            )
            raise one.written.located(error.at("output"))
        picture = job.source.suffix.lower() in PICTURE_SUFFIXES and not job.source.is_dir()
        name = job.model_copy(update={"output": None}).output_for(picture=picture)
        changes["output"] = output = (output or Path()) / name
    if "pictures" in one.shared and job.pictures is not None:
        changes["pictures"] = job.pictures / output.stem
    return replace(one.written, job=job.model_copy(update=changes)) if changes else one.written


def _check_apart(jobs: Sequence[Job]) -> None:
    """Raise JobError, Several where results, or their reports, would have one name."""
    taken: dict[str, Job] = {}
    findings = list[SakugaError]()
    for job in jobs:
        assert job.output is not None
        for name, path in (("result", job.output.parent / job.output.stem), ("pictures", job.pictures)):
            if path is None:
                continue
            first = taken.setdefault(_key(path), job)
            if first is not job:
                findings.append(
                    JobError(
                        f"two clips would write to one place: {job.output if name == 'result' else path}",
                        given=f"{first.source} and {job.source}",
                        expected="a name of its own for each result, apart from the suffix",
                        do="rename one, or give each its own output in a file for --jobs",
                    )
                )
    raise_all(findings)


def _key(path: Path) -> str:
    return os.path.normcase(os.path.abspath(path))
