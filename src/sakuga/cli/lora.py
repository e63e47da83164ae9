"""``sakuga lora``: what is in an adapter file, which adapters there are, and new ones made of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sakuga.cli import lora_library, lora_museum, lora_show, lora_tools

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

FILES = (lora_show, lora_library, lora_museum, lora_tools)  # each adds its commands, whose defaults hold what runs them
_DESCRIPTION = "Look into adapter files, find them in the folders of models, and make new files of them."


def add(commands: Commands) -> None:
    """Register ``lora`` and what it can do."""
    parser = commands.add_parser("lora", usage="COMMAND …", description=_DESCRIPTION)
    parser.set_defaults(parser=parser, action=None)
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", title="commands", prog="sakuga lora")
    for file in FILES:
        file.add(actions)


def run(options: argparse.Namespace) -> int:
    """Run what was asked, or print the help if nothing was."""
    if options.action is None:
        options.parser.print_help()
        return 0
    return int(options.action_run(options))
