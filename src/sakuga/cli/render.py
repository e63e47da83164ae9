"""``sakuga render``: a clip, a picture, a folder or a job file becomes a comic."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

_DESCRIPTION = (
    "Render a clip, or what a job file asks for. A flag takes the place of what the job file says; flags of the look "
    "speak of the first stage. What is left out is the base's own default, which the report names. The report is "
    "written next to the output."
)


def add(commands: Commands) -> None:
    """Register the command and its flags."""
    from sakuga.cli.flags import add_flags

    parser = commands.add_parser("render", usage="INPUT [OPTION …]", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Render, print the report."""
    from sakuga.cli.console import tell, watched
    from sakuga.cli.flags import asked

    with asked(options) as job, watched() as progress:
        from sakuga.render.studio import Studio

        with Studio() as studio:
            report = studio.render(job, progress=progress)
    tell(report, as_json=options.json)
    return 0
