"""``sakuga render``: clips, pictures, folders or job files become comics, one after the other."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sakuga.cli.parser import Commands
    from sakuga.progress import Progress
    from sakuga.render.many import Draw
    from sakuga.report import Report
    from sakuga.spec.load import Written

_DESCRIPTION = (
    "Render a clip, or what a job file asks for. A flag takes the place of what the job file says; flags of the look "
    "speak of the first stage. What is left out is the base's own default, which the report names. The report is "
    "written next to the output. Of many clips, or a folder of videos, each is rendered with the same flags into the "
    "folder that -o names; those that are finished already are skipped, and what fails is listed in the end."
)


_FRESH = "draw every frame anew, also those that an earlier run has finished"
_APPROVE = "draw a frame of each shot first, in a sheet beside the output, and go on when you say yes"
_WAIT = "wait for another run that is at work on this output, instead of an error"


def add(commands: Commands) -> None:
    """Register the command and its flags."""
    from sakuga.cli.clips import add_clips

    parser = commands.add_parser("render", usage="INPUT … [OPTION …]", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    add_clips(parser)
    group = parser.add_argument_group("a run that was broken off goes on where it stopped")
    group.add_argument("--fresh", action="store_true", help=_FRESH)
    group.add_argument("--wait", action="store_true", help=_WAIT)
    parser.add_argument("--approve", action="store_true", help=_APPROVE)


def run(options: argparse.Namespace) -> int:
    """Render, print the report; of many, print what became of each."""
    from sakuga.cli.clips import asked
    from sakuga.cli.console import tell, tell_event, watched
    from sakuga.cli.flags import told_where
    from sakuga.report import report_path

    given = asked(options)
    if given.many:
        if options.approve:
            raise JobError(
                "many clips cannot be approved at once",
                given="--approve",
                expected="one clip",
                do="render them one by one",
            )
        return _many(given.jobs, options)
    [written] = given.jobs
    if options.approve and not _approved(written):
        print("Stopped: not approved; nothing was rendered", file=sys.stderr)
        return 130
    with told_where(written), watched() as progress, drawing(options) as draw:
        report = draw(written, progress)
    if options.events:
        beside = str(report_path(Path(report.output or "")))
        tell_event("done", {"status": report.status, "output": report.output, "report": beside})
    tell(report, as_json=options.json)
    return 0


@contextmanager
def drawing(options: argparse.Namespace | None = None) -> Iterator[Draw]:
    """What renders one job after the other and keeps the models meanwhile; after a bug they are loaded anew."""
    fresh, wait = (options.fresh, options.wait) if options else (False, False)
    from sakuga.errors import SakugaError
    from sakuga.render.studio import Studio

    with Studio(reuse=not fresh) as studio:

        def draw(written: Written, progress: Progress) -> Report:
            try:
                return studio.render(written.job, progress=progress, origin=written.origin, wait=wait)
            except (SakugaError, OSError):
                raise
            except Exception:
                studio.close()
                raise

        yield draw


def _many(jobs: list[Written], options: argparse.Namespace) -> int:
    """Render them all, say what became of each; the exit status."""
    from sakuga.cli.clips import tell_end, tell_outcome
    from sakuga.cli.console import shown, stopping
    from sakuga.progress import Progress
    from sakuga.render.many import each

    progress = Progress()
    outcomes = []
    with stopping(progress), drawing(options) as draw:
        for outcome in each(jobs, draw, progress, shown):
            outcomes.append(outcome)
            if not options.json:
                tell_outcome(outcome)
    if options.json:
        print(json.dumps([outcome.as_json() for outcome in outcomes], indent=2, ensure_ascii=False))
    return tell_end(outcomes, stopped=progress.stop_asked)


def _approved(written: Written) -> bool:
    """Whether the user says yes to a frame of each shot. Raises JobError where there is nobody to ask."""
    from sakuga.cli.console import watched
    from sakuga.cli.flags import told_where
    from sakuga.render.preview import key_frames
    from sakuga.render.studio import Studio
    from sakuga.video.sheet import grid_sheet
    from sakuga.video.stills import write_picture

    if not sys.stdin.isatty():
        expected = "a terminal, at which you can say yes"
        raise JobError("there is nobody to ask", given="--approve", expected=expected, do="use sakuga preview")
    with told_where(written), watched() as progress, Studio() as studio:
        shots = key_frames(studio, written.job, progress)
    output = written.job.output_for(picture=False)
    sheet = output.with_name(f"{output.stem}-approve.png")
    rows = [[source, drawn] for _, source, drawn in shots]
    write_picture(sheet, grid_sheet(rows, ["", ""], [f"frame {index}" for index, *_ in shots]), overwrite=True)
    print(f"{len(shots)} shots are in {sheet}. Render the whole? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
