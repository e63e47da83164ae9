"""The flags of ``render`` and ``check``, built from the fields of Job and Stage: one place for names, defaults, help.

A flag without a prefix speaks of the first stage; ``--set`` reaches every path. Refuses to know any field by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from sakuga.cli.parser import Parser
from sakuga.errors import SakugaError
from sakuga.spec.fields import Place, Spot, spot
from sakuga.spec.findings import shown
from sakuga.spec.job import Job, Stage
from sakuga.spec.lines import read_flag
from sakuga.spec.load import Written, is_job_file, is_old_file, make_job, read_job
from sakuga.spec.override import Override

_GROUPS: tuple[tuple[str, tuple[Place, ...]], ...] = (
    ("the look (the first stage)", tuple(("stages", 0, name) for name in Stage.model_fields)),
    ("the clip and the run", tuple((name,) for name in Job.model_fields if name not in ("source", "stages"))),
)
_SOURCE = (
    "a video, a picture, a folder of pictures, a job file (.yaml, .yml, .json), or an old config of Diffutoon (.json, "
    ".py); the word demo stands for the clip that comes with the package"
)
_SET = "set any field of the job by its path, as in stages.0.adapters.1.weight=0.5; may be given several times"
_EVENTS = "tell progress and errors as lines of JSON on stderr, for programs"
_JSON = "print the report, or what else came of it, as JSON, and nothing else, on stdout"


def add_flags(parser: Parser, *, many: bool = False, without: Collection[str] = ()) -> None:
    """The source, or ``many`` sources; a flag for every field but those in ``without``, ``--set`` and ``--json``."""
    if many:
        parser.add_argument(
            "sources", metavar="INPUT", nargs="*", help=f"{_SOURCE}; many of them, or a folder of videos"
        )
        parser.gathers = "sources"
    else:
        parser.add_argument("source", metavar="INPUT", help=_SOURCE)
    for title, places in _GROUPS:
        group = parser.add_argument_group(title)
        for place in places:
            if place[-1] not in without:
                _add_flag(group, place)
    parser.add_argument("--set", metavar="PATH=VALUE", action="append", default=[], help=_SET)
    parser.add_argument("--json", action="store_true", help=_JSON)
    parser.add_argument("--events", action="store_true", help=_EVENTS)


@contextmanager
def asked(options: argparse.Namespace) -> Iterator[Written]:
    """The Job that the command line asks for; errors about it, inside too, say which flag or line they mean.

    An old config of Diffutoon stands for the Job that it is read as.

    Raises JobError or Several with every finding.
    """
    with told_where(written := written_of(options.source, options)):
        yield written


@contextmanager
def told_where(written: Written) -> Iterator[None]:
    """Inside, errors about the Job say which flag or line they mean."""
    try:
        yield
    except SakugaError as error:
        raise written.located(error) from error.__cause__


def overrides_of(options: argparse.Namespace) -> list[str | Override]:
    """What the flags and ``--set`` say."""
    return [*_overrides(options), *options.set]


def written_of(source: str, options: argparse.Namespace) -> Written:
    """The Job of one input with the flags over it. Raises JobError, Several, FileProblem."""
    overrides = overrides_of(options)
    if vars(options).get("job") is not None:  # a clip, and the job that it is put into
        clip = Override(place=("source",), value=source, told=source)
        return read_job(options.job, [clip, *overrides])
    if source.lower().endswith(".py") or (is_job_file(source) and is_old_file(source)):
        from sakuga.render.old import written_of as old_written_of

        models = [Path(folder) for folder in vars(options).get(_dest(("models",)), [])]
        if (written := old_written_of(Path(source), overrides, models)) is not None:
            return written
    if is_job_file(source):
        return read_job(source, overrides)
    return make_job(source, overrides)


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
                inner = _spot((*place, number))
                word = inner.is_text or inner.model is not None
                value_of = text if word else read_flag(text)
                yield Override(place=(*place, number), value=value_of, told=_told(flag, text))
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
