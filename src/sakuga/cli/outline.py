"""Plain data as indented lines for a terminal, nothing added and nothing left out. Knows no command."""

from __future__ import annotations

from collections.abc import Mapping


def lines_of(told: Mapping[str, object], indent: str = "") -> list[str]:
    """The same content as the JSON, one line for each value, tables indented below their name."""
    lines = []
    for key, value in told.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}", *lines_of(value, indent + "  ")]
        elif isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
            lines.append(f"{indent}{key}")
            lines += [f"{indent}  {_words(entry)}" for entry in value]
        else:
            lines.append(f"{indent}{key:<16} {_words(value)}")
    return lines


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_words(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
