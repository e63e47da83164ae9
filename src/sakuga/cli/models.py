"""``sakuga models``: what can be named, role by role; ``sakuga models show NAME``: what a file is."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from sakuga.cli.outline import lines_of
from sakuga.cli.parser import name, path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands
    from sakuga.models.library import Library

ROLES = ("base", "adapter", "control", "motion", "embedding", "vae")  # what a job can name, in its words
_LIST = "List the models that can be named, role by role: the starter's own and those in your folders."
_FOLDER = "one more folder of models; may be given several times"
_SHOW = "Say what a file is, from its keys and shapes alone: role, family, layout, and what that was read from."


def add(commands: Commands) -> None:
    """Register ``models`` and what it can do."""
    parser = commands.add_parser("models", usage="[show NAME] [OPTION …]", description=_LIST)
    parser.set_defaults(parser=parser, action=None, inner=[])
    parser.add_argument("--models", metavar="DIR", type=path, action="append", default=[], help=_FOLDER)
    parser.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", title="commands", prog="sakuga models")
    show = actions.add_parser("show", usage="NAME [OPTION …]", help="what a file is", description=_SHOW)
    show.set_defaults(parser=show)
    show.add_argument("name", metavar="NAME", type=name, help="any model or adapter, by name or path")
    show.add_argument("--models", metavar="DIR", type=path, action="append", default=[], dest="inner", help=_FOLDER)
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the list, or what the file is."""
    from sakuga.models.library import Library

    library = Library.usual((*options.inner, *options.models))
    told = _show(options.name, library) if options.action == "show" else _list(library)
    print(json.dumps(told, indent=2, ensure_ascii=False) if options.json else "\n".join(lines_of(told)))
    return 0


def _show(name: str, library: Library) -> dict[str, object]:
    from sakuga.models.detect import recognise

    file = library.find_any(name)
    return {"schema": 1, "file": str(file), **dataclasses.asdict(recognise(file))}


def _list(library: Library) -> dict[str, object]:
    names = {role: list(library.names(role)) for role in ROLES}
    return {"schema": 1, **names, "folders": [str(folder) for folder in library.folders]}
