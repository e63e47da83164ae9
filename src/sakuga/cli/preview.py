"""``sakuga preview``: a few frames of a job in a contact sheet, and what the whole would take."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.moment import DECIDED, add_moment
from sakuga.cli.parser import path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands
    from sakuga.spec.job import Job

_DESCRIPTION = (
    "Draw a few frames of a job, with and without its LoRAs, in a contact sheet with the source and what the controls "
    "see, and say about how long the whole would take, how much memory, and how much room on the disk. A motion module "
    "sees the chosen frames alone, so that a frame may differ a little from what it will be among its neighbours."
)
_OUTPUT = "the contact sheet (default: the source's name with -preview.png)"


def add(commands: Commands) -> None:
    """Register the command and its flags."""
    from sakuga.cli.flags import add_flags

    parser = commands.add_parser("preview", usage="INPUT [JOB] [OPTION …]", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    add_flags(parser, without=DECIDED)
    add_moment(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=path, help=_OUTPUT)
    parser.add_argument("--overwrite", action="store_true", help="replace a sheet that is there already")


def run(options: argparse.Namespace) -> int:
    """Draw, write the sheet, print what the whole would take."""
    from sakuga.cli.console import watched
    from sakuga.cli.flags import asked

    with asked(options) as written, watched() as progress:
        from sakuga.cli.moment import first_frame
        from sakuga.render.preview import preview
        from sakuga.render.studio import Studio
        from sakuga.video.outputs import check_output
        from sakuga.video.sheet import grid_sheet
        from sakuga.video.stills import write_picture

        sheet = options.output or named(written.job, "-preview.png")
        check_output(sheet, frames=1, overwrite=options.overwrite)
        first = first_frame(written.job, options.at, options.frames)
        with Studio() as studio:
            seen = preview(studio, written.job, first, options.frames, progress)
        labels, rows = zip(*seen.rows, strict=True)
        frames = list(zip(*rows, strict=True))
        picture = grid_sheet(frames, labels, [""] * len(frames))
        write_picture(sheet, picture, overwrite=options.overwrite)
    told = {
        "schema": 1,
        "sheet": str(sheet),
        "first_frame": first,
        "whole": seen.whole,
        "report": seen.report.as_json(),
    }
    print(json.dumps(told, indent=2, ensure_ascii=False) if options.json else "\n".join(_lines(sheet, seen.whole)))
    return 0


def named(job: Job, ending: str) -> Path:
    """A name in the working directory, from the source's own."""
    return Path(f"{job.source.stem or job.source.resolve().name or 'clip'}{ending}")


def _lines(sheet: Path, whole: dict[str, float]) -> list[str]:
    seconds = whole.get("seconds")
    time = "these frames were drawn before, so nothing is known of the time"
    if seconds is not None:
        hours, minutes = divmod(round(seconds / 60), 60)
        time = f"about {hours} h {minutes:02} min" if seconds >= 3600 else f"about {seconds / 60:.1f} min"
    return [
        f"sheet: {sheet}",
        f"  {'whole':<12}{whole['frames']:.0f} frames: {time}, without loading and looking for cuts",
        f"  {'memory':<12}{whole['memory_bytes'] / 2**20:.0f} MiB for these frames; a full span takes more",
        f"  {'disk':<12}about {whole['disk_bytes'] / 1e6:.0f} MB for finished frames, besides the output",
    ]
