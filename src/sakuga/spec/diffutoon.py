"""Old configs: the dicts that Diffutoon (DiffSynth 1.x) was driven with, read and checked, all problems together.

Every problem and every note is about a key, by its path: ``models.controlnet_units.1.model_path``. What stands in the
table (``diffutoon_keys``) is checked here, what keys say of one another in ``diffutoon_rules``; ``diffutoon_job`` makes
a Job of it. Refuses to open anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sakuga.errors import JobError, SakugaError, nearest_name, raise_all
from sakuga.report import Note
from sakuga.spec import diffutoon_keys as table
from sakuga.spec.diffutoon_keys import REQUIRED, Key
from sakuga.spec.diffutoon_rules import check_rules, glued
from sakuga.spec.findings import shown

STAGES = ("config_stage_1", "config_stage_2")  # as the public two-stage script calls them
_MARKS = {"data", "pipeline", "smoother_configs"}


@dataclass(kw_only=True)
class Old:
    """One config. ``values``: every key of the table, what is not given at its default. ``given``: each single value
    that was given, by its path. ``became`` says what became of a path; ``prefix`` stands before all paths;
    ``drawn`` is the source, by its number, that another stage draws and that is not looked for.
    """

    prefix: str = ""
    drawn: int | None = None
    values: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    became: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    errors: list[SakugaError] = field(default_factory=list)

    @property
    def models(self) -> dict[str, Any]:
        """``models`` of the config."""
        return self._part("models")

    @property
    def data(self) -> dict[str, Any]:
        """``data`` of the config."""
        return self._part("data")

    @property
    def inputs(self) -> dict[str, Any]:
        """``pipeline.pipeline_inputs`` of the config."""
        return self._part("pipeline").get("pipeline_inputs") or {}

    def _part(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.values.get(name) or {}
        return found

    def fail(
        self,
        path: str,
        title: str,
        *,
        given: str | None = None,
        expected: str | None = None,
        nearest: str | None = None,
        do: str | None = None,
    ) -> None:
        """Keep a problem with the key at ``path``."""
        error = JobError(title, given=given, expected=expected, nearest=nearest, do=do)
        self.errors.append(error.at(self.prefix + path))

    def failed(self, path: str) -> bool:
        """Whether a problem with the key at ``path`` is told already."""
        return any(error.place == self.prefix + path for error in self.errors)

    def note(self, path: str, reason: str) -> None:
        """Keep a word about the key at ``path``."""
        note = Note(what=self.prefix + path, reason=reason)
        if note not in self.notes:
            self.notes.append(note)


def is_old(data: object) -> bool:
    """Whether plain data is such a config, or the pair of them, rather than a Job; its keys tell."""
    if not isinstance(data, Mapping) or "source" in data:
        return False
    if any(name in data for name in STAGES):
        return True
    return bool(_MARKS & data.keys()) or isinstance(data.get("models"), Mapping)


def read_old(data: Mapping[str, Any]) -> tuple[Old, ...]:
    """The config, or both of a pair in their order. Raises JobError or Several with every problem.

    >>> read_old({"data": {}, "models": {}, "pipeline": {}})
    Traceback (most recent call last):
    sakuga.errors.Several: ...
    """
    olds = olds_of(data)
    raise_all([error for old in olds for error in old.errors])
    return olds


def olds_of(data: Mapping[str, Any]) -> tuple[Old, ...]:
    """The config, or both of a pair, with what is wrong in their ``errors``; there a value may be None."""
    return tuple(_pair(data)) if any(name in data for name in STAGES) else (_one(data, ""),)


def _pair(data: Mapping[str, Any]) -> Iterator[Old]:
    before: Old | None = None
    for name in STAGES:
        if not isinstance(data.get(name), Mapping):
            old = Old()
            title = "a pair has two configs" if name not in data else "a value of the wrong kind"
            given = shown(data[name]) if name in data else None
            old.fail(name, title, given=given, expected="a table with models, data and pipeline")
        else:
            old = _one(data[name], f"{name}.", before)
        if name == STAGES[0]:
            for other in data.keys() - set(STAGES):
                old.notes.append(Note(what=str(other), reason=f"it stands beside {' and '.join(STAGES)}: not read"))
        before = old
        yield old


def _one(data: Mapping[str, Any], prefix: str, before: Old | None = None) -> Old:
    old = Old(prefix=prefix)
    reading = _Reading(old)
    top = reading.table("", data, table.TOP, tolerant=True)
    models = reading.table("models", top["models"], table.MODELS)
    for name, unit in table.UNITS.items():
        models[name] = reading.each(f"models.{name}", models[name], unit, tolerant=True)
    found = reading.table("data", top["data"], table.DATA)
    found["input_frames"] = reading.source("data.input_frames", found["input_frames"])
    found["controlnet_frames"] = [
        reading.source(f"data.controlnet_frames.{number}", source)
        for number, source in enumerate(found["controlnet_frames"])
    ]
    pipeline = reading.table("pipeline", top["pipeline"], table.PIPELINE, tolerant=True)
    inputs = reading.table("pipeline.pipeline_inputs", pipeline["pipeline_inputs"], table.INPUTS)
    smoothers = reading.each("smoother_configs", top["smoother_configs"], table.SMOOTHER, tolerant=True)
    for number, smoother in enumerate(smoothers):
        keys = table.SMOOTHER_KEYS.get(smoother["processor_type"], ())
        if keys:
            smoother["config"] = reading.table(f"smoother_configs.{number}.config", smoother["config"], keys)
    old.values = {
        "models": models,
        "data": found,
        "pipeline": {**pipeline, "pipeline_inputs": inputs},
        "smoother_configs": smoothers,
    }
    old.drawn = glued(old, before) if before else None
    check_rules(old)
    return old


class _Reading:
    """Holds plain data against the table; what does not fit is a problem, and becomes the default, a number None."""

    def __init__(self, old: Old) -> None:
        self.old = old

    def table(self, path: str, data: Any, keys: Sequence[Key], *, tolerant: bool = False) -> dict[str, Any]:
        """The table at ``path``; ``tolerant``: a key that nobody knows was passed over by 1.x, so it is only named."""
        if not isinstance(data, Mapping):
            data = {}  # told already, by the key itself
            keys = tuple(Key(**{**vars(key), "default": None}) if key.default is REQUIRED else key for key in keys)
        known = {key.name: key for key in keys}
        begin = f"{path}." if path else ""
        for name in data:
            if name not in known:
                self._unknown(begin, str(name), data[name], tuple(known), tolerant)
        return {name: self._value(f"{begin}{name}", data, key) for name, key in known.items()}

    def each(self, path: str, items: Sequence[Any], keys: Sequence[Key], *, tolerant: bool = False) -> list[Any]:
        """The tables of a list."""
        return [self.table(f"{path}.{number}", item, keys, tolerant=tolerant) for number, item in enumerate(items)]

    def source(self, path: str, data: Any) -> dict[str, Any] | None:
        """A source; None where it is none, which is told."""
        return self.table(path, data, table.SOURCE) if isinstance(data, Mapping) else None

    def _value(self, path: str, data: Mapping[str, Any], key: Key) -> Any:
        default = None if key.default is REQUIRED else key.default
        if key.name not in data:
            if key.default is REQUIRED:
                self.old.fail(path, "this is needed and not there", expected=key.expected)
            return _fresh(default)
        value = data[key.name]
        if key.kind not in ("table", "tables", "texts", "wholes", "numbers"):
            self._given(path, value, key)
        if value is None and key.none:
            return None
        if key.kind in ("texts", "wholes", "numbers", "tables"):
            return self._list(path, value, key)
        if problem := _problem(value, key):
            self._wrong(path, value, key, problem)
            return None if key.kind in ("whole", "number") else _fresh(default)  # no rule shall speak of a default
        return value

    def _list(self, path: str, value: Any, key: Key) -> list[Any]:
        if not isinstance(value, list | tuple):
            self.old.fail(path, "a value of the wrong kind", given=shown(value), expected=key.expected)
            return []
        if not value:
            self._given(path, value, key)
        inner = Key(**{**vars(key), "kind": key.kind.removesuffix("s")})
        found = []
        for number, item in enumerate(value):
            if key.kind != "tables":
                self._given(f"{path}.{number}", item, inner)
            if problem := _problem(item, inner):
                self._wrong(f"{path}.{number}", item, inner, problem)
                item = None
            found.append(item)
        return found

    def _given(self, path: str, value: Any, key: Key) -> None:
        self.old.given[path] = value
        if key.became:
            self.old.became[path] = key.became

    def _wrong(self, path: str, value: Any, key: Key, problem: str) -> None:
        near = None
        if isinstance(value, str) and key.words:
            near = nearest_name(value, key.words)
        elif isinstance(value, str) and key.kind in ("whole", "number") and not _problem(_number(value), key):
            near = f"{value.strip()} without quotes"
        self.old.fail(path, problem, given=shown(value), expected=key.expected, nearest=near)

    def _unknown(self, begin: str, name: str, value: Any, known: tuple[str, ...], tolerant: bool) -> None:
        near, path = nearest_name(name, known), f"{begin}{name}"
        if tolerant:
            self.old.given[path] = value
            self.old.became[path] = "not used: no such key is known"
            meant = f"; {near} may be meant" if near else ""
            self.old.note(path, f"no such key is known, so it has no effect, as in 1.x{meant}")
            return
        misplaced = table.MISPLACED.get(name) if begin.endswith("pipeline_inputs.") else None
        expected = "one of " + ", ".join(known)
        self.old.fail(path, f"there is no {name[:60]!r} here", given=name[:60], expected=expected, nearest=near,
                      do=misplaced)  # fmt: skip


def _fresh(default: Any) -> Any:
    if isinstance(default, tuple):
        return list(default)
    return dict(default) if isinstance(default, dict) else default


def _number(text: str) -> Any:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _problem(value: Any, key: Key) -> str | None:
    """What is wrong with a single value, in a few words; None if nothing is."""
    right: dict[str, Any] = {"text": str, "whole": int, "number": int | float, "truth": bool, "table": Mapping}
    if key.kind == "any":
        return None
    if not isinstance(value, right[key.kind]) or (isinstance(value, bool) and key.kind != "truth"):
        return "a value of the wrong kind"
    if key.kind == "number" and not math.isfinite(value):
        return "not a finite number"
    if key.words and value not in key.words:
        return "not one of the words that are known here"
    if (key.low is not None and value < key.low) or (key.high is not None and value > key.high):
        return "outside its range"
    if key.kind == "text" and key.name != "prompt" and not key.name.endswith("prompt") and not value.strip():
        return "a name is empty"
    return None
