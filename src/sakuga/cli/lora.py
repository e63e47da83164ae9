"""``sakuga lora show``: what is in an adapter file, and how much of it fits a base."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.outline import lines_of
from sakuga.cli.parser import name, path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

_FOLDER = "one more folder of models; may be given several times"
_SHOW = (
    "Say what is in an adapter file: family, layout, algorithms, how many keys are used, ignored or refused and why, "
    "and with --base how much of it fits that base."
)


def add(commands: Commands) -> None:
    """Register ``lora`` and what it can do."""
    parser = commands.add_parser("lora", usage="show NAME [OPTION …]", description="Look into adapter files.")
    parser.set_defaults(parser=parser, action=None)
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", title="commands", prog="sakuga lora")
    show = actions.add_parser("show", usage="NAME [OPTION …]", help="what is in the file", description=_SHOW)
    show.set_defaults(parser=show)
    show.add_argument("name", metavar="NAME", type=name, help="the adapter, by name or path")
    show.add_argument("--base", metavar="NAME", type=name, help="a base, by name or path, to hold the adapter against")
    show.add_argument("--models", metavar="DIR", type=path, action="append", default=[], help=_FOLDER)
    show.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print what the file holds, or the help if nothing was asked."""
    if options.action is None:
        options.parser.print_help()
        return 0
    told = _show(options.name, options.base, tuple(options.models))
    print(json.dumps(told, indent=2, ensure_ascii=False) if options.json else "\n".join(lines_of(told)))
    return 0


def _show(ref: str, base: str | None, folders: tuple[Path, ...]) -> dict[str, object]:
    from sakuga.lora.inspect import show
    from sakuga.models.library import Library
    from sakuga.tensors.file import TensorFile

    library = Library.usual(folders)
    with TensorFile.open(library.find(ref, "adapter")) as file:
        if base is None:
            return show(file)
        from sakuga.lora.targets import shapes_of
        from sakuga.models.outline import outline
        from sakuga.tensors.names import NameMap

        parts = outline(base, library).parts
        names = NameMap.of({part: [name for name, _ in module.named_modules()] for part, module in parts.items()})
        return show(file, names, shapes=shapes_of(parts))
