"""An axis of a grid: a field of the Job and the values that it takes, as people write them on a command line.

``lora.celcomic=0:1:0.25`` is a weight from 0 to 1 in steps of 0.25, ``control.tile=0.3,0.6`` a scale, ``lora=celcomic,
ink+flat,none`` which adapters, ``seed=1,2,3`` or ``stages.1.prompt=red|blue`` any field. A ``|`` between values takes
the place of the comma. Refuses to know what a field means: the Job says what it may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import PurePath

from sakuga.errors import JobError, SakugaError, nearest_name
from sakuga.spec.fields import spot
from sakuga.spec.job import Job, Stage
from sakuga.spec.override import Override, put

MOST_VALUES = 100
_EXPECTED = "FIELD=VALUES: lora.celcomic=0:1:0.25, lora=ink,none, control.tile=0.3,0.6, seed=1,2 or steps=4,8"
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """``name`` as given, and the ``values`` as text, each for one row or column."""

    flag: str
    name: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, flag: str) -> Axis:
        """From ``FIELD=VALUES``; raises JobError."""
        name, equals, listed = text.partition("=")
        name = name.strip()
        if not equals or not name or not listed.strip():
            raise JobError("this is no axis", given=f"{flag} {text[:60]}", expected=_EXPECTED)
        values = _range(listed, f"{flag} {text[:60]}") or tuple(
            part.strip() for part in listed.split("|" if "|" in listed else ",")
        )
        if len(values) > MOST_VALUES:
            raise JobError(
                "too many values for an axis", given=f"{len(values)} in {flag}", expected=f"at most {MOST_VALUES}"
            )
        twice = next((value for number, value in enumerate(values) if value in values[:number]), None)
        if twice is not None:
            raise JobError("a value of an axis is given twice", given=f"{flag} {name}: {twice}", do="leave one out")
        return cls(flag=flag, name=name, values=values)

    def applied(self, job: Job, value: str) -> Job:
        """``job`` with one value of this axis. Raises JobError."""
        data = job.model_dump(mode="json", exclude_unset=True)
        stages = data.setdefault("stages", [{}])
        head, _, rest = self.name.partition(".")
        told = f"{self.flag} {self.name}={value}"
        if self.name == "lora":
            stages[0]["adapters"] = [] if value == NONE else [one.strip() for one in value.split("+")]
        elif self.name == "control":
            stages[0]["controls"] = [] if value == NONE else [one.strip() for one in value.split("+")]
        elif head == "lora" and rest:
            put(data, _use(job, "adapters", rest, "weight", value, told))
        elif head == "control" and rest:
            put(data, _use(job, "controls", rest, "scale", value, told))
        else:
            path = self.name if spot(Job, _place(self.name)) is not None else f"stages.0.{self.name}"
            self._check(path, told)
            put(data, Override.parse(f"{path}={value}", told))
        try:
            return Job(**data)
        except SakugaError as error:
            raise error.at(told) from None

    def _check(self, path: str, told: str) -> None:
        if spot(Job, _place(path)) is None:
            known = [*Job.model_fields, *Stage.model_fields, "lora", "control"]
            near = nearest_name(self.name, known)
            raise JobError(f"no field is called {self.name}", given=told, expected=_EXPECTED, nearest=near)


def _use(job: Job, field: str, name: str, strength: str, value: str, told: str) -> Override:
    """The Override that gives an adapter or control its strength; one that the Job does not have is added."""
    stage = job.stages[0] if job.stages else Stage()
    uses = getattr(stage, field) or ()
    for number, use in enumerate(uses):
        known = use.kind if field == "controls" else use.file
        if name in (known, PurePath(known).stem):
            return Override.parse(f"stages.0.{field}.{number}.{strength}={value}", told)
    new = f"{name}:{value}"
    return Override.parse(f"stages.0.{field}.{len(uses)}={new}", told)


def _place(path: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdecimal() and len(part) < 9 else part for part in path.split("."))


def _range(text: str, told: str) -> tuple[str, ...]:
    """``0:1:0.25`` as its values, both ends among them; empty where the text is no range."""
    parts = text.split(":")
    if len(parts) != 3:
        return ()
    try:
        first, last, step = (Decimal(part.strip()) for part in parts)
    except InvalidOperation:
        return ()
    if not all(number.is_finite() for number in (first, last, step)) or step == 0 or (last - first) / step < 0:
        raise JobError("this range has no end", given=told, expected="FIRST:LAST:STEP, such as 0:1:0.25")
    count = int((last - first) / step) + 1
    if count > MOST_VALUES:
        raise JobError("too many values for an axis", given=f"{count} in {told}", expected=f"at most {MOST_VALUES}")
    return tuple(format((first + number * step).normalize(), "f") for number in range(count))
