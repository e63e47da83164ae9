"""``sakuga lora list``, ``find``, ``where`` and ``gc``: the adapters in the folders of models, by a kept index."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from sakuga.cli.columns import cell, folded, printable, terminal, width
from sakuga.cli.parser import name, path
from sakuga.errors import FileProblem

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
    "Find adapters by words in their name, alias, title, trigger words, family, base or folder; all words have to be "
    "there. A single word of 8 or more hexadecimal digits that is found nowhere is looked for among the hashes of the "
    "files (sha256, AutoV2, AutoV3), which are computed then."
)
_WHERE = "Say where the adapter of a name lies. A name that two files have is an error that lists both."
_NAME = (
    "its file's name without the ending, or the alias that its training gave it, its title, or a hash that is known of "
    "it; a path is taken too"
)
_GC = (
    "Forget the files that are gone, and give back the room they took in the index. What commands that were killed had "
    "half-written into the folders of models is removed. No adapter is touched."
)
_INDEX = "the file of the index (default: in $SAKUGA_CACHE, or else in the user's cache folder)"
_AUTOV3_DIGITS = 12
WIDEST_CELL = 36  # columns of a table; a longer name stands whole below


def add(actions: Commands) -> None:
    """Register the four commands."""
    every = _added(actions, "list", "[OPTION …]", "the adapters that there are", _LIST, _list)
    every.add_argument("--all", action="store_true", help="list the files too that are no adapters, and why not")
    find = _added(actions, "find", "WORD … [OPTION …]", "adapters by a word or a hash", _FIND, _find)
    find.add_argument("words", metavar="WORD", nargs="+", help="a part of a name, a trigger word, a hash")
    where = _added(actions, "where", "NAME [OPTION …]", "the file that a name means", _WHERE, _where)
    where.add_argument("name", metavar="NAME", type=name, help=_NAME)
    _added(actions, "gc", "[OPTION …]", "forget files that are gone", _GC, _gc)


def _added(
    actions: Commands,
    name: str,
    usage: str,
    line: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
) -> Parser:
    parser = actions.add_parser(name, usage=usage, help=line, description=description)
    parser.set_defaults(parser=parser, action_run=run)
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
    if not path.is_file():
        raise FileProblem(
            "there is no adapter in this folder",
            given=str(path),
            expected="a file of tensors, or a folder that PEFT saved one into",
            do="name a file, or the folder of one",
        )
    if options.json:
        _print_json(names.row_of(path).told())
    else:
        _print_lines([str(path)])
    return 0


def _gc(options: argparse.Namespace) -> int:
    from sakuga.lora.library.folders import scan
    from sakuga.lora.library.index import open_index
    from sakuga.models.library import Library
    from sakuga.whole import without_left_over

    folders = scan(Library.usual(tuple(options.models)).folders).inside
    removed = [str(path) for folder in folders for path in without_left_over(folder)]
    with open_index(options.index) as index:
        gone, left = index.sweep()
        if options.json:
            _print_json({"forgotten": gone, "left": left, "removed": removed, "index": str(index.path)})
        else:
            lines = [f"{gone} files that are gone were forgotten; {left} are left in {index.path}"]
            lines += [f"removed: {path}, which a command that was killed had left" for path in removed]
            _print_lines(lines + ([index.note] if index.note else []))
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
    """For each adapter a line with name, family, algorithm, rank and trigger words. Nothing is cut: a long name stands
    above its line, many words below it, as does the folder where another file has the name, and what is not used.
    """
    if not rows:
        return ["no adapters; put them into a folder that is searched, or name one with --models"]
    titles = ("name", "family", "algorithm", "rank")
    cells = [(row.name, row.family or "?", _spread(row.algorithms), _spread(row.ranks)) for row in rows]
    widths = [min(max(map(width, column)), WIDEST_CELL) for column in zip(titles, *cells, strict=True)]
    columns, names = terminal(), Counter(row.name for row in rows)
    widths[0] = min(widths[0], max(len(titles[0]), columns - sum(widths[1:]) - 2 * len(widths)))
    room = columns - sum(widths) - 2 * len(widths)
    lines = [(_cells(titles, widths) + ("trigger words" if room >= len("trigger words") else "")).rstrip()]
    for row, own in zip(rows, cells, strict=True):
        words = "" if row.words == "[]" else ", ".join(json.loads(row.words))
        long = width(row.name) > widths[0]
        beside = words if width(words) <= room else ""
        lines += [row.name] if long else []
        lines.append((_cells(("", *own[1:]) if long else own, widths) + beside).rstrip())
        if names[row.name] > 1:
            lines.append(f"    in {row.file.parent}")
        told = [words] if words and not beside else []
        told += [f"not used: {row.error}"] if row.error else []
        lines += [part for text in told for part in folded(text, columns, "    ", "    ")]
    return lines


def _cells(texts: Sequence[str], widths: Sequence[int]) -> str:
    """The texts in columns, each with two blanks behind it."""
    return "".join(f"{cell(text, columns)}  " for text, columns in zip(texts, widths, strict=True))


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
    texts = ((f"  {label:<10} ", text) for label, text in about if text)
    return [*lines, *(part for lead, text in texts for part in folded(text, columns, lead, " " * len(lead)))]


@cache
def _spread(counts: str) -> str:
    """The commonest of the counted things, with a sign that there are others."""
    names = list(json.loads(counts))
    return "" if not names else names[0] + (" …" if len(names) > 1 else "")


def _print_lines(lines: Sequence[str]) -> None:
    print("\n".join(map(printable, lines)))


def _print_json(told: Mapping[str, object]) -> None:
    print(json.dumps({"schema": 1, **told}, indent=2, ensure_ascii=False))
