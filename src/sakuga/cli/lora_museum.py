"""``sakuga lora museum``: a file's header without its contents, to be sent with a report or to lie among the tests."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.parser import name, path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

_MUSEUM = (
    "Write what the header of an adapter file holds, without its weights: names, shapes and formats of the tensors, "
    "alphas, and of the metadata the keys and what is no private matter. Such a file is small and may be sent along "
    "with a report of what is read wrongly; look through it first."
)


def add(actions: Commands) -> None:
    """Register the command and its flags."""
    line = "a file's header without its contents"
    parser = actions.add_parser("museum", usage="NAME -o FILE [OPTION …]", help=line, description=_MUSEUM)
    parser.set_defaults(parser=parser, action_run=_run)
    parser.add_argument("name", metavar="NAME", type=name, help="the adapter, by name or path")
    parser.add_argument("-o", "--output", metavar="FILE", type=path, required=True, help="the JSON file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    told = "one more folder of models; may be given several times"
    parser.add_argument("--models", metavar="DIR", type=path, action="append", default=[], help=told)


def _run(options: argparse.Namespace) -> int:
    """Strip the file, see that the exhibit reads as the file does, write it."""
    import tempfile

    from sakuga.cli.lora_given import paths_of
    from sakuga.lora.museum import Exhibit, check_exhibit, strip
    from sakuga.models.library import Library
    from sakuga.tensors.file import TensorFile

    (file_path,) = paths_of([options.name], Library.usual(tuple(options.models)))
    with TensorFile.open(file_path) as file:
        told = strip(file)
    with tempfile.TemporaryDirectory() as folder:
        check_exhibit(Exhibit(told, Path(folder)).lay_out(Path(folder)))
    _write(options.output, json.dumps(told, indent=1, ensure_ascii=False) + "\n", overwrite=options.overwrite)
    kept = sum(bool(value) for value in told["metadata"].values())
    print(f"{options.output}: {len(told['tensors'])} names, {kept} of {len(told['metadata'])} values of the metadata")
    return 0


def _write(place: Path, text: str, *, overwrite: bool) -> None:
    from sakuga.errors import OutputError, OutputExists

    if place.exists() and not overwrite:
        raise OutputExists(f"{place} is there already", given=str(place), do="choose another -o, or add --overwrite")
    try:
        place.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise OutputError(
            f"{place} cannot be written",
            given=problem.strerror,
            expected="a file in a folder that is there",
            do="choose another -o",
        ) from problem
