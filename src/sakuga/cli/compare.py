"""``sakuga compare``: clips side by side, split or wiped, and how far the first two are apart."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.parser import path
from sakuga.errors import JobError, counted

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

_DESCRIPTION = (
    "Hold clips against each other in one video: side by side (stack), the left part of one and the right of the other "
    "(split), or with a line that moves from one to the other and back (wipe). The first one's frames, times and sound "
    "are those of the result; of the others it shows what they show at that moment, at the first one's size. Says how "
    "far the first two are apart; without -o that is all."
)
_OUTPUT = "the video, or a picture of one-frame clips"


def add(commands: Commands) -> None:
    """Register the command and its flags."""
    parser = commands.add_parser("compare", usage="FILE FILE … [OPTION …]", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    parser.add_argument("files", metavar="FILE", type=path, nargs="+", help="videos, pictures or folders of pictures")
    parser.add_argument("-o", "--output", metavar="FILE", type=path, help=_OUTPUT)
    parser.add_argument("--as", choices=("stack", "split", "wipe"), default="stack", dest="way", help="how (stack)")
    parser.add_argument("--label", metavar="TEXT", action="append", help="a label for each, in the order of the files")
    parser.add_argument("--no-labels", action="store_true", help="leave out the labels, which are the files' names")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there already")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Compare, write, say how far they are apart."""
    from sakuga.cli.console import watched
    from sakuga.video.outputs import check_output
    from sakuga.video.read import open_clip
    from sakuga.video.side import Apart, compared, size_of
    from sakuga.video.write import ClipWriter

    if len(options.files) < 2:
        raise JobError("there is nothing to compare it with", given=str(options.files[0]), expected="two files or more")
    labels = _labels(options)
    if options.output is not None:
        check_output(options.output, overwrite=options.overwrite)
        _not_a_source(options.output, options.files)
    apart, notes = Apart(), list[str]()
    with ExitStack() as opened, watched() as progress:
        clips = [opened.enter_context(open_clip(file)) for file in options.files]
        progress.begin("compare", clips[0].frame_count)
        writer = None
        if options.output is not None:
            width, height = size_of(clips, options.way)
            writer = ClipWriter(options.output, clips[0], width, height, overwrite=options.overwrite)
            opened.enter_context(writer)
        for frame in compared(clips, options.way, labels, apart):
            if writer is not None:
                writer.write(frame)
            progress.advance()
    if writer is not None:
        notes += writer.notes
    told = {"schema": 1, "output": options.output and str(options.output), **apart.told(), "notes": notes}
    print(json.dumps(told, indent=2, ensure_ascii=False) if options.json else "\n".join(_lines(apart, notes, options)))
    return 0


def _labels(options: argparse.Namespace) -> list[str]:
    if options.no_labels:
        return ["" for _ in options.files]
    if options.label is None:
        return [file.name or str(file) for file in options.files]
    if len(options.label) != len(options.files):
        given = f"{counted(len(options.label), 'label')} for {counted(len(options.files), 'file')}"
        raise JobError("each file needs a label", given=given, expected="as many labels as files, or none")
    labels: list[str] = options.label
    return labels


def _not_a_source(output: Path, files: list[Path]) -> None:
    if output.exists() and any(file.exists() and output.samefile(file) for file in files):
        raise JobError(
            "the output is one of the files", given=str(output), expected="another name", do="choose another"
        )


def _lines(apart: object, notes: list[str], options: argparse.Namespace) -> list[str]:
    from sakuga.video.side import Apart

    assert isinstance(apart, Apart)
    told = apart.told()
    first, second = options.files[:2]
    if apart.identical:
        lines = [f"identical: every pixel and every time of {counted(apart.frames, 'frame')}"]
    else:
        mean = ", ".join(f"{one:.2f}" for one in told["mean_difference"])
        psnr = "no pixel differs" if told["psnr"] is None else f"PSNR {told['psnr']:.2f} dB"
        lines = [
            f"{first} and {second}: {psnr}; {apart.equal} of {counted(apart.frames, 'frame')} are equal",
            f"  differences of levels (R, G, B): {mean} on average, {apart.largest} at most",
        ]
        if not apart.same_times:
            lines.append("  their times differ: each frame of the first is held against what the second shows then")
        lines += [] if apart.same_size else ["  their sizes differ: the second was scaled to the first one's"]
    lines += [f"  note: {note}" for note in notes]
    return [*lines, *([f"made: {options.output}"] if options.output is not None else [])]
