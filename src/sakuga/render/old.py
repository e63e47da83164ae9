"""Old configs on their way to a Job: the files that they name are looked at, headers only, and what a run of 1.x left
beside its video is written.

The reading itself is ``spec/diffutoon``. Refuses to load a weight; every file that is missing is told at once.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sakuga.errors import JobError, OutputError, SakugaError, nearest_name, raise_all
from sakuga.models.library import Library
from sakuga.render.old_files import look
from sakuga.report import Note, Report
from sakuga.spec.diffutoon import STAGES, is_old, olds_of
from sakuga.spec.diffutoon_job import make_data
from sakuga.spec.diffutoon_literals import read_literals, script_text
from sakuga.spec.fields import Place
from sakuga.spec.lines import Lines, read_lines
from sakuga.spec.load import Origin, Written, build, text_of
from sakuga.spec.override import Override

SCRIPT = ".py"


def written_of(path: Path, overrides: Sequence[str | Override] = (), models: Iterable[Path] = ()) -> Written | None:
    """The Job of the old config in a file (JSON, YAML, or literals of a script); None if it holds none but a job.

    ``overrides`` come over it as over a job file; ``models`` are more folders to look for names in. Raises what is
    wrong with it, all together.
    """
    if path.suffix.lower() == SCRIPT:
        data, notes = _of_script(path)
    else:
        lines = read_lines(text_of(path), path.name)
        if not is_old(lines.data):
            return None
        raise_all(list(lines.findings))
        assert isinstance(lines.data, dict)
        data, notes = lines.data, []
    return written_from(data, name=path.name, overrides=overrides, folder=path.parent, models=models, notes=notes)


def written_from(
    data: Mapping[str, Any],
    *,
    name: str = "the config",
    overrides: Sequence[str | Override] = (),
    folder: Path | None = None,
    models: Iterable[Path] = (),
    notes: Sequence[Note] = (),
) -> Written:
    """The Job of an old config, or of a pair of them, given as plain data; ``name`` stands for it in messages.

    Relative paths are of the working directory, as in 1.x, and else of ``folder``. Raises JobError, Several.
    """
    config = copy.deepcopy(dict(data))
    olds = olds_of(config)
    library = Library.usual(models)
    found = [look(old, library, folder, without=old.drawn) for old in olds]
    raise_all([error for old in olds for error in old.errors])
    made = make_data(olds, [one for one in found if one is not None])
    lines = _OldLines(name=name, data=made.data, lines={}, findings=(), places=made.places)
    written = build(lines, overrides, None)
    return replace(written, origin=Origin(config=config, keys=made.keys, notes=(*notes, *made.notes)))


def _of_script(path: Path) -> tuple[dict[str, Any], list[Note]]:
    """The config of a script, or the pair of them under the two names."""
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        near = nearest_name(path.name, beside)
        raise JobError("there is no such script", given=str(path), expected="a .py file", nearest=near)
    literals = read_literals(script_text(path), path.name)
    notes = [Note(what=path.name, reason=text) for text in literals.left]
    olds = {name: value for name, value in literals.values.items() if is_old(value)}
    if all(name in olds for name in STAGES):
        return {name: olds[name] for name in STAGES}, notes
    distinct = {id(value): name for name, value in olds.items()}
    if len(distinct) == 1:
        return next(iter(olds.values())), notes
    raise JobError(
        f"{path.name} does not hold one config",
        given=", ".join(olds) or "no table with models, data and pipeline",
        expected=f"one config, or the pair {' and '.join(STAGES)}, as plain literals at the top of the script",
        do="keep one of them in the script, or write it to a .json file",
    )


@dataclass(frozen=True, kw_only=True)
class _OldLines(Lines):
    """Plain data that was made from an old config: a place was written where its key stands."""

    places: Mapping[Place, str]

    def where(self, place: Place) -> str:
        return self.line_of(place) or self.name

    def line_of(self, place: Place) -> str | None:
        known = (place[:end] for end in range(len(place), 0, -1) if place[:end] in self.places)
        return next((f"{self.name}: {self.places[part]}" for part in known), None)


@contextmanager
def folder_for(output: Path | None, *, keep: bool) -> Iterator[None]:
    """The folder of ``output`` is there inside, made if need be, as 1.x did; gone afterwards if it was made and nothing
    came of it, or unless ``keep``. Raises OutputError.
    """
    made, folder = [], output.parent if output is not None else Path()
    while not folder.exists():
        made.append(folder)
        folder = folder.parent
    try:
        for folder in reversed(made):
            folder.mkdir()
    except OSError as error:
        raise OutputError(
            "the output folder cannot be made", given=f"{folder}: {error.strerror}", expected="a folder with the right "
            "to write", do="choose another data.output_folder",
        ) from None  # fmt: skip
    try:
        yield
    except BaseException:
        keep = False
        raise
    finally:
        for folder in made:
            if not keep and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def save_config(origin: Origin, report: Report, output: Path) -> None:
    """Write ``config.json`` beside the video, as 1.x did: the config without live frames, sizes and count filled in.

    One that is there is replaced only if it is a config too; otherwise that is told.
    """
    config, path = copy.deepcopy(origin.config), output.with_name("config.json")
    clip = report.clip
    for one in [config[name] for name in STAGES if name in config] or [config]:
        inputs = one["pipeline"]["pipeline_inputs"]
        inputs |= {"input_frames": [], "controlnet_frames": []}
        inputs |= {"num_frames": clip["frames"], "width": clip["width"], "height": clip["height"]}
    text = json.dumps(config, indent=4, ensure_ascii=False, default=str) + "\n"
    if path.exists() and not _is_config(path):
        report.note("config.json", f"not written: {path} is there and is no such config")
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError("config.json could not be written; the video is whole", given=f"{path}: {error}") from error


def _is_config(path: Path) -> bool:
    try:
        return is_old(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, SakugaError):
        return False
