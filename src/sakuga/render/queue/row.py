"""Row: one job of the queue as the file keeps it, and what stands in it for programs and people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sakuga.errors import JobError, SakugaError, error_of
from sakuga.report import Note
from sakuga.spec.load import Origin, Written, dump_job, load_job

WAITING, RUNNING, DONE, FAILED, CANCELLED = STATES = ("waiting", "running", "done", "failed", "cancelled")


class Row(NamedTuple):
    """A job of the queue. Times are in seconds since 1970 and only told, never compared."""

    number: int
    state: str
    source: str
    output: str
    job: str  # YAML
    origin: str | None  # JSON: the old config that the job was made from
    owner: str | None  # a word that no other run of a server has
    machine: str | None  # where the owner's process has its number
    process: int | None
    beat: int  # counted up by the owner as long as it is at work
    lease_seconds: float  # without a beat, after which the owner counts as dead
    stop: int  # 1: the owner is asked to stop
    tries: int  # how often it was begun
    lost: int  # how often of these the process died
    errors: str | None  # JSON: SakugaError.parts
    status: str | None  # of the report: rendered, there already
    report: str | None  # where the report lies
    added_at: float
    begun_at: float | None
    beat_at: float | None
    ended_at: float | None

    @property
    def written(self) -> Written:
        """The job itself. Raises JobError, Several where somebody has harmed it."""
        job = load_job(self.job + "\n")
        return Written(job=job, where=lambda place: f"job {self.number} of the queue", origin=self._origin())

    @property
    def error(self) -> SakugaError | None:
        """What went wrong with a job that failed."""
        return error_of(json.loads(self.errors)) if self.errors else None

    def as_json(self) -> dict[str, Any]:
        """The row as plain data. docs/decisions holds the shape."""
        names = ("number", "state", "source", "output", "tries", "status", "report")
        told: dict[str, Any] = {name: getattr(self, name) for name in names}
        told |= {"process": self.process, "machine": self.machine} if self.state == RUNNING else {}
        told["errors"] = json.loads(self.errors) if self.errors else []
        told |= {name: _moment(getattr(self, name)) for name in ("added_at", "begun_at", "beat_at", "ended_at")}
        return told

    def _origin(self) -> Origin | None:
        if self.origin is None:
            return None
        try:
            told = json.loads(self.origin)
            notes = tuple(Note(what=note["what"], reason=note["reason"]) for note in told["notes"])
            return Origin(config=told["config"], keys=tuple(told["keys"]), notes=notes)
        except (ValueError, LookupError, TypeError) as error:
            raise JobError("what the queue holds of the old config is harmed", given=repr(error)[:80]) from error


def texts_of(written: Written) -> tuple[str, str | None]:
    """The job and the old config that it was made from, as a Row keeps them.

    Of the job what was given alone, since the report tells what was given and has no effect.
    """
    job, origin = dump_job(written.job, defaults=False), written.origin
    if origin is None:
        return job, None
    notes = [{"what": note.what, "reason": note.reason} for note in origin.notes]
    told = {"config": origin.config, "keys": list(origin.keys), "notes": notes}
    return job, json.dumps(told, ensure_ascii=False, default=str)


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
