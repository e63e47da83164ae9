"""The flags of ``render`` and ``check``, built from the fields of Job and Stage: one place for names, defaults, help.

A flag without a prefix speaks of the first stage; ``--set`` reaches every path. Refuses to know any field by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from sakuga.cli.parser import Parser
from sakuga.errors import SakugaError
from sakuga.spec.fields import Place, Spot, spot
from sakuga.spec.findings import shown
from sakuga.spec.job import Job, Stage
from sakuga.spec.lines import read_flag
from sakuga.spec.load import Written, is_job_file, make_job, read_job
from sakuga.spec.override import Override

_GROUPS: tuple[tuple[str, tuple[Place, ...]], ...] = (
    ("the look (the first stage)", tuple(("stages", 0, name) for name in Stage.model_fields)),
    ("the clip and the run", tuple((name,) for name in Job.model_fields if name not in ("source", "stages"))),
)
_SOURCE = (
    "a video, a picture, a folder of pictures, or a job file (.yaml, .yml, .json); the word demo stands for the clip "
    "that comes with the package"
)
_SET = "set any field of the job by its path, as in stages.0.adapters.1.weight=0.5; may be given several times"
_JSON = "print the report as JSON, and nothing else, on stdout"


def add_flags(parser: Parser) -> None:
    """The source, a flag for every field, ``--set`` and ``--json``."""
    parser.add_argument("source", metavar="INPUT", help=_SOURCE)
    for title, places in _GROUPS:
        group = parser.add_argument_group(title)
        for place in places:
            _add_flag(group, place)
    parser.add_argument("--set", metavar="PATH=VALUE", action="append", default=[], help=_SET)
    parser.add_argument("--json", action="store_true", help=_JSON)


@contextmanager
def asked(options: argparse.Namespace) -> Iterator[Job]:
    """The Job that the command line asks for; errors about it, inside too, say which flag or line they mean.

    Raises JobError or Several with every finding.
    """
    written = _written(options)
    try:
        yield written.job
    except SakugaError as error:
        raise written.located(error) from error.__cause__


def _written(options: argparse.Namespace) -> Written:
    overrides: list[str | Override] = [*_overrides(options), *options.set]
    if is_job_file(options.source):
        return read_job(options.source, overrides)
    return make_job(options.source, overrides)


def _add_flag(group: argparse._ArgumentGroup, place: Place) -> None:
    here = _spot(place)
    names, told, dest = _names(place, here), here.help.replace("%", "%%"), _dest(place)
    if here.annotation is bool:
        group.add_argument(*names, dest=dest, action="store_true", default=argparse.SUPPRESS, help=told)
        return
    action = "append" if here.is_list else "store"
    metavar = "{" + ",".join(here.words) + "}" if here.words else here.flag.metavar or "VALUE"
    group.add_argument(*names, dest=dest, action=action, metavar=metavar, default=argparse.SUPPRESS, help=told)


def _overrides(options: argparse.Namespace) -> Iterator[Override]:
    """What the given flags say, in the order of the fields."""
    given = vars(options)
    for place in (place for _, places in _GROUPS for place in places if _dest(place) in given):
        value, here = given[_dest(place)], _spot(place)
        flag = _names(place, here)[-1]
        if isinstance(value, list):
            yield Override(place=place, value=[], told=flag)
            for number, text in enumerate(value):
                yield Override(place=(*place, number), value=text, told=_told(flag, text))
        elif isinstance(value, bool):
            yield Override(place=place, value=value, told=flag)
        else:
            yield Override(place=place, value=value if here.is_text else read_flag(value), told=_told(flag, value))


def _told(flag: str, text: str) -> str:
    """What was typed, for messages."""
    return f"{flag} {text or shown(text)}"[:80]


def _spot(place: Place) -> Spot:
    here = spot(Job, place)
    assert here is not None
    return here


def _names(place: Place, here: Spot) -> tuple[str, ...]:
    return here.flag.names or ("--" + str(place[-1]).replace("_", "-"),)


def _dest(place: Place) -> str:
    return "field " + ".".join(map(str, place))  # a space, so that no other option can have this name
