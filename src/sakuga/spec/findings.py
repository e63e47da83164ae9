"""From what pydantic says about a value to errors with advice: one JobError for each finding, with place and range.

Refuses to stop at the first finding, and to show a class name or a validator's name to anyone.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from sakuga.errors import JobError, SakugaError, nearest_name
from sakuga.spec.fields import Place, expected_at, spot

MOST_TOLD = 40  # more findings than this are counted, not told: the first ones are the cause of the rest
Where = Callable[[Place], str]


def findings_of(error: ValidationError, model: type[BaseModel], where: Where = lambda place: "") -> list[SakugaError]:
    """Every finding of ``error`` about ``model``; ``where`` says in words where a place of the job was written."""
    details = error.errors(include_url=False)
    findings: list[SakugaError] = [_finding(detail, model, where(detail["loc"])) for detail in details[:MOST_TOLD]]
    if len(details) > MOST_TOLD:
        findings.append(JobError(f"and {len(details) - MOST_TOLD} more findings of this kind"))
    return findings


def carried(error: JobError) -> PydanticCustomError:
    """``error`` in the form that pydantic collects, so that other findings are told beside it."""
    return PydanticCustomError("sakuga", "a finding", {"finding": error})


def shown(value: object) -> str:
    """A value as one would write it in a job file, shortened; text is quoted so that "50" is not 50."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def located(error: SakugaError, where: str | None) -> SakugaError:
    """The error, its advice now saying ``where`` the thing was written ("job.yaml, line 5", "--lora ink:50")."""
    if where:
        error.do = f"{error.do} ({where})" if error.do else f"change {where}"
    return error


def _told_at(finding: JobError, loc: Place, where: str) -> SakugaError:
    """A copy of ``finding``, about the field at ``loc``, or below it if the finding has a place of its own there.

    A copy, because pydantic may tell one and the same finding twice.
    """
    copy = type(finding)(
        finding.title, given=finding.given, expected=finding.expected, nearest=finding.nearest, do=finding.do
    )
    place = ".".join([*map(str, loc), *([finding.place] if finding.place else [])])
    return located(copy.at(place) if place else copy, where)


def _finding(detail: ErrorDetails, model: type[BaseModel], where: str) -> SakugaError:
    """One detail of pydantic's as a JobError."""
    loc = detail["loc"]
    carried_along = detail.get("ctx", {}).get("finding")
    if isinstance(carried_along, JobError):
        error = carried_along
    elif detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return _told_at(_unknown_name(model, loc), loc[:-1], where)
    elif detail["type"] == "missing":
        error = JobError("this is needed and not there", expected=_expected(model, loc))
    else:
        error = JobError(_title(detail["type"]), given=shown(detail["input"]), expected=_expected(model, loc))
    return _told_at(error, loc, where)


def _unknown_name(model: type[BaseModel], loc: Place) -> JobError:
    parent = spot(model, loc[:-1])
    known = tuple(parent.model.model_fields) if parent is not None and parent.model is not None else ()
    name = str(loc[-1])
    inner = [field for field in known if name in _inner_names(model, (*loc[:-1], field))]
    return JobError(
        f"there is no {name[:60]!r} here",
        given=name[:60],
        expected="one of " + ", ".join(known) if known else None,
        nearest=nearest_name(name, known),
        do=f"it belongs into {inner[0]}" if inner else None,
    )


def _inner_names(model: type[BaseModel], loc: Place) -> tuple[str, ...]:
    """The fields of the entries of a list of tables."""
    entry = spot(model, (*loc, 0))
    return tuple(entry.model.model_fields) if entry is not None and entry.model is not None else ()


def _expected(model: type[BaseModel], loc: Place) -> str | None:
    here = spot(model, loc)
    return expected_at(here) if here is not None else None


def _title(kind: str) -> str:
    """The sentence for a kind of finding, by pydantic's name of it."""
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return "outside its range"
    if kind == "finite_number":
        return "not a finite number"
    if kind == "too_short":
        return "too few entries"
    if kind == "too_long":
        return "too many entries"
    if kind == "literal_error":
        return "not one of the words that are known here"
    return "a value of the wrong kind"
