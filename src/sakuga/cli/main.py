"""The command ``sakuga``: finds the command that is named, imports that one alone, runs it and tells errors.

``sakuga --help`` imports neither torch nor pydantic. Exit status: 0 done, 1 some of many clips failed, 2 the user's
mistake (told in four lines), 130 stopped by Ctrl-C, 141 nobody reads stdout. Refuses to hide our own bugs: those show
their traceback.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from types import ModuleType

from sakuga import __version__
from sakuga.cli.console import events, tell_error
from sakuga.cli.parser import Parser
from sakuga.cli.streams import steady_streams, write_result
from sakuga.errors import SakugaError, Stopped, refused

COMMANDS = {
    "demo": "render the clip that comes with the package, and show what came out",
    "render": "render clips, pictures, folders of them or job files",
    "preview": "draw a few frames of a job to look at, and say what the whole would take",
    "grid": "draw the same frames with many settings, side by side in one picture",
    "compare": "hold clips against each other in one video, and say how far they are apart",
    "queue": "keep jobs in a queue that one or several processes render",
    "check": "say what a render would use and what is wrong with it, without rendering",
    "convert": "write the job that an old config of Diffutoon stands for",
    "again": "render once more what an output says of how it was made",
    "work": "say what is kept of runs, finished and broken off, and remove it",
    "presets": "list the settings that have a name",
    "lora": "look into adapter files, find them, and make new ones of them",
    "models": "list the models that can be named, or say what a file is",
}
_DESCRIPTION = "Turns clips into comics with diffusion models and stacks of LoRAs."


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line ``words`` (the process's own by default); the exit status."""
    with steady_streams():
        return _told(sys.argv[1:] if words is None else list(words))


def offered() -> dict[str, str]:
    """The commands that are installed, each with its line of help."""
    return {name: line for name, line in COMMANDS.items() if importlib.util.find_spec(f"sakuga.cli.{name}")}


def parser_for(command: str | None) -> Parser:
    """The parser of ``sakuga`` with the options of ``command`` alone; the other commands have their names only."""
    parser = Parser("sakuga", usage="COMMAND …", description=_DESCRIPTION)
    version = "show the version and end"
    parser.add_argument("--version", action="version", version=f"sakuga {__version__}", help=version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog="sakuga")
    for name, line in offered().items():
        if name == command:
            _module(name).add(commands)
        else:
            commands.add_parser(name, help=line)
    return parser


def _told(words: list[str]) -> int:
    """Run the command; its result goes to stdout at the end, errors go to stderr."""
    told = events.set("--events" in words)
    try:
        with redirect_stdout(io.StringIO()) as result:
            status = _run(words)
        return status if write_result(result.getvalue()) else 141
    except Stopped as stopped:
        tell_error(stopped)
        return 130
    except SakugaError as error:
        tell_error(error)
        return 2
    except OSError as error:  # one that was not foreseen where it came up
        tell_error(refused(error))
        return 2
    except KeyboardInterrupt:
        tell_error(Stopped("ended at once; an output that was not finished is not there"))
        return 130
    finally:
        events.reset(told)


def _run(words: list[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), None)
    parser = parser_for(command)
    try:
        options, extra = parser.parse_known_args(words)
    except SystemExit as end:  # argparse has printed the help or the version
        return int(end.code or 0)
    if extra:
        getattr(options, "parser", parser).refuse(extra)
    if options.command is None:
        parser.print_help()
        return 0
    return int(_module(options.command).run(options))


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"sakuga.cli.{command}")
