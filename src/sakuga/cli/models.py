"""``sakuga models``: what can be named, role by role; ``sakuga models show FILE``: what a file is."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.outline import lines_of

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

ROLES = ("base", "adapter", "control", "motion", "embedding", "vae")  # what a job can name, in its words
_LIST = "List the models that can be named, role by role: the starter's own and those in your folders."
_SHOW = "Say what a file is, from its keys and shapes alone: role, family, layout, and what that was read from."


def add(commands: Commands) -> None:
    """Register ``models`` and what it can do."""
    parser = commands.add_parser("models", usage="[show FILE] [OPTION …]", description=_LIST)
    parser.set_defaults(parser=parser, action=None)
    parser.add_argument(
        "--models", metavar="DIR", type=Path, action="append", default=[], help="one more folder to list"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", title="commands", prog="sakuga models")
    show = actions.add_parser("show", usage="FILE [--json]", help="what a file is", description=_SHOW)
    show.set_defaults(parser=show)
    show.add_argument("file", metavar="FILE", type=Path, help="any model or adapter file")
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the list, or what the file is."""
    told = _show(options.file) if options.action == "show" else _list(tuple(options.models))
    print(json.dumps(told, indent=2, ensure_ascii=False) if options.json else "\n".join(lines_of(told)))
    return 0


def _show(file: Path) -> dict[str, object]:
    from sakuga.models.detect import recognise

    return {"schema": 1, "file": str(file), **dataclasses.asdict(recognise(file))}


def _list(folders: tuple[Path, ...]) -> dict[str, object]:
    from sakuga.models.library import Library

    library = Library.usual(folders)
    names = {role: list(library.names(role)) for role in ROLES}
    return {"schema": 1, **names, "folders": [str(folder) for folder in library.folders]}
