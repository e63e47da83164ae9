"""``sakuga check``: everything that can be known before a render, from the headers of the files alone."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

_DESCRIPTION = (
    "Open the headers of everything that a render would use, say what would be used and how, and tell all that is "
    "wrong together. Nothing is rendered and nothing is written. Takes the same flags as render."
)


def add(commands: Commands) -> None:
    """Register the command and its flags."""
    from sakuga.cli.flags import add_flags

    parser = commands.add_parser("check", usage="INPUT [OPTION …]", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Check, print the report."""
    from sakuga.cli.console import PlainLines, tell
    from sakuga.cli.flags import asked
    from sakuga.progress import Progress

    with asked(options) as written:
        from sakuga.render.studio import Studio

        with Studio() as studio:
            listener = PlainLines(stream=sys.stderr)
            report = studio.check(written.job, progress=Progress(listener=listener), origin=written.origin)
    tell(report, as_json=options.json)
    return 0
