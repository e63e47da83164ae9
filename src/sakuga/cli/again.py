"""``sakuga again``: an output is rendered once more, from the recipe that it carries."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.cli.parser import path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

_DESCRIPTION = (
    "Render an output of sakuga once more, by the recipe inside of it: the job, the seed, the hashes of all files. On "
    "the same class of machine, with the same version, the result has the very same bytes. Files are looked for beside "
    "the output, in the working directory, and where the report beside the output says; each must be the very one."
)
_WITH = "a file or folder that the recipe names, wherever it is now; may be given several times"


def add(commands: Commands) -> None:
    """Register the command and its flags."""
    parser = commands.add_parser("again", usage="FILE [OPTION …]", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    parser.add_argument("file", metavar="FILE", type=path, help="a video or a picture that sakuga has written")
    parser.add_argument("-o", "--output", metavar="FILE", type=path, help="the result (default: FILE with -again)")
    parser.add_argument("--with", metavar="FILE", type=path, action="append", default=[], dest="given", help=_WITH)
    parser.add_argument(
        "--models", metavar="DIR", type=path, action="append", default=[], help="one more folder of models"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there already")
    parser.add_argument("--show", action="store_true", help="print the recipe, and render nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, and nothing else, on stdout")


def run(options: argparse.Namespace) -> int:
    """Render, compare, say so."""
    from sakuga.cli.console import tell, watched
    from sakuga.render.recipe import Recipe, refuse_folder

    refuse_folder(options.file)
    recipe = Recipe.read(options.file)
    if options.show:
        print(json.dumps(recipe.told, indent=2, ensure_ascii=False))
        return 0
    from sakuga.render.again import again
    from sakuga.render.studio import Studio

    output = options.output or options.file.with_name(f"{options.file.stem}-again{options.file.suffix}")
    folders = [options.file.parent, Path(), *options.models]
    job = recipe.job(folders, options.given, output, overwrite=options.overwrite)
    with watched() as progress, Studio(models=options.models, reuse=False) as studio:
        report = again(studio, recipe, job, progress)
    tell(report, as_json=options.json)
    return 0
