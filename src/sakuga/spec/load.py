"""Job files: YAML or JSON to a Job and back, with all findings at once, each with its line and the nearest name.

Relative paths in a job file follow the one rule of ``beside.py``. Refuses to open anything but the job file itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sakuga.errors import FileProblem, JobError, SakugaError, Several, nearest_file, raise_all
from sakuga.report import Note
from sakuga.spec.beside import beside
from sakuga.spec.diffutoon import is_old
from sakuga.spec.fields import Place
from sakuga.spec.findings import findings_of, located, shown
from sakuga.spec.job import Job
from sakuga.spec.lines import FLOAT, INTEGER, LARGEST_BYTES, Lines, read_lines
from sakuga.spec.override import Override, parse_path, put, refuse_second
from sakuga.spec.presets import with_preset

JOB_ENDINGS = (".yaml", ".yml", ".json")
_NOT_THE_RESULT = {"source", "models", "output", "overwrite", "device", "pictures", "watch"}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The old config that a Job comes from: ``config`` as given, its ``keys`` with what became of each, notes."""

    config: dict[str, Any]
    keys: tuple[dict[str, str], ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """A Job, and where each part of it was written: "job.yaml, line 5", "--lora ink:0.8", or None for a default.

    ``origin`` is there if it was made from an old config.
    """

    job: Job
    where: Callable[[Place], str | None]
    origin: Origin | None = None

    def located(self, error: SakugaError) -> SakugaError:
        """An error that a check or a render raised about this Job, each finding saying where its cause was written."""
        for finding in error.findings if isinstance(error, Several) else (error,):
            if finding.place:
                located(finding, self.where(parse_path(finding.place)))
        return error


def is_job_file(text: str | Path) -> bool:
    """Whether this names a job file, by its ending."""
    return str(text).lower().endswith(JOB_ENDINGS)


def is_old_file(text: str | Path) -> bool:
    """Whether a job file holds an old config of Diffutoon instead of a job. What cannot be read is none."""
    path = Path(text)
    try:
        return path.is_file() and is_old(read_lines(text_of(path), path.name).data)
    except SakugaError:
        return False


def load_job(path_or_text: Path | str, overrides: Sequence[str | Override] = ()) -> Job:
    """The Job of a file or of YAML text, with ``overrides`` ("stages.0.steps=8") put over it in their order.

    A Path is a file; a str is a file if it has no line break and ends in .yaml, .yml or .json, otherwise it is the text
    itself. Raises JobError or Several for everything that is wrong with the content, FileProblem for the file.

    >>> load_job("source: clip.mp4\\nstages: [{adapters: [ink:0.8]}]", ["stages.0.steps=8"]).stages[0].steps
    8
    """
    return read_job(path_or_text, overrides).job


def read_job(path_or_text: Path | str, overrides: Sequence[str | Override] = ()) -> Written:
    """As ``load_job``, together with where each part was written."""
    if not isinstance(path_or_text, str | Path):
        raise JobError(
            "this is neither a job file nor the text of one",
            given=repr(path_or_text)[:80],
            expected="a path, or YAML text",
            do='write load_job("job.yaml"), or Job(source="clip.mp4", …) for a job made in Python',
        )
    if isinstance(path_or_text, Path) or (is_job_file(path_or_text) and "\n" not in path_or_text):
        path = Path(path_or_text)
        lines = read_lines(text_of(path), path.name)
        if is_old(lines.data):
            raise _old(path)
        if isinstance(lines.data, dict) and "clips" in lines.data:
            raise _many(path)
        return build(lines, overrides, path.parent)
    return build(read_lines(path_or_text, "the job"), overrides, None)


def make_job(source: str, overrides: Sequence[str | Override] = ()) -> Written:
    """The Job for a source without a job file: all defaults, with ``overrides`` over them. Raises JobError, Several."""
    given = Lines(name="the command line", data={"source": source}, lines={}, findings=())
    return build(given, overrides, None)


def check_is_job(value: object) -> None:
    """Raise JobError, with what makes a Job of it, for something that is given in the place of one."""
    if isinstance(value, Job):
        return
    made = 'Job(source="clip.mp4", …), or load_job("job.yaml")'
    if isinstance(value, str | Path):
        made = f"load_job({str(value)!r})" if is_job_file(value) else f"Job(source={str(value)!r})"
    elif isinstance(value, dict):
        made = "Job(**…) with what stands in it"
    raise JobError("this is not a Job", given=repr(value)[:80], expected="a Job", do=f"give {made}")


def dump_job(job: Job, *, defaults: bool = True) -> str:
    """YAML that ``load_job`` reads back as an equal Job, every default written out, or only what was given."""
    plain = job.model_dump(mode="json", exclude_unset=not defaults)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def job_key(job: Job) -> dict[str, object]:
    """What of a Job makes its result, as plain data: all but where things lie, replacing them, and the device."""
    return job.model_dump(mode="json", exclude=_NOT_THE_RESULT)


def build(given: Lines, overrides: Sequence[str | Override], folder: Path | None) -> Written:
    """Data and overrides to a Job; everything that is wrong is told together. Raises JobError, Several.

    ``folder``: that of the job file, in which relative paths are looked for first.
    """
    findings = list(given.findings)
    data = unshared(given.data)
    if not isinstance(data, dict):
        expected = "at least the line: source: clip.mp4"
        raise JobError(f"{given.name} is not a job", given=shown(given.data), expected=expected)
    overrides, unread = parsed(overrides)
    findings += unread
    data = with_stages(data, overrides)
    taken: dict[Place, Override] = {}
    for override in overrides:
        try:
            refuse_second(override, reversed(taken.values()))
            put(data, override)
            taken[override.place] = override
        except JobError as error:
            if not error.place or all((one.place, one.title) != (error.place, error.title) for one in findings):
                findings.append(error)

    def flag_at(place: Place) -> str | None:
        return next((taken[place[:end]].told for end in range(len(place), 0, -1) if place[:end] in taken), None)

    try:
        job = Job.model_validate(data)
    except ValidationError as error:
        raise_all([*findings, *findings_of(error, Job, lambda place: flag_at(place) or given.where(place))])
        raise
    raise_all(findings)
    if folder is not None:
        job = beside(folder, job, lambda *place: flag_at(place) is None)
    return Written(job=job, where=lambda place: flag_at(place) or given.line_of(place))


def parsed(given: Sequence[str | Override]) -> tuple[list[Override], list[SakugaError]]:
    """The overrides, and what is wrong with those that are none."""
    found, findings = [], list[SakugaError]()
    for item in given:
        try:
            found.append(item if isinstance(item, Override) else Override.parse(item))
        except JobError as error:
            findings.append(error)
    return found, findings


def with_stages(data: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """``data`` with the stages of the preset that it or a flag names, so that stages.1.steps leads there."""
    said = {override.place[0]: override.value for override in overrides if override.place in (("preset",), ("base",))}
    filled: dict[str, Any] = unshared(with_preset({**data, **said}))  # type: ignore[assignment]
    return {**data, "stages": filled["stages"]} if "stages" in filled else data


def unshared(value: object) -> object:
    """A copy in which no two places share one list or table, as YAML's aliases make them."""
    if isinstance(value, dict):
        return {key: unshared(inner) for key, inner in value.items()}
    return [unshared(inner) for inner in value] if isinstance(value, list) else value


def text_of(path: Path) -> str:
    """The text of a job file, not more than a job may have. Raises FileProblem, JobError."""
    if not path.is_file():
        raise _no_such_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise FileProblem("the job file cannot be read", given=f"{path}: {error.strerror}") from None
    if len(content) > LARGEST_BYTES:
        given = f"{path.name}, {path.stat().st_size:,} bytes"
        raise JobError("the file is too large for a job", given=given, expected=f"at most {LARGEST_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig").replace("\t", " " if path.suffix.lower() == ".json" else "\t")
    except UnicodeDecodeError as error:
        given = f"{path.name}, byte {error.start} is not UTF-8"
        raise JobError("the job file is not text", given=given, expected="YAML or JSON in UTF-8") from None


def _old(path: Path) -> JobError:
    return JobError(
        "this is a config of Diffutoon (DiffSynth 1.x), not a job",
        given=path.name,
        expected="a job file",
        do=f"sakuga render {path.name} takes it as it is; sakuga convert {path.name} -o job.yaml writes the job",
    )


def _many(path: Path) -> JobError:
    return JobError(
        "this is a file of many jobs, not a job",
        given=path.name,
        expected="a job file",
        do=f"sakuga render --jobs {path.name}",
    )


def _no_such_file(path: Path) -> FileProblem:
    if path.is_dir():
        return FileProblem("a folder, not a job file", given=str(path), expected="a .yaml, .yml or .json file")
    if path.exists():
        return FileProblem("not an ordinary file", given=str(path), expected="a .yaml, .yml or .json file")
    folder = path.parent
    names = [inner.name for inner in folder.iterdir() if is_job_file(inner)] if folder.is_dir() else []
    nearest = nearest_file(path.name, names)
    return FileProblem(
        "there is no such job file",
        given=str(path),
        expected="a .yaml, .yml or .json file",
        nearest=str(folder / nearest) if nearest else None,
        do="give the path of a job file, or of a clip",
    )


class _Dumper(yaml.SafeDumper):
    """Quotes every text that would be read back as something else, also by the rules of YAML 1.2."""


for _tag, _pattern in (("float", FLOAT), ("int", INTEGER)):
    _Dumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern.pattern})$"), list("-+.0123456789")
    )
