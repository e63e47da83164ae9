"""The command ``sakuga``: finds the command that is named, imports that one alone, runs it and tells errors.

``sakuga --help`` imports neither torch nor pydantic. Exit status: 0 done, 2 the user's mistake (told in four lines),
130 stopped by Ctrl-C, 141 nobody reads stdout. Refuses to hide our own bugs: those show their traceback.
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
from sakuga.cli.parser import Parser
from sakuga.cli.streams import steady_streams, write_result
from sakuga.errors import SakugaError, Stopped

COMMANDS = {
    "demo": "render the clip that comes with the package, and show what came out",
    "render": "render a clip, a picture, a folder of pictures or a job file",
    "check": "say what a render would use and what is wrong with it, without rendering",
    "lora": "look into adapter files",
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
    try:
        with redirect_stdout(io.StringIO()) as result:
            status = _run(words)
        return status if write_result(result.getvalue()) else 141
    except Stopped as stopped:
        print(stopped.told(), file=sys.stderr)
        return 130
    except SakugaError as error:
        print(error.told(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped: ended at once; an output that was not finished is not there", file=sys.stderr)
        return 130


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
