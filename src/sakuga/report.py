"""Report: what was used, what was left out and why, seeds, hashes, times and memory. For people and programs alike.

It is begun by a check, filled by a run, returned, printed, and written beside the output as ``<stem>.report.json``. It
decides nothing; it only holds what others tell it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sakuga.errors import OutputError, counted

SCHEMA = 1


def report_path(output: Path) -> Path:
    """Where the report of an output lies: ``<stem>.report.json`` beside it."""
    return output.with_name(f"{output.stem}.report.json")


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something given that was left out, changed or decided for the user: ``what`` it is about and the ``reason``."""

    what: str
    reason: str


@dataclass(kw_only=True)
class Report:
    """The account of one job. All values are plain data, ready for JSON."""

    version: str = ""
    status: str = "checked"  # checked · rendered · there already · stopped
    output: str | None = None
    output_sha256: str | None = None
    key: str | None = None  # the content key of the result
    job: dict[str, Any] = field(default_factory=dict)
    clip: dict[str, Any] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)
    adapters: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    stacks: list[dict[str, Any]] = field(default_factory=list)  # what the adapters of each stage did to the weights
    keys: list[dict[str, str]] = field(default_factory=list)  # of an old config: each key, and what became of it
    notes: list[Note] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    work: dict[str, Any] = field(default_factory=dict)  # where finished Spans are kept, and how many were found there

    def note(self, what: str, reason: str) -> None:
        """Name something once; the same words twice are kept once."""
        note = Note(what=what, reason=reason)
        if note not in self.notes:
            self.notes.append(note)

    @contextmanager
    def timed(self, task: str) -> Iterator[None]:
        """Add the seconds spent inside to ``task``, also when it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[task] = self.seconds.get(task, 0.0) + time.perf_counter() - started

    def as_json(self) -> dict[str, Any]:
        """The report as plain data. The shape is a contract: docs/decisions holds it, ``schema`` numbers it."""
        return {
            "schema": SCHEMA,
            "version": self.version,
            "status": self.status,
            "output": self.output,
            "output_sha256": self.output_sha256,
            "key": self.key,
            "job": self.job,
            "clip": self.clip,
            "models": self.models,
            "adapters": self.adapters,
            "stages": self.stages,
            "notes": [{"what": note.what, "reason": note.reason} for note in self.notes],
            "seconds": {task: round(seconds, 3) for task, seconds in self.seconds.items()},
            "memory": self.memory,
            "stacks": self.stacks,
            "keys": self.keys,
            "work": self.work,
        }

    def save(self, path: Path) -> None:
        """Write the JSON whole or not at all. Raises OutputError."""
        partial = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
        try:
            partial.write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OutputError(
                "the report could not be written; the output itself is whole",
                given=f"{path} ({error.strerror})",
                expected="room and the right to write beside the output",
                do="make room; render again with --overwrite if the report is needed",
            ) from error

    def text(self) -> str:
        """The short text for a terminal."""
        lines = [f"{self.status}: {self.output}" if self.output else self.status]
        if self.clip:
            size, frames = "{width}x{height}".format(**self.clip), counted(self.clip["frames"], "frame")
            lines.append(_row("clip", f"{size}, {frames}"))
        for role, name, family in dict.fromkeys((m["role"].split()[0], m["name"], m["family"]) for m in self.models):
            lines.append(_row(role, f"{name} ({family})"))
        for adapter in self.adapters:
            lines.append(_row("lora", _adapter_text(adapter)))
        for index, stage in enumerate(self.stages):
            settings = ", ".join(f"{key} {_plain(stage[key])}" for key in _TOLD if stage.get(key) is not None)
            lines.append(_row(f"stage {index}", settings))
        lines += self._key_rows()
        lines += [_row("note", f"{note.what}: {note.reason}") for note in self.notes]
        if self.work.get("found"):
            lines.append(_row("work", "{found} of {spans} spans were drawn before".format(**self.work)))
        if self.seconds:
            lines.append(_row("seconds", ", ".join(f"{task} {s:.1f}" for task, s in self.seconds.items())))
        if self.memory:
            lines.append(_row("memory", ", ".join(f"{k} {v / 2**20:.0f} MiB" for k, v in self.memory.items())))
        return "\n".join(lines)

    def _key_rows(self) -> list[str]:
        """Each key of an old config; after a render, which a check came before, their number alone."""
        if self.status != "checked":
            told = f"{counted(len(self.keys), 'key')} of the config; check tells what became of each, the report too"
            return [_row("keys", told)] if self.keys else []
        return [_row("key", f"{key['key']}: {key['value']} → {key['became']}") for key in self.keys]


_TOLD = ("controls", "motion", "sampler", "steps", "guidance", "strength", "noise")


def _plain(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _row(label: str, text: str) -> str:
    return f"  {label:<12}{text}"


def _adapter_text(adapter: dict[str, Any]) -> str:
    keys = adapter["keys"]
    given = {"text encoder": adapter.get("text_encoder_weight")}
    given |= {name: adapter.get(name) for name in ("blocks", "steps")}
    more = [f"{name} {value}" for name, value in given.items() if value is not None]
    more += ["from the prompt"] if adapter["from"] == "prompt" else []
    weights = ", ".join([str(adapter["weight"]), *more])
    text = f"{adapter['name']} at {weights}, {keys['used']} of {counted(keys['total'], 'key')} used"
    text += ", its alpha ignored" if adapter.get("alpha") == "ignored" else ""
    left = keys["ignored"] + keys["refused"]
    return f"{text}, {len(left)} left out" if left else text
