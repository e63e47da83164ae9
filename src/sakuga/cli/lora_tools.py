"""``sakuga lora merge``, ``bake``, ``resize``, ``convert``, ``extract`` and ``diff``: adapters made of adapters."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sakuga.cli.columns import printable
from sakuga.cli.lora_given import adapters, checkpoint, stack

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands, Parser
    from sakuga.lora.tools.difference import Difference
    from sakuga.lora.tools.lowrank import Keep
    from sakuga.lora.tools.made import Made
    from sakuga.lora.tools.output import Numbers, Place
    from sakuga.models.library import Library
    from sakuga.progress import Progress

_MERGE = (
    "Write a stack of adapters as one adapter: their factors side by side, which is exact and whose rank is the sum of "
    "theirs, or with --rank the best pair of that rank, with the error stated. Strengths are inside the new file, "
    "which is used at 1."
)
_BAKE = (
    "Write a checkpoint with adapters in its weights: a single file into a single file, a folder as diffusers writes "
    "it into a folder. Only what changes is computed, with the bits that a render would use; all else is copied."
)
_RESIZE = (
    "Write an adapter with smaller ranks: each module becomes the best pair of at most --rank, with the error stated. "
    "Its strength stays the same; what is small enough keeps its bits."
)
_CONVERT = (
    "Write an adapter in another layout: kohya's (A1111, ComfyUI, kohya's trainers), diffusers' or PEFT's. The numbers "
    "keep their bits; from kohya's layout and back gives the same file."
)
_EXTRACT = (
    "Write the difference of two checkpoints as an adapter, each module as the best pair of at most --rank, with the "
    "error stated. Modules that are alike are left out."
)
_DIFF = (
    "Say what two adapters do not have in common: modules, ranks, alphas and their changes, compared module by module, "
    "whatever layouts the files are in."
)
_DYNAMIC = (
    "keep no more than METHOD asks for in each module: sv_fro and sv_cumulative, the share of the Frobenius norm or of "
    "the sum of singular values to keep; sv_ratio, the largest singular value divided by the least to keep"
)
_USE = (
    "an adapter by name or path, with its weight: NAME, NAME:0.8, NAME:0.5:0.8 for text encoder and UNet, and block "
    "weights, NAME:0.8:lbw=OUTD"
)
_LAYOUTS, _NUMBERS = "kohya, diffusers, peft", "fp16, bf16, fp32"

Word = TypeVar("Word", bound=str)


def add(actions: Commands) -> None:
    """Register the six commands."""
    merge = _added(actions, "merge", "NAME[:WEIGHT] … -o FILE [OPTION …]", "a stack as one adapter", _MERGE, _merge)
    merge.add_argument("uses", metavar="NAME[:WEIGHT]", nargs="+", help=_USE)
    _add_output(merge, layout="kohya", numbers="the widest of the adapters'")
    _add_rank(merge, needed=False)
    merge.add_argument(
        "--base", metavar="NAME", help="the base that it is for, where its weights or its names are needed"
    )
    bake = _added(actions, "bake", "--base NAME NAME[:WEIGHT] … -o FILE [OPTION …]", "a stack in a model", _BAKE, _bake)
    bake.add_argument("uses", metavar="NAME[:WEIGHT]", nargs="+", help=_USE)
    bake.add_argument("--base", metavar="NAME", required=True, help="the checkpoint or folder, by name or path")
    _add_output(bake)
    resize = _added(actions, "resize", "NAME --rank N -o FILE [OPTION …]", "an adapter of lower rank", _RESIZE, _resize)
    resize.add_argument("name", metavar="NAME", help="an adapter, by name or path")
    _add_output(resize, layout="the adapter's own", numbers="the adapter's own")
    _add_rank(resize, needed=True)
    resize.add_argument("--base", metavar="NAME", help="the base that it is for, where nothing else tells its names")
    convert = _added(actions, "convert", "NAME --to LAYOUT -o FILE [OPTION …]", "another layout", _CONVERT, _convert)
    convert.add_argument("name", metavar="NAME", help="an adapter, by name or path")
    convert.add_argument("--to", metavar="LAYOUT", required=True, help=_LAYOUTS)
    _add_output(convert)
    convert.add_argument("--base", metavar="NAME", help="the base that it is for, where nothing else tells its names")
    extract = _added(
        actions,
        "extract",
        "--base A --tuned B --rank N -o FILE [OPTION …]",
        "two models as an adapter",
        _EXTRACT,
        _extract,
    )
    extract.add_argument("--base", metavar="A", required=True, help="the checkpoint that the adapter is for")
    extract.add_argument("--tuned", metavar="B", required=True, help="the checkpoint that it turns it into")
    extract.add_argument("--full", action="store_true", help="write the differences of biases and norms too, whole")
    _add_output(extract, layout="kohya", numbers="fp16")
    _add_rank(extract, needed=True)
    diff = _added(actions, "diff", "A B [OPTION …]", "what differs between two adapters", _DIFF, _diff)
    diff.add_argument("first", metavar="A", help="an adapter, by name or path")
    diff.add_argument("second", metavar="B", help="another one")
    diff.add_argument(
        "--base", metavar="NAME", help="the base that they are for, where its weights or names are needed"
    )


def _added(
    actions: Commands,
    name: str,
    usage: str,
    line: str,
    description: str,
    run: Callable[[argparse.Namespace, Library, Progress], Made | Difference],
) -> Parser:
    parser = actions.add_parser(name, usage=usage, help=line, description=description)
    parser.set_defaults(parser=parser, action_run=lambda options: _run(options, run))
    told = "one more folder of models; may be given several times"
    parser.add_argument("--models", metavar="DIR", type=Path, action="append", default=[], help=told)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_output(parser: Parser, *, layout: str = "", numbers: str = "") -> None:
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="what to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    if layout:
        told = f"{_LAYOUTS}, whose output is a folder (default: {layout})"
        parser.add_argument("--layout", metavar="LAYOUT", help=told)
    if numbers:
        told = f"{_NUMBERS}: the number format of the factors (default: {numbers})"
        parser.add_argument("--dtype", metavar="FORMAT", help=told)


def _add_rank(parser: Parser, *, needed: bool) -> None:
    parser.add_argument("--rank", metavar="N", type=int, required=needed, help="the largest rank of a module")
    parser.add_argument("--dynamic", metavar=("METHOD", "NUMBER"), nargs=2, help=_DYNAMIC)


def _run(options: argparse.Namespace, run: Callable[[argparse.Namespace, Library, Progress], Made | Difference]) -> int:
    """Do it, and print the account."""
    from sakuga.cli.console import watched
    from sakuga.models.library import Library

    with watched() as progress:
        found = run(options, Library.usual(tuple(options.models)), progress)
    if options.json:
        print(json.dumps(found.told(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(printable, found.lines())))
    return 0


def _merge(options: argparse.Namespace, library: Library, progress: Progress) -> Made:
    from sakuga.lora.tools.merge import merge

    place, keep = _place(options, options.layout or "kohya"), _keep(options)
    place.check()
    base = checkpoint(options.base, library) if options.base else None
    sources = stack(options.uses, library, base)
    weigh = base.weight if base else None
    return merge(sources, place, keep=keep, numbers=_numbers(options), weigh=weigh, progress=progress)


def _bake(options: argparse.Namespace, library: Library, progress: Progress) -> Made:
    from sakuga.lora.tools.bake import bake

    base = checkpoint(options.base, library)
    sources = stack(options.uses, library, base)
    return bake(base, sources, options.output, overwrite=options.overwrite, progress=progress)


def _resize(options: argparse.Namespace, library: Library, progress: Progress) -> Made:
    from sakuga.lora.tools.relabel import layout_of
    from sakuga.lora.tools.resize import resize

    keep = _keep(options)
    assert keep is not None
    base = checkpoint(options.base, library) if options.base else None
    (source,) = adapters([options.name], library, base)
    place = _place(options, options.layout or layout_of(source))
    return resize(source, place, keep, numbers=_numbers(options), progress=progress)


def _convert(options: argparse.Namespace, library: Library, progress: Progress) -> Made:
    from sakuga.lora.tools.convert import convert

    place = _place(options, options.to)
    base = checkpoint(options.base, library) if options.base else None
    (source,) = adapters([options.name], library, base)
    return convert(source, place, progress=progress)


def _extract(options: argparse.Namespace, library: Library, progress: Progress) -> Made:
    from sakuga.lora.tools.checkpoint import Checkpoint
    from sakuga.lora.tools.extract import extract
    from sakuga.models.library import BASE

    place, keep = _place(options, options.layout or "kohya"), _keep(options)
    assert keep is not None
    place.check()
    base = checkpoint(options.base, library)
    tuned = Checkpoint.open(library.find(options.tuned, BASE), base.names)
    return extract(base, tuned, place, keep, full=options.full, numbers=_numbers(options) or "fp16", progress=progress)


def _diff(options: argparse.Namespace, library: Library, progress: Progress) -> Difference:
    from sakuga.lora.tools.difference import difference

    base = checkpoint(options.base, library) if options.base else None
    one, other = adapters([options.first, options.second], library, base)
    return difference(one, other, weigh=base.weight if base else None, progress=progress)


def _place(options: argparse.Namespace, layout: str) -> Place:
    from sakuga.lora.tools.output import Place
    from sakuga.lora.tools.spelling import LAYOUTS

    known = _chosen("layout", layout, LAYOUTS)
    return Place(path=options.output, layout=known, overwrite=options.overwrite)


def _numbers(options: argparse.Namespace) -> Numbers | None:
    from sakuga.lora.tools.output import DTYPES

    return _chosen("number format", options.dtype, tuple(DTYPES)) if options.dtype else None


def _chosen(what: str, word: str, known: Sequence[Word]) -> Word:
    """The one of ``known`` that is asked for. Raises JobError."""
    from sakuga.errors import JobError, nearest_name

    for one in known:
        if one == word:
            return one
    expected, nearest = "one of " + ", ".join(known), nearest_name(word, known)
    raise JobError(f"there is no {what} {word!r}", given=word, expected=expected, nearest=nearest)


def _keep(options: argparse.Namespace) -> Keep | None:
    """What --rank and --dynamic ask for. Raises JobError."""
    from sakuga.errors import JobError, nearest_name
    from sakuga.lora.tools.lowrank import METHODS, Keep

    if options.dynamic is None:
        return None if options.rank is None else Keep(rank=options.rank)
    name, text = options.dynamic
    method = next((one for one in METHODS if one == name), None)
    try:
        value = float(text)
    except ValueError:
        method = None
    if method is None or options.rank is None:
        raise JobError(
            "--dynamic needs a method that is known, a number, and --rank as the most to keep",
            given=f"--dynamic {name} {text}",
            expected=f"one of {', '.join(METHODS)}, such as --rank 32 --dynamic sv_fro 0.9",
            nearest=nearest_name(name, METHODS),
        )
    return Keep(rank=options.rank, method=method, value=value)
