"""The clips that ``render`` and ``queue add`` are given: many inputs, folders of videos, ``--jobs``; as jobs.

Refuses nothing by itself: what clashes is for ``render/many.py`` to say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.parser import path
from sakuga.errors import JobError, SakugaError, Several, counted, raise_all

if TYPE_CHECKING:
    from sakuga.cli.parser import Parser
    from sakuga.render.many import Outcome
    from sakuga.spec.load import Written
    from sakuga.spec.many import Listed

_JOBS = (
    "a file of many jobs (.yaml, .yml, .json) in the place of INPUT: base, a table with fields of a job, and clips, a "
    "list of paths and of tables such as {source: b.mp4, seed: 3, stages.0.prompt: ink}"
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for; ``many`` unless it is a single input that is one clip."""

    jobs: list[Written]
    many: bool


def add_clips(parser: Parser) -> None:
    """The inputs, ``--jobs``, and all the flags of a job."""
    from sakuga.cli.flags import add_flags

    add_flags(parser, many=True)
    parser.add_argument("--jobs", metavar="FILE", type=path, help=_JOBS)


def asked(options: argparse.Namespace) -> Asked:
    """The jobs that the command line asks for, each of many with an output of its own.

    What is wrong with them is told together, before any work.

    Raises JobError, Several, FileProblem, OutputError.
    """
    from sakuga.cli.flags import overrides_of
    from sakuga.render.many import placed, videos_in, without_results

    if options.jobs is not None:
        from sakuga.spec.many import read_jobs

        if options.sources:
            raise JobError(
                "clips are named in two places",
                given=f"--jobs {options.jobs} and {options.sources[0]}",
                expected="the one or the other",
                do="write all clips into the list in the file",
            )
        return Asked(jobs=placed(read_jobs(options.jobs, overrides_of(options))), many=True)
    if not options.sources:
        raise JobError(
            "the following arguments are required: INPUT",
            expected=f"{options.parser.prog} INPUT … [OPTION …]",
            do=f"{options.parser.prog} --help",
        )
    spread = {source: videos_in(Path(source)) if source.strip() else [] for source in options.sources}
    sources = [str(one) for source in options.sources for one in spread[source] or [source]]
    listed = _listed(options, sources)
    if len(options.sources) == 1 and not spread[options.sources[0]]:
        return Asked(jobs=[listed[0].written], many=False)
    kept, left = without_results(listed)
    for source in left:
        print(f"{source} is left out: it is where the result of another of these clips goes", file=sys.stderr)
    return Asked(jobs=placed(kept), many=True)


def _listed(options: argparse.Namespace, sources: Sequence[str]) -> list[Listed]:
    """The job of each input."""
    from sakuga.cli.flags import overrides_of, written_of
    from sakuga.spec.load import parsed
    from sakuga.spec.many import FOLDERS, Listed

    flags, _ = parsed(overrides_of(options))
    shared = frozenset(str(flag.place[0]) for flag in flags if flag.place[0] in FOLDERS)
    listed, findings = list[Listed](), list[SakugaError]()
    for source in sources:
        try:
            listed.append(Listed(written=written_of(source, options), shared=shared))
        except SakugaError as error:
            findings += error.findings if isinstance(error, Several) else (error,)
    raise_all(list({str(finding): finding for finding in findings}.values()))
    return listed


def tell_outcome(outcome: Outcome) -> None:
    """One clip, in a line on stdout; notes of its report below."""
    report = outcome.report
    print(f"{outcome.status}: {outcome.output if report else outcome.source}")
    for note in report.notes if report else ():
        print(f"  {note.what}: {note.reason}")


def tell_end(outcomes: Sequence[Outcome], *, stopped: bool) -> int:
    """How many there were and what failed, on stderr; the exit status: 0, 1 some failed, 2 all did, 130 ``stopped``."""
    from sakuga.render.many import FAILED, NOT_BEGUN, STOPPED

    states = [outcome.status for outcome in outcomes]
    told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print(f"\n{counted(len(outcomes), 'clip')}: {told or 'nothing to do'}", file=sys.stderr)
    tell_failed([(str(one.source), one.error) for one in outcomes if one.error and one.status == FAILED])
    for one in outcomes:
        if one.status in (STOPPED, NOT_BEGUN):
            print(f"{one.status}: {one.source}", file=sys.stderr)
    if stopped:
        return 130
    return (2 if states.count(FAILED) == len(states) else 1) if FAILED in states else 0


def tell_failed(failed: Sequence[tuple[str, SakugaError]]) -> None:
    """What failed, on stderr, each error once, below the names of those that have it."""
    from sakuga.cli.console import tell_error
    from sakuga.render.many import alike

    for names, error in alike(failed):
        print(f"\nfailed: {', '.join(names)}", file=sys.stderr)
        tell_error(error)
