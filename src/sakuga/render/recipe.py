"""Recipe: all that made an output, inside of it: the Job, hashes, versions. It is enough to render it once more.

It names files without their folders, so that a video does not tell how its maker's disk looks, and holds no time of
day, so that the same Job gives the same bytes. Refuses recipes that it did not write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sakuga import __version__
from sakuga.errors import FileProblem, JobError, SakugaError, raise_all
from sakuga.render.plan import Plan
from sakuga.report import Report
from sakuga.spec.fields import Place
from sakuga.spec.job import Job
from sakuga.video.comment import LONGEST, comment_of

HEAD = "sakuga recipe 1 "
LEFT_OUT = {"output", "overwrite", "pictures", "models", "device", "watch"}


def recipe_of(plan: Plan, report: Report) -> str:
    """The recipe of a result as text; empty, with a note in ``report``, where it is too long to be carried along."""
    job = plan.job.model_dump(mode="json", exclude=LEFT_OUT)
    hashes = {Path(one["path"]).resolve(): one["sha256"] for one in report.models}
    hashes |= {Path(one["file"]).resolve(): one["sha256"] for one in report.adapters}
    named = []
    for place in _places(job):
        path = Path(_at(job, place))
        named_file = path.parent != Path() or path.suffix or place == ("source",)
        if named_file and path.exists():  # else it is a name, which is looked up again
            _put(job, place, path.absolute().name)
            named.append({"place": list(place), "name": path.absolute().name, "sha256": hashes.get(path.resolve())})
    told = {
        "version": __version__,
        "torch": torch.__version__,
        "device": plan.where.device.type,
        "dtype": str(plan.where.dtype),
        "source": plan.source.content_key,
        "job": job,
        "paths": named,
        "files": _files(report),
    }
    text = HEAD + json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > LONGEST:
        report.note(
            "recipe", f"it has more than {LONGEST} bytes, so the output does not carry it; the report has it all"
        )
        return ""
    return text


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an output says of how it was made."""

    path: Path
    told: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe in an output. Raises FileProblem, ClipError."""
        if not path.is_file():
            raise FileProblem("there is no such file", given=str(path), expected="a video or a picture by sakuga")
        text = comment_of(path) or ""
        try:
            told = json.loads(text.removeprefix(HEAD)) if text.startswith(HEAD) else None
        except ValueError:
            told = None
        if not isinstance(told, dict) or not {"job", "paths", "files", "source", "version"} <= set(told):
            raise FileProblem(
                "there is no recipe in it",
                given=f"{path}, whose comment is {text[:40]!r}" if text else f"{path}, without a comment",
                expected="a video or a picture that sakuga has written, and nobody has encoded anew",
                do="use its report, <name>.report.json, or the job that made it",
            )
        return cls(path=path, told=told)

    def job(self, folders: Sequence[Path], given: Sequence[Path], output: Path, *, overwrite: bool) -> Job:
        """The Job, with every file that it names found again: among ``given``, in ``folders``, or where the report
        beside the output says. Raises what is missing or differs, all together.
        """
        plain = json.loads(json.dumps(self.told["job"]))
        errors: list[SakugaError] = []
        for one in self.told["paths"]:
            found = self._found(one, [*given, *(folder / one["name"] for folder in folders), *self._known(one["name"])])
            if isinstance(found, Path):
                _put(plain, tuple(one["place"]), str(found))
            else:
                errors.append(found)
        raise_all(errors)
        return Job(**plain, output=output, overwrite=overwrite)

    def differs(self, report: Report) -> FileProblem | None:
        """What of the files that were loaded is not as it was."""
        now = {(one["role"], one["name"]): one["sha256"] for one in _files(report)}
        other = [
            one for one in self.told["files"] if now.get((one["role"], one["name"]), one["sha256"]) != one["sha256"]
        ]
        if not other and report.clip["content_key"] == self.told["source"]:
            return None
        names = ", ".join(f"{one['role']} {one['name']} ({one['sha256'][:12]})" for one in other) or "the source"
        return FileProblem(
            "a file is not the one that the recipe names",
            given=f"{names}: of that name, with other bytes",
            expected="the very files, by their sha256",
            do="find the files as they were, and name their folder with --models",
        )

    def notes(self, report: Report, device: str) -> Iterator[str]:
        """Why the bytes may differ here."""
        for what, then, now in (
            ("version", self.told["version"], __version__),
            ("torch", self.told["torch"], torch.__version__),
            ("device", self.told["device"], device),
        ):
            if then != now:
                yield f"it was made with {what} {then}, and this is {now}: the last bits may differ"

    def _known(self, name: str) -> list[Path]:
        """Where the report beside the output says that a file of this name was."""
        try:
            beside = json.loads(self.path.with_name(f"{self.path.stem}.report.json").read_text(encoding="utf-8"))
            every = [beside["clip"]["path"], *(one["path"] for one in beside["models"])]
            every += [one["file"] for one in beside["adapters"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [Path(path) for path in every if Path(path).name == name]

    def _found(self, one: dict[str, Any], places: Iterable[Path]) -> Path | FileProblem:
        """The file, by name and hash."""
        other = None
        for path in places:
            if path.name == one["name"] and path.exists():
                if one["sha256"] is None or _sha256(path) == one["sha256"]:
                    return path.absolute()
                other = path
        where = ".".join(map(str, one["place"]))
        return FileProblem(
            f"{where}: {one['name']} is missing" if other is None else f"{where}: {one['name']} is another file",
            given=f"{other}, with other bytes" if other else "no file of that name beside the output or here",
            expected=f"{one['name']}" + (f" with sha256 {one['sha256']}" if one["sha256"] else ""),
            do="give it with --with FILE",
        )


def _places(job: dict[str, Any]) -> Iterator[Place]:
    """Where a Job, as plain data, may name files."""
    yield ("source",)
    yield ("base",)
    for number, stage in enumerate(job["stages"]):
        for field in ("motion", "vae"):
            if stage[field]:
                yield ("stages", number, field)
        for field, key in (("adapters", "file"), ("controls", "file")):
            for index, use in enumerate(stage[field] or ()):
                if use.get(key):
                    yield ("stages", number, field, index, key)
        for index, use in enumerate(stage["controls"] or ()):
            if use.get("source") not in (None, "clip", "stage"):
                yield ("stages", number, "controls", index, "source")
        for index, _ in enumerate(stage["embeddings"]):
            yield ("stages", number, "embeddings", index)


def _at(holder: Any, place: Place) -> str:
    for part in place:
        holder = holder[part]
    return str(holder)


def _put(holder: Any, place: Place, value: str) -> None:
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] = value


def _sha256(path: Path) -> str:
    if path.is_dir():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(report: Report) -> list[dict[str, str]]:
    """What was loaded, by role, name and hash."""
    models = [(one["role"], one["name"], one["sha256"]) for one in report.models]
    adapters = [("adapter", one["name"], one["sha256"]) for one in report.adapters]
    return [{"role": role, "name": name, "sha256": sha} for role, name, sha in sorted({*models, *adapters})]


def refuse_folder(path: Path) -> None:
    """Raise JobError where an output cannot carry a recipe."""
    if path.is_dir():
        raise JobError(
            "a folder of pictures carries no recipe",
            given=str(path),
            expected="a video, or a single picture",
            do="use the report beside it",
        )
