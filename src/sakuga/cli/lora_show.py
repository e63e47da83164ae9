"""``sakuga lora show``: what is in adapter files, and how much of them fits a base."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from sakuga.cli.parser import name, path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

_SHOW = (
    "Say what is in adapter files: family, layout, algorithms, ranks, trigger words, how the training was set, hashes; "
    "how many keys are used, ignored or refused and why; and with --base how much of them fits that base. All that is "
    "read from the header; --deep reads the factors too."
)
_DEEP = (
    "read the factors: are all numbers finite, how strong is the change in each block (beside the weights of --base), "
    "which of the given files are one and the same; implies --hashes"
)


def add(actions: Commands) -> None:
    """Register the command and its flags."""
    parser = actions.add_parser("show", usage="NAME … [OPTION …]", help="what is in adapter files", description=_SHOW)
    parser.set_defaults(parser=parser, action_run=_run)
    parser.add_argument("names", metavar="NAME", type=name, nargs="+", help="an adapter, by name or path")
    parser.add_argument(
        "--base", metavar="NAME", type=name, help="a base, by name or path, to hold the adapters against"
    )
    parser.add_argument("--deep", action="store_true", help=_DEEP)
    parser.add_argument("--hashes", action="store_true", help="compute crc32 and blake3 too")
    told = "one more folder of models; may be given several times"
    parser.add_argument("--models", metavar="DIR", type=path, action="append", default=[], help=told)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print what is known of every file that can be read; the others are told of beside it, and the status is 2."""
    from sakuga.cli.console import tell_error
    from sakuga.cli.lora_lines import lines_of_adapter, lines_of_twins
    from sakuga.errors import raise_all

    told, twins, errors = _told(options)
    if options.json and told and len(options.names) == 1:
        print(json.dumps(told[0], indent=2, ensure_ascii=False))
    elif options.json and told:
        print(json.dumps({"schema": 1, "adapters": told, "twins": twins}, indent=2, ensure_ascii=False))
    elif not options.json:
        for one in told:
            print("\n".join(lines_of_adapter(one)), end="\n\n" if len(told) > 1 else "\n")
        print("".join(f"{line}\n" for line in lines_of_twins(twins)), end="")
    if not told:
        raise_all(errors)
    for error in errors:
        tell_error(error)
    return 2 if errors else 0


def _told(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Any]]:
    """(what is told of each file, the twins among them, errors)."""
    from sakuga.cli.lora_given import names_in, path_of
    from sakuga.errors import SakugaError
    from sakuga.lora.inspect import Shown, twins
    from sakuga.lora.library.folders import adapter_name
    from sakuga.models.library import Library
    from sakuga.tensors.file import TensorFile

    library = Library.usual(tuple(options.models))
    adapters = names_in(library)
    names, weigh, family = None, None, None
    if options.base is not None:
        from sakuga.models.outline import outline
        from sakuga.models.weights import weights_of

        base = outline(options.base, library)
        names, weigh, family = base.names, weights_of(base), base.family.name
    told, shown, errors = [], [], []
    for ref in options.names:
        try:
            file = path_of(ref, adapters)
            every = options.hashes or options.deep
            one = Shown(TensorFile.open(file), names, name=adapter_name(file), hashes=every, weigh=weigh, family=family)
            told.append(one.told() | ({"deep": one.deep()} if options.deep else {}))
            shown.append(one)
        except SakugaError as error:
            errors.append(error)
    return told, twins(shown), errors
