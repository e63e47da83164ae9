"""``sakuga queue add``, ``list``, ``run``, ``retry`` and ``cancel``: jobs that wait until a process renders them."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sakuga.cli.parser import path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands, Parser
    from sakuga.render.queue.row import Row
    from sakuga.render.queue.store import Queue

_ABOUT = (
    "Keep jobs in a queue that outlives the terminal, and render them: queue run in several terminals shares the work. "
    "No job is rendered twice at once, and none is lost when a process dies."
)
_ADD = "Put clips at the end of the queue. Takes what render takes; relative paths are those of the working directory."
_LIST = "List the jobs of the queue, and what is wrong with those that failed."
_RUN = (
    "Render what waits, one job after the other, until nothing does. Models stay loaded from job to job. Ctrl-C ends "
    "after this step, and the job waits again."
)
_RETRY = "Let jobs that failed, or were cancelled, wait again; all that failed when none is named."
_CANCEL = "Take jobs out of the queue that wait; those that run are asked to stop."
_QUEUE = "the file of the queue, on a disk of this machine (default: in $SAKUGA_CACHE, or else the user's data folder)"
_JSON = "print JSON, and nothing else, on stdout"
_NAME = "the number of a job, or the name of its clip"


def add(commands: Commands) -> None:
    """Register ``queue`` and what it can do."""
    from sakuga.cli.clips import add_clips

    parser = commands.add_parser("queue", usage="COMMAND …", description=_ABOUT)
    parser.set_defaults(parser=parser, action=None)
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", title="commands", prog="sakuga queue")
    add_clips(_added(actions, "add", "INPUT … [OPTION …]", "put clips into the queue", _ADD, _add, as_json=False))
    listed = _added(actions, "list", "[OPTION …]", "the jobs in the queue", _LIST, _list)
    states = ("waiting", "running", "done", "failed", "cancelled")
    listed.add_argument("--state", choices=states, metavar="{" + ",".join(states) + "}", help="only those of one state")
    run = _added(actions, "run", "[OPTION …]", "render what waits", _RUN, _run)
    run.add_argument("--watch", action="store_true", help="wait for more when nothing waits, until Ctrl-C")
    retry = _added(actions, "retry", "[JOB …] [OPTION …]", "let jobs that failed wait again", _RETRY, _retry)
    retry.add_argument("jobs", metavar="JOB", nargs="*", help=_NAME)
    cancel = _added(actions, "cancel", "JOB … [OPTION …]", "take jobs out of the queue", _CANCEL, _cancel)
    cancel.add_argument("jobs", metavar="JOB", nargs="*", help=_NAME)
    cancel.add_argument("--all", action="store_true", help="all that wait or run")


def run(options: argparse.Namespace) -> int:
    """Run what was asked, or print the help if nothing was."""
    if options.action is None:
        options.parser.print_help()
        return 0
    return int(options.action_run(options))


def _added(
    actions: Commands,
    name: str,
    usage: str,
    line: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
    *,
    as_json: bool = True,
) -> Parser:
    parser = actions.add_parser(name, usage=usage, help=line, description=description)
    parser.set_defaults(parser=parser, action_run=run)
    parser.add_argument("--queue", metavar="FILE", type=path, help=_QUEUE)
    if as_json:
        parser.add_argument("--json", action="store_true", help=_JSON)
    return parser


def _opened(options: argparse.Namespace) -> AbstractContextManager[Queue]:
    from sakuga.render.queue.store import open_queue

    return open_queue(options.queue)


def _add(options: argparse.Namespace) -> int:
    from sakuga.cli.clips import asked
    from sakuga.render.many import rooted

    jobs = rooted(asked(options).jobs)
    with _opened(options) as queue:
        new, known = queue.add(jobs)
    if options.json:
        print(_as_json({"added": new, "there_already": known}))
        return 0
    for row in known:
        print(f"in the queue already: {_line(row)}")
    for row in new:
        print(f"added: {_line(row)}")
    print(f"sakuga queue run{f' --queue {options.queue}' if options.queue else ''} renders them")
    return 0


def _list(options: argparse.Namespace) -> int:
    with _opened(options) as queue:
        rows = queue.rows(options.state)
    if options.json:
        print(_as_json({"jobs": rows}))
        return 0
    from sakuga.render.many import alike

    for row in rows:
        print(_line(row))
    counts = Counter(row.state for row in rows)
    print(f"{len(rows)} in {queue.path}: " + (", ".join(f"{n} {state}" for state, n in counts.items()) or "nothing"))
    for names, error in alike((f"{row.number} {row.source}", row.error) for row in rows if row.error):
        print(f"\nfailed: {', '.join(names)}\n{error.told()}")
    return 0


def _run(options: argparse.Namespace) -> int:
    from sakuga.cli.clips import tell_end, tell_outcome
    from sakuga.cli.console import shown, stopping
    from sakuga.cli.render import drawing
    from sakuga.progress import Progress
    from sakuga.render.queue.serve import serve

    progress = Progress()
    outcomes = []
    with _opened(options) as queue, stopping(progress), drawing() as draw:
        for outcome in serve(queue, draw, progress, shown, watch=options.watch):
            outcomes.append(outcome)
            if not options.json:
                tell_outcome(outcome)
    if options.json:
        print(json.dumps([outcome.as_json() for outcome in outcomes], indent=2, ensure_ascii=False))
    return tell_end(outcomes, stopped=progress.stop_asked)


def _retry(options: argparse.Namespace) -> int:
    from sakuga.render.queue.chosen import chosen
    from sakuga.render.queue.row import CANCELLED, FAILED

    with _opened(options) as queue:
        jobs = chosen(queue.rows(), options.jobs, (FAILED, CANCELLED), "tried again")
        jobs = jobs if options.jobs else queue.rows(FAILED)
        queue.retry([row.number for row in jobs])
        return _tell_changed(queue, jobs, as_json=options.json)


def _cancel(options: argparse.Namespace) -> int:
    from sakuga.errors import JobError
    from sakuga.render.queue.chosen import chosen
    from sakuga.render.queue.row import RUNNING, WAITING

    if options.all == bool(options.jobs):
        raise JobError(
            "it is not clear which jobs are meant",
            given=" ".join([*options.jobs, "--all"]) if options.all else None,
            expected="numbers or names of jobs, or --all",
            do="sakuga queue list",
        )
    with _opened(options) as queue:
        rows = queue.rows()
        jobs = chosen(rows, options.jobs, (WAITING, RUNNING), "cancelled")
        jobs = [row for row in rows if row.state in (WAITING, RUNNING)] if options.all else jobs
        queue.cancel([row.number for row in jobs])
        return _tell_changed(queue, jobs, as_json=options.json)


def _tell_changed(queue: Queue, before: list[Row], *, as_json: bool) -> int:
    """The jobs as they are now."""
    numbers = {row.number for row in before}
    rows = [row for row in queue.rows() if row.number in numbers]
    if as_json:
        print(_as_json({"jobs": rows}))
        return 0
    for row in rows:
        print(f"{_line(row)}{' (asked to stop)' if row.stop else ''}")
    if not rows:
        print("nothing to change")
    return 0


def _line(row: Row) -> str:
    """A job in one line."""
    by = f" by process {row.process}" if row.state == "running" else ""
    return f"{row.number:>5}  {row.state:<9}  {row.source} → {row.output}{by}"


def _as_json(lists: dict[str, list[Row]]) -> str:
    told = {name: [row.as_json() for row in rows] for name, rows in lists.items()}
    return json.dumps({"schema": 1} | told, indent=2, ensure_ascii=False)
