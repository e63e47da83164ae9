"""What a maker says of a file that it has written, and the fixture that is made of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sakuga.lora.museum import strip
from sakuga.tensors.file import TensorFile


@dataclass(frozen=True, kw_only=True)
class Made:
    """A file and what has to be said of it, known from how it was made: the id of its layout, the table of families
    that it fits whole ("sd3 medium"), its algorithms in words. ``guess``: the family that it has to be told to be for,
    or all of several; None where a few of its modules leave it open. ``refused``: keys that have no place.
    """

    path: Path
    by: str
    layout: str
    table: str
    algorithms: tuple[str, ...]
    guess: str | tuple[str, ...] | None
    refused: int = 0
    ignored: int = 0
    name: str = ""


def fixture(made: Made) -> dict[str, Any]:
    """The exhibit, with what its maker says of it as ``made``."""
    with TensorFile.open(made.path) as file:
        told = strip(file)
    possible = (made.guess,) if isinstance(made.guess, str) else made.guess
    says = {
        "by": made.by,
        "layout": made.layout,
        "table": made.table,
        "families": None if possible is None else sorted(possible),
        "algorithms": sorted(made.algorithms),
        "refused": made.refused,
        "ignored": made.ignored,
    }
    config = told["config"] or {}
    lists = {key: sorted(value) for key, value in config.items() if isinstance(value, list)}  # some were sets
    metadata = dict(sorted(told["metadata"].items()))
    return {"made": says, **told, "metadata": metadata, "config": {**config, **lists} or None}


def lines(told: dict[str, Any]) -> str:
    """The fixture as JSON, one tensor on each line."""
    return "{\n" + ",\n".join(_members(told)) + "\n}\n"


def _members(told: dict[str, Any]) -> Iterator[str]:
    for key, value in told.items():
        if key != "tensors":
            yield f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(tensor)}" for name, tensor in told["tensors"].items())
    yield f'"tensors": {{\n{rows}\n}}'
