"""``sakuga lora list``, ``find``, ``where`` and ``gc``: the adapters in the folders of models, by a kept index."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from sakuga.cli.columns import cell, fitted, printable, terminal, width
from sakuga.cli.parser import name, path

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands, Parser
    from sakuga.lora.library.folders import Scan
    from sakuga.lora.library.index import Index
    from sakuga.lora.library.row import Row

_LIST = (
    "List every adapter in the folders of models: what it is called, for which family it was made, its algorithm, rank "
    "and trigger words. Only headers are read, and only of files that are new or have changed."
)
_FIND = (
    "Find adapters by words in their name, alias, trigger words, family, base or folder; all words have to be there. A "
    "word of 8 or more hexadecimal digits is also looked for among the hashes of the files (sha256, AutoV2, AutoV3), "
    "which are computed then."
)
_WHERE = "Say where the adapter of a name lies. A name that two files have is an error that lists both."
_NAME = "its file's name, or the alias that its training gave it, its title, a hash that is known of it"
_GC = "Forget the files that are gone, and give back the room they took in the index. No adapter is touched."
_INDEX = "the file of the index (default: in $SAKUGA_CACHE, or else in the user's cache folder)"
_AUTOV3_DIGITS = 12


def add(actions: Commands) -> None:
    """Register the four commands."""
    every = _added(actions, "list", "[OPTION …]", "the adapters that there are", _LIST, _list)
    every.add_argument("--all", action="store_true", help="list the files too that are no adapters, and why not")
    find = _added(actions, "find", "WORD … [OPTION …]", "adapters by a word or a hash", _FIND, _find)
    find.add_argument("words", metavar="WORD", nargs="+", help="a part of a name, a trigger word, a hash")
    where = _added(actions, "where", "NAME [OPTION …]", "the file that a name means", _WHERE, _where)
    where.add_argument("name", metavar="NAME", type=name, help=_NAME)
    _added(actions, "gc", "[--index FILE]", "forget files that are gone", _GC, _gc, folders=False)


def _added(
    actions: Commands,
    name: str,
    usage: str,
    line: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
    *,
    folders: bool = True,
) -> Parser:
    parser = actions.add_parser(name, usage=usage, help=line, description=description)
    parser.set_defaults(parser=parser, action_run=run)
    if folders:
        told = "one more folder of models; may be given several times"
        parser.add_argument("--models", metavar="DIR", type=path, action="append", default=[], help=told)
    parser.add_argument("--index", metavar="FILE", type=path, help=_INDEX)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _list(options: argparse.Namespace) -> int:
    with _asked(options) as (index, scan, rows):
        adapters = [row for row in rows if row.kind == "adapter"]
        broken = [row for row in rows if row.kind == "broken"]
        other = [row for row in rows if row.kind == "other"]
        if options.json:
            told = {"adapters": adapters, "broken": broken} | ({"other": other} if options.all else {})
            _print_json(
                {kind: [row.told() for row in members] for kind, members in told.items()}
                | {"folders": [str(folder) for folder in scan.folders], "notes": scan.notes, "index": str(index.path)}
            )
            return 0
        lines = _table(adapters)
        for title, odd in (("broken", broken), ("no adapters", other if options.all else [])):
            lines += ["", f"{title}:", *(f"  {row.file}: {row.error}" for row in odd)] if odd else []
        lines += ["", *scan.notes] if scan.notes else []
        beside = f", {len(broken)} broken" if broken else ""
        beside += f", {len(other)} other files of tensors" if other else ""
        lines += ["", f"{len(adapters)} adapters{beside}; index: {index.path}"]
        _print_lines(lines)
    return 0


def _find(options: argparse.Namespace) -> int:
    from sakuga.lora.library.ask import with_hash, with_words

    with _asked(options) as (index, _, rows):
        found = with_words(options.words, rows)
        if not found and len(options.words) == 1:
            from sakuga.cli.console import watched

            with watched() as progress:
                found = with_hash(options.words[0], rows, index, progress)
        if options.json:
            _print_json({"adapters": [row.told() for row in found]})
        else:
            lines = [part for row in found for part in _entry(row)]
            _print_lines(lines or [f"nothing is found for {' '.join(options.words)}"])
    return 0


def _where(options: argparse.Namespace) -> int:
    from sakuga.cli.lora_given import names_in, path_of
    from sakuga.models.library import Library
    from sakuga.tensors.refs import is_path

    names = names_in(Library.usual(tuple(options.models)), options.index)
    if not is_path(options.name):
        _ = names.rows  # the index knows sooner what a file is than its reader, which takes torch
    path = path_of(options.name, names)
    if options.json:
        _print_json(names.row_of(path).told())
    else:
        print(path)
    return 0


def _gc(options: argparse.Namespace) -> int:
    from sakuga.lora.library.index import open_index

    with open_index(options.index) as index:
        gone, left = index.sweep()
        if options.json:
            _print_json({"forgotten": gone, "left": left, "index": str(index.path)})
        else:
            print(f"{gone} files that are gone were forgotten; {left} are left in {index.path}")
    return 0


@contextmanager
def _asked(options: argparse.Namespace) -> Iterator[tuple[Index, Scan, list[Row]]]:
    """The index, brought up to date for the folders that the options mean; progress is shown when there is work."""
    from sakuga.cli.console import watched
    from sakuga.lora.library.folders import scan
    from sakuga.lora.library.index import open_index
    from sakuga.models.library import Library

    with open_index(options.index) as index:
        found = scan(Library.usual(tuple(options.models)).folders)
        yield index, found, index.up_to_date(found, watched)


def _table(rows: Sequence[Row]) -> list[str]:
    """One line for each adapter: name, family, algorithm, rank, words. Names are shown whole as far as they fit."""
    if not rows:
        return ["no adapters; put them into a folder that is searched, or name one with --models"]
    name = min(max(12, *(width(row.name) for row in rows)), 36)
    lines = [f"{'name':<{name}}  {'family':<10} {'algorithm':<12} {'rank':<7} trigger words"]
    for row in rows:
        about = f"{cell(row.family or '?', 10)} {cell(_spread(row.algorithms), 12)} {cell(_spread(row.ranks), 7)}"
        words = ("! " if row.error else "") + (", ".join(json.loads(row.words)) if row.words != "[]" else "")
        lines.append(f"{cell(row.name, name)}  {about} {words}")
    columns = terminal()
    return [fitted(line, columns) for line in lines]


def _entry(row: Row) -> list[str]:
    """A few lines for an adapter that was found."""
    lines = [row.name, f"  file       {row.file}"]
    about = (
        ("alias", row.alias),
        ("title", row.title),
        ("made for", ", ".join(filter(None, (row.family, row.base)))),
        ("algorithm", ", ".join(f"{name} ({count})" for name, count in json.loads(row.algorithms).items())),
        ("rank", ", ".join(json.loads(row.ranks))),
        ("words", ", ".join(json.loads(row.words))),
        ("sha256", row.sha256),
        ("autov3", row.payload_sha256[:_AUTOV3_DIGITS]),
        ("not used", row.error),
    )
    columns = terminal()
    return [*lines, *(fitted(f"  {label:<10} {text}", columns) for label, text in about if text)]


@cache
def _spread(counts: str) -> str:
    """The commonest of the counted things, with a sign that there are others."""
    names = list(json.loads(counts))
    return "" if not names else names[0] + (" …" if len(names) > 1 else "")


def _print_lines(lines: Sequence[str]) -> None:
    print("\n".join(map(printable, lines)))


def _print_json(told: Mapping[str, object]) -> None:
    print(json.dumps({"schema": 1, **told}, indent=2, ensure_ascii=False))
