"""``sakuga demo``: the clip that comes with the package becomes a comic; what came out lies side by side to look at."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.parser import path
from sakuga.errors import OutputError

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands
    from sakuga.report import Report

_DESCRIPTION = (
    "Render the clip that comes with the package on the starter model, once without and once with a stack of two "
    "LoRAs, and leave in a folder: both videos, source and result side by side, a contact sheet and the reports."
)
PROMPT = "flat colours, clean ink lines"
STACK = ("celcomic:1", "ink:0.2")
WITHOUT, WITH = "without LoRA", "with " + " ".join(STACK)
SHEET_FRAMES = 6


def add(commands: Commands) -> None:
    """Register the command and its flags."""
    parser = commands.add_parser("demo", usage="[-o DIR]", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    parser.add_argument("-o", "--output", metavar="DIR", type=path, default=Path("out"), help="where (default: out)")
    parser.add_argument("--preset", metavar="NAME", help="settings under a name; sakuga presets lists them")
    parser.add_argument("--overwrite", action="store_true", help="replace what another version left there")


def run(options: argparse.Namespace) -> int:
    """Render twice, put together what there is to see, say what was made."""
    from sakuga.cli.console import watched
    from sakuga.render.studio import Studio
    from sakuga.spec.job import Job, Stage
    from sakuga.spec.uses import LoraUse

    folder = _made(options.output)
    stack = tuple(LoraUse.parse(short) for short in STACK)
    looks = {"plain": (WITHOUT, ()), "toon": (WITH, stack)}
    reports: dict[str, Report] = {}
    with watched() as progress, Studio() as studio:
        for look, (label, adapters) in looks.items():
            progress.about = f"{label}: "
            job = Job(
                source=Path("demo"),
                preset=options.preset,
                stages=(Stage(prompt=PROMPT, adapters=adapters),),
                output=folder / f"demo-{look}.mp4",
                overwrite=options.overwrite,
            )
            reports[look] = studio.render(job, progress=progress)
    made = _show(folder)
    print(reports["toon"].text())
    print("\nMade:")
    for file, what in made:
        print(f"  {file}  {what}")
    command = sys.argv[0] if Path(sys.argv[0]).name == "sakuga" else "sakuga"
    print("\nTry next:")
    print(f"  {command} render YOUR.mp4 --lora celcomic -o yours.mp4")
    print(f"  {command} render YOUR.jpg --lora ink -o yours.png")
    print(f"  {command} lora show YOUR.safetensors --base starter")
    return 0


def _made(folder: Path) -> Path:
    """The folder, made if it is not there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be made",
            given=error.strerror,
            expected="a folder",
            do="choose another with -o",
        ) from error
    return folder


def _show(folder: Path) -> list[tuple[Path, str]]:
    """Write the side-by-side video and the contact sheet from the finished videos."""
    from sakuga.models.library import STARTER
    from sakuga.video.read import open_clip
    from sakuga.video.sheet import beside, contact_sheet
    from sakuga.video.stills import write_picture
    from sakuga.video.write import ClipWriter

    plain, toon = folder / "demo-plain.mp4", folder / "demo-toon.mp4"
    paths = {"source": STARTER / "demo.mp4", WITHOUT: plain, WITH: toon}
    pair, sheet = folder / "demo-side-by-side.mp4", folder / "demo-sheet.png"
    with open_clip(paths["source"]) as source, open_clip(toon) as drawn:
        count = source.frame_count
        with ClipWriter(pair, source, 2 * source.width, source.height, overwrite=True) as writer:
            for left, right in zip(source.frames(), drawn.frames(), strict=True):
                writer.write(replace(left, pixels=beside(left.pixels, right.pixels)))
    chosen = [round((i + 0.5) * count / SHEET_FRAMES) for i in range(SHEET_FRAMES)]
    rows = []
    for file in paths.values():
        with open_clip(file) as clip:
            rows.append([next(clip.frames(index, index + 1)).pixels for index in chosen])
    write_picture(sheet, contact_sheet(rows, list(paths)), overwrite=True)
    return [
        (toon, "the clip as a comic, with its sound"),
        (plain, "the same without LoRAs"),
        (pair, "source and comic side by side"),
        (sheet, "source, without and with LoRAs, at six moments"),
        (folder / "demo-toon.report.json", "what was used for the comic, and what was left out and why"),
        (folder / "demo-plain.report.json", "the same for the one without LoRAs"),
    ]
