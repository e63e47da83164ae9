"""The configs that stand in a Python script as plain literals. The script is parsed; nothing of it is ever executed.

Read are ``name = {…}`` at the top of the script, names that stood there before, ``name["data"]["fps"] = 30``, and
``other = name`` or ``name.copy()``. Whatever else is assigned into a config is named as not read; the rest of a script
is no business of ours.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sakuga.errors import JobError
from sakuga.spec.findings import shown
from sakuga.spec.lines import LARGEST_BYTES


@dataclass(frozen=True, kw_only=True)
class Literals:
    """What a script says: ``values`` by name, the ``lines`` where they begin, and what was ``left``, in words."""

    values: dict[str, Any]
    lines: dict[str, int]
    left: tuple[str, ...]


def read_literals(text: str, name: str) -> Literals:
    """The literals of a script; ``name`` stands for it in messages. Raises JobError for what is no Python.

    >>> read_literals("fps = 30\\nconfig = {'data': {'fps': fps}}", "old.py").values["config"]
    {'data': {'fps': 30}}
    """
    if len(text) > LARGEST_BYTES:
        given, expected = f"{len(text):,} characters", f"at most {LARGEST_BYTES:,}"
        raise JobError(f"{name} is too large for a script with a config", given=given, expected=expected)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        at = f", line {line}" if line else ""
        given, expected = str(getattr(error, "msg", error)), "Python with a config in it"
        raise JobError(f"{name} cannot be read{at}", given=given, expected=expected) from None
    reading = _Reading(name=name)
    for statement in tree.body:
        reading.take(statement)
    return Literals(values=reading.values, lines=reading.lines, left=tuple(reading.left))


class _NotLiteral(Exception):
    """An expression that only running the script could give."""

    def __init__(self, node: ast.expr) -> None:
        self.node = node


@dataclass(kw_only=True)
class _Reading:
    name: str
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def take(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            return
        if isinstance(target, ast.Name):
            self._bind(target.id, value)
        elif isinstance(target, ast.Subscript):
            self._put(target, value)

    def _bind(self, name: str, value: ast.expr) -> None:
        try:
            self.values[name] = self._value(value)
            self.lines[name] = value.lineno
        except _NotLiteral as problem:
            self.values.pop(name, None)
            if isinstance(value, ast.Dict):
                raise self._error(name, problem.node) from None

    def _put(self, target: ast.Subscript, value: ast.expr) -> None:
        """``config["data"]["fps"] = 30``."""
        keys: list[Any] = []
        inner: ast.expr = target
        while isinstance(inner, ast.Subscript):
            keys.insert(0, inner.slice)
            inner = inner.value
        if not isinstance(inner, ast.Name) or inner.id not in self.values:
            return
        place = ast.unparse(target)
        try:
            holder, *path = self.values[inner.id], *(self._value(key) for key in keys)
            for key in path[:-1]:
                holder = holder[key]
            if not isinstance(holder, dict | list):
                raise TypeError(path)
            holder[path[-1]] = self._value(value)
        except _NotLiteral as problem:
            told = ast.unparse(problem.node)
            self.left.append(f"line {target.lineno}: {place} is given by {told[:60]}, which only running it would tell")
        except (KeyError, IndexError, TypeError):
            self.left.append(f"line {target.lineno}: {place} leads to nothing that stands in the config")

    def _value(self, node: ast.expr) -> Any:
        """The value of a literal, of a name that is known, or of a copy of one. Raises _NotLiteral."""
        if isinstance(node, ast.Dict):
            if any(key is None for key in node.keys):
                raise _NotLiteral(node)
            return {
                self._value(key): self._value(value) for key, value in zip(node.keys, node.values, strict=True) if key
            }
        if isinstance(node, ast.List | ast.Tuple):
            return [self._value(item) for item in node.elts]
        if isinstance(node, ast.Name) and node.id in self.values:
            return self.values[node.id]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args and not node.keywords:
            if node.func.attr == "copy":
                return copy.copy(self._value(node.func.value))
            raise _NotLiteral(node)
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise _NotLiteral(node) from None
        if not isinstance(value, str | int | float | bool | None):
            raise _NotLiteral(node)
        return value

    def _error(self, name: str, node: ast.expr) -> JobError:
        return JobError(
            f"{self.name}, line {node.lineno}: the config {name} is not plain",
            given=shown(ast.unparse(node)),
            expected="texts, numbers, lists and tables, written out",
            do="write the value itself in its place; the script is read, never run",
        )


def script_text(path: Path) -> str:
    """The text of a script. Raises JobError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError("the script cannot be read", given=f"{path}: {error}"[:200], expected="a .py file") from None
