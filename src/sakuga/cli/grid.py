"""``sakuga grid``: the same frames with many settings, in a labelled picture, with what made them in a JSON beside."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.moment import DECIDED, add_moment
from sakuga.cli.parser import path
from sakuga.cli.preview import named
from sakuga.errors import JobError

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands
    from sakuga.render.grid import Cell
    from sakuga.spec.axis import Axis
    from sakuga.spec.job import Job

_DESCRIPTION = (
    "Draw the same frames with every combination of the values on two or three axes. An axis is FIELD=VALUES: "
    "lora.celcomic=0:1:0.25 (a LoRA's weight, from 0 to 1 in steps of 0.25), lora=celcomic,ink+celcomic,none (which "
    "LoRAs), control.tile=0.3,0.6, seed=1,2,3, steps=4,8, or any field by its path; a | between values takes the place "
    "of the comma, as in prompt=ink, red|ink, blue. The first of the frames is in the picture, all are in the video."
)
_OUTPUT = "the picture (default: the source's name with -grid.png); the JSON, and the video, take its name"


def add(commands: Commands) -> None:
    """Register the command and its flags."""
    from sakuga.cli.flags import add_flags

    parser = commands.add_parser("grid", usage="INPUT [JOB] --x FIELD=VALUES [OPTION …]", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    add_flags(parser, without=DECIDED)
    add_moment(parser)
    parser.add_argument("--x", metavar="FIELD=VALUES", required=True, help="what differs from column to column")
    parser.add_argument("--y", metavar="FIELD=VALUES", help="what differs from row to row")
    parser.add_argument("--z", metavar="FIELD=VALUES", help="what differs from table to table, one below the other")
    parser.add_argument("-o", "--output", metavar="FILE", type=path, help=_OUTPUT)
    parser.add_argument("--video", action="store_true", help="the grid as a video of all --frames, too")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")


def run(options: argparse.Namespace) -> int:
    """Draw all cells, write the picture, the JSON and the video."""
    from sakuga.cli.console import watched
    from sakuga.cli.flags import asked

    with asked(options) as written, watched() as progress:
        from sakuga.cli.moment import first_frame
        from sakuga.render.grid import cells_of, grid
        from sakuga.render.studio import Studio
        from sakuga.spec.axis import Axis

        axes = [Axis.parse(text, f"--{name}") for name in "xyz" if (text := getattr(options, name)) is not None]
        if options.z is not None and options.y is None:
            raise JobError(
                "a third axis without a second", given=f"--z {options.z}", expected="--x, --y, --z", do="say --y"
            )
        picture = options.output or named(written.job, "-grid.png")
        files = _free(picture, options)
        first = first_frame(written.job, options.at, options.frames)
        with Studio() as studio:
            jobs = cells_of(studio, written.job, axes)
            cells = list(grid(studio, jobs, first, options.frames, progress))
        _write(files, axes, cells, written.job, first, overwrite=options.overwrite)
    told = _told(files, axes, cells)
    print(json.dumps(told, indent=2, ensure_ascii=False) if options.json else "\n".join(map(str, files.values())))
    return 0


def _free(picture: Path, options: argparse.Namespace) -> dict[str, Path]:
    """The files that will be written, each of which must be free or may be replaced."""
    from sakuga.video.outputs import PICTURES_OUT, check_output
    from sakuga.whole import check_place

    if picture.suffix.lower() not in PICTURES_OUT:
        raise JobError("the grid is a picture", given=str(picture), expected="a name in .png or .jpg", do="see --video")
    files = {"picture": picture, "json": picture.with_suffix(".json")}
    if options.video:
        files["video"] = picture.with_suffix(".mp4")
        check_output(files["video"], overwrite=options.overwrite)
    check_output(picture, frames=1, overwrite=options.overwrite)
    check_place(files["json"], overwrite=options.overwrite)
    return files


def _write(
    files: dict[str, Path], axes: Sequence[Axis], cells: Sequence[Cell], job: Job, first: int, *, overwrite: bool
) -> None:
    from sakuga.render.check_clips import found
    from sakuga.render.grid import even, sheet_of
    from sakuga.video.clip import Frame
    from sakuga.video.read import open_clip
    from sakuga.video.stills import write_picture
    from sakuga.video.write import ClipWriter
    from sakuga.whole import appearing_whole, writing

    write_picture(files["picture"], sheet_of(axes, cells, 0), overwrite=overwrite)
    with appearing_whole(files["json"], overwrite=overwrite) as appearing, writing(files["json"]):
        text = json.dumps(_told(files, axes, cells), indent=2, ensure_ascii=False)
        appearing.hidden.write_text(text + "\n", encoding="utf-8")
    if "video" in files:
        sheets = [even(sheet_of(axes, cells, number)) for number in range(len(cells[0].frames))]
        height, width = sheets[0].shape[:2]
        with open_clip(found(job.source)) as clip:
            writer = ClipWriter(files["video"], clip, width, height, start=first, overwrite=overwrite)
            with writer:
                for number, pixels in enumerate(sheets):
                    pts = clip.pts_at(first + number)
                    writer.write(Frame(index=first + number, pts=pts, time_base=clip.time_base, pixels=pixels))


def _told(files: dict[str, Path], axes: Sequence[Axis], cells: Sequence[Cell]) -> dict[str, object]:
    return {
        "schema": 1,
        "files": {kind: str(file) for kind, file in files.items()},
        "axes": [{"axis": axis.flag[2:], "field": axis.name, "values": list(axis.values)} for axis in axes],
        "cells": [cell.told() for cell in cells],
    }
