"""``sakuga work list``, ``show`` and ``gc``: what is kept of runs, finished and broken off."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.columns import cell, printable
from sakuga.cli.parser import path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands
    from sakuga.render.work import Record

_ABOUT = (
    "Runs keep the spans that they have finished, so that the same command goes on where it stopped, and a changed job "
    "draws only what the change touches. Say what is kept, and remove it."
)
_LIST = "List the outputs that something is kept of: how much of each is drawn, and whether a run is at work on it."
_SHOW = "Say what is kept of one output, and the job that it belongs to."
_GC = (
    "Remove finished spans that no run needs, those first that were used longest ago. Runs that are under way or were "
    "broken off keep theirs."
)
_FOLDER = "the folder of the work (default: work in $SAKUGA_CACHE, or else in the user's cache folder)"
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
NAME_COLUMNS = 44


def add(commands: Commands) -> None:
    """Register ``work`` and what it can do."""
    parser = commands.add_parser("work", usage="list | show | gc [OPTION …]", description=_ABOUT)
    parser.set_defaults(parser=parser, action=None)
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", title="commands", prog="sakuga work")
    listed = actions.add_parser(
        "list", usage="[OPTION …]", help="the outputs that something is kept of", description=_LIST
    )
    show = actions.add_parser("show", usage="OUTPUT [OPTION …]", help="what is kept of one output", description=_SHOW)
    show.add_argument("output", metavar="OUTPUT", type=path, help="the output of a render")
    gc = actions.add_parser("gc", usage="[OPTION …]", help="remove what is not needed", description=_GC)
    gc.add_argument("--keep", metavar="SIZE", type=size, default=0, help="leave so much, such as 500MB or 2GB")
    gc.add_argument(
        "--unfinished", action="store_true", help="remove what runs that were broken off would go on from, too"
    )
    for one in (listed, show, gc):
        one.set_defaults(parser=one)
        one.add_argument("--work", metavar="DIR", type=path, help=_FOLDER)
        one.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print or remove."""
    if options.action is None:
        options.parser.print_help()
        return 0
    from sakuga.render.work import usual_root

    root = options.work or usual_root()
    told = {"list": _list, "show": _show, "gc": _gc}[options.action](root, options)
    print(json.dumps({"schema": 1, **told[0]}, indent=2, ensure_ascii=False) if options.json else "\n".join(told[1]))
    return 0


def size(text: str) -> int:
    """A size in bytes from ``500MB``.

    >>> size("2GB"), size("1.5 kb")
    (2000000000, 1500)
    """
    number = text.strip().rstrip("BKMGTbkmgt").strip()
    unit = text.strip()[len(number) :].strip().upper()
    unit = "" if unit == "B" else unit if unit.endswith("B") or not unit else f"{unit}B"
    try:
        value = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f'"{text}" is no size; say 500MB or 2GB')
    return round(value)


def _entry(root: Path, record: Record) -> dict[str, object]:
    """A run in plain data."""
    from sakuga.render.store import Store

    store = Store(root=root)
    paths = {path for keys in record.spans for path in map(store.path, keys)}
    last = [store.path(keys[-1]) for keys in record.spans if keys]
    running = record.running
    return {
        "output": record.output,
        "source": record.source,
        "state": "running" if running else "broken off" if record.state == "under way" else record.state,
        "process": record.process if running else None,
        "begun": round(record.begun),
        "spans": len(record.spans),
        "drawn": sum(path.exists() for path in last),
        "bytes": sum(path.stat().st_size for path in paths if path.exists()),
    }


def _list(root: Path, options: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    from sakuga.render.store import Store
    from sakuga.render.work import records

    entries = [_entry(root, record) for record in records(root)]
    total = sum(info.st_size for _, info in Store(root=root).spans())
    lines = [
        f"{cell(printable(str(one['output'])), NAME_COLUMNS)}  {one['state']:<10}  "
        f"{one['drawn']} of {one['spans']} spans, {_megabytes(one['bytes'])}, {_age(one['begun'])}"
        for one in entries
    ]
    whole = f"{len(entries)} outputs, {_megabytes(total)} in {root}"
    return {"folder": str(root), "bytes": total, "runs": entries}, [*lines, whole]


def _show(root: Path, options: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    from sakuga.errors import FileProblem, nearest_file
    from sakuga.render.work import records

    known = {record.output: record for record in records(root)}
    output = str(options.output.absolute())
    if output not in known:
        raise FileProblem(
            "nothing is kept of this output",
            given=output,
            expected="an output that sakuga work list names",
            nearest=nearest_file(output, known),
            do="sakuga work list",
        )
    entry = _entry(root, known[output]) | {"job": known[output].job}
    lines = [
        f"{key:<10}{_megabytes(value) if key == 'bytes' else value}" for key, value in entry.items() if key != "job"
    ]
    job = known[output].job
    return entry, [*lines, "job", *(f"  {line}" for line in json.dumps(job, indent=2, ensure_ascii=False).splitlines())]


def _gc(root: Path, options: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    from sakuga.render.work import collect

    done = collect(root, options.keep, unfinished=options.unfinished)
    told: dict[str, object] = {
        "removed": done.spans,
        "freed_bytes": done.freed_bytes,
        "kept_bytes": done.kept_bytes,
        "in_use": done.in_use,
    }
    lines = [f"removed {done.spans} spans, {_megabytes(done.freed_bytes)}; {_megabytes(done.kept_bytes)} are kept"]
    lines += [f"{done.in_use} runs are under way, whose spans stay"] if done.in_use else []
    return told, lines


def _megabytes(size_bytes: object) -> str:
    assert isinstance(size_bytes, int)
    return f"{size_bytes / 1e6:.1f} MB"


def _age(begun: object) -> str:
    assert isinstance(begun, int)
    hours = max(0, int(time.time()) - begun) // 3600
    return (
        "begun within the hour"
        if not hours
        else f"begun {hours} h ago"
        if hours < 48
        else f"begun {hours // 24} days ago"
    )
