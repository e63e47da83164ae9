"""``sakuga convert``: an old config of Diffutoon becomes a job file that one can read on from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.parser import path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands
    from sakuga.spec.load import Written

_DESCRIPTION = (
    "Read a config of Diffutoon (DiffSynth 1.x), alone or the pair of the two-stage script, and write the job that it "
    "stands for. A .py file is read, never run. Nothing is rendered; render takes such a config as it is, too."
)


def add(commands: Commands) -> None:
    """Register the command and its flags."""
    parser = commands.add_parser("convert", usage="CONFIG -o FILE", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    parser.add_argument("config", metavar="CONFIG", type=path, help="the config: .json, .yaml or a .py script with it")
    parser.add_argument("-o", "--output", metavar="FILE", type=path, required=True, help="the job file, .yaml")
    parser.add_argument(
        "--models", metavar="DIR", type=path, action="append", default=[], help="one more folder to look for names in"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def run(options: argparse.Namespace) -> int:
    """Write the job, say what became of every key."""
    from sakuga.errors import JobError
    from sakuga.render.old import written_of
    from sakuga.spec.load import JOB_ENDINGS, is_job_file

    if not is_job_file(options.output):
        ending = options.output.suffix or "no ending"
        raise JobError("a job file has another name", given=ending, expected=", ".join(JOB_ENDINGS[:2]))
    if options.output.exists() and options.output.samefile(options.config):
        raise JobError("the job file is the config itself", given=str(options.output), do="choose another name")
    written = written_of(options.config, models=options.models)
    if written is None or written.origin is None:
        do = f"sakuga check {options.config}"
        raise JobError("this is a job already", given=str(options.config), expected="an old config", do=do)
    _write(options.output, job_text(written), overwrite=options.overwrite)
    for key in written.origin.keys:
        print(f"{key['key']}: {key['value']} → {key['became']}")
    for note in written.origin.notes:
        print(f"note: {note.what}: {note.reason}")
    print(f"written: {options.output}")
    return 0


def job_text(written: Written) -> str:
    """The job file, with the notes about the config it comes from above."""
    from sakuga.spec.load import dump_job

    assert written.origin is not None
    notes = [f"# {note.what}: {note.reason}" for note in written.origin.notes]
    head = ["# Made from a config of Diffutoon (DiffSynth 1.x). Every field: sakuga render --help", *notes]
    return "\n".join(line.replace("\n", " ") for line in head) + "\n\n" + dump_job(written.job)


def _write(output: Path, text: str, *, overwrite: bool) -> None:
    from sakuga.errors import OutputError, OutputExists

    if output.exists() and not overwrite:
        raise OutputExists(
            f"{output.name} is there already", given=str(output), do="choose another name, or --overwrite"
        )
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError("the job file cannot be written", given=f"{output}: {error.strerror}") from error
