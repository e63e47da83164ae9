"""Files of many jobs: one ``base`` job, and ``clips``, each a path or a table of what is different for this one.

    base: {preset: toon-fast, output: out}
    clips:
      - a.mp4
      - {source: b.mp4, seed: 3, stages.0.prompt: ink on paper}

The keys of such a table are paths as ``--set`` has them. Findings say the line that they come from, those about the
base once. Refuses to open anything but this file; relative paths follow the rule of ``beside.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sakuga.errors import JobError, SakugaError, Several, nearest_name, raise_all
from sakuga.spec.fields import Place
from sakuga.spec.findings import located, shown
from sakuga.spec.job import Job
from sakuga.spec.lines import Lines, read_lines
from sakuga.spec.load import Written, build, parsed, text_of, unshared, with_stages
from sakuga.spec.override import Override, parse_path, put, refuse_second

FOLDERS = ("output", "pictures")  # fields that, said for many clips, mean a folder in which each has a place
_KEYS = ("base", "clips")
_SHAPE = "base: (a table with fields of a job) and clips: (a list of paths and tables)"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A job of many. ``shared``: which of FOLDERS were said for all of them, not for this one."""

    written: Written
    shared: frozenset[str] = field(default_factory=frozenset)


def read_jobs(path: Path, overrides: Sequence[str | Override] = ()) -> list[Listed]:
    """The jobs of a file, one for each clip in its order, with ``overrides`` put over all of them.

    Raises JobError or Several for everything that is wrong with the content, FileProblem for the file.
    """
    lines = read_lines(text_of(path), path.name)
    flags, findings = parsed(overrides)
    findings = [*lines.findings, *findings]
    clips = _clips(lines)
    flagged = {str(flag.place[0]) for flag in flags if flag.place[0] in FOLDERS}
    listed = []
    for number in range(len(clips)):
        try:
            listed.append(_listed(lines, number, flags, flagged, path.parent))
        except SakugaError as error:
            findings += error.findings if isinstance(error, Several) else (error,)
    raise_all(list({str(finding): finding for finding in findings}.values()))
    return listed


def _clips(lines: Lines) -> list[Any]:
    """The list of clips. Raises JobError where the file has another shape."""
    data = lines.data
    if not isinstance(data, dict):
        raise JobError(f"{lines.name} is no file of many jobs", given=shown(data), expected=_SHAPE)
    if unknown := next((key for key in data if key not in _KEYS), None):
        single = unknown in Job.model_fields
        raise located(
            JobError(
                f"{unknown[:60]!r} belongs into base" if single else f"there is no {unknown[:60]!r} here",
                given=unknown[:60],
                expected=_SHAPE,
                nearest=None if single else nearest_name(unknown, _KEYS),
                do=f"a single job is rendered by: sakuga render {lines.name}" if "clips" not in data else None,
            ),
            lines.where((unknown,)),
        )
    base, clips = data.get("base", {}), data.get("clips")
    if not isinstance(base, dict):
        error = JobError("base is not a job", given=shown(base), expected="a table with fields of a job")
        raise located(error, lines.where(("base",)))
    if not isinstance(clips, list) or not clips:
        error = JobError("there are no clips", given=shown(clips), expected="clips: [a.mp4, {source: b.mp4, seed: 3}]")
        raise located(error, lines.where(("clips",)))
    return clips


def _listed(lines: Lines, number: int, flags: list[Override], flagged: set[str], folder: Path) -> Listed:
    """The job of one clip. Raises JobError, Several."""
    assert isinstance(lines.data, dict)
    own = _own(lines, number)
    data: dict[str, Any] = unshared(lines.data.get("base", {}))  # type: ignore[assignment]
    data = with_stages(data, [*own.values(), *flags])
    where = {place[1:]: line for place, line in lines.lines.items() if place[:1] == ("base",)}
    taken, findings = list[Override](), list[SakugaError]()
    for place, override in own.items():
        try:
            refuse_second(override, taken)
            put(data, override)
        except JobError as error:
            findings.append(error)
            continue
        taken.append(override)
        end = len(override.place)
        where = {old: line for old, line in where.items() if old[:end] != override.place}
        inner = ((old[len(place) :], line) for old, line in lines.lines.items() if old[: len(place)] == place)
        where |= {(*override.place, *rest): line for rest, line in inner}
    where[()] = lines.lines["clips", number]
    written = build(Lines(name=lines.name, data=data, lines=where, findings=tuple(findings)), flags, folder)
    base = set(lines.data.get("base", {})) - {str(override.place[0]) for override in taken}
    return Listed(written=written, shared=frozenset((base | flagged) & set(FOLDERS)))


def _own(lines: Lines, number: int) -> dict[Place, Override]:
    """What the file says of one clip alone, by the place where it says so."""
    assert isinstance(lines.data, dict)
    here: Place = ("clips", number)
    entry, told = lines.data["clips"][number], lines.where(here)
    if isinstance(entry, str):
        return {here: Override(place=("source",), value=entry, told=told)}
    if not isinstance(entry, dict) or not entry:
        expected = "a path, or a table: {source: b.mp4, seed: 3}"
        raise located(JobError("this is no clip", given=shown(entry), expected=expected), told)
    return {
        (*here, key): Override(place=parse_path(key), value=unshared(value), told=lines.where((*here, key)))
        for key, value in entry.items()
    }
