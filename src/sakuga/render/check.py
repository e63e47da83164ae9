"""Check: everything that can be known of a Job before a weight is read. Headers only; all findings together.

Gives the Plan that a render follows, so that nothing is looked up twice. Refuses to load and to write anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from sakuga.errors import FileProblem, JobError, SakugaError, Several, raise_all
from sakuga.lora.library.folders import adapter_name
from sakuga.lora.library.names import Names
from sakuga.lora.read import check_adapter
from sakuga.lora.survey import Survey
from sakuga.lora.targets import names_of
from sakuga.models.detect import recognise
from sakuga.models.device import resolve
from sakuga.models.embedding import check_width, load_embedding
from sakuga.models.families import TITLES
from sakuga.models.frame_limit import check_frames, positions_in
from sakuga.models.library import STARTER, Library
from sakuga.models.outline import Outline, outline
from sakuga.models.signatures import spoken
from sakuga.progress import Progress
from sakuga.render.annotators import find_annotator
from sakuga.render.plan import ControlPlan, Plan, SourcePlan, StagePlan
from sakuga.render.settings import Settings, settle
from sakuga.report import Report
from sakuga.spec.job import Job, Stage
from sakuga.spec.uses import ControlUse, LoraUse
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap
from sakuga.video.outputs import check_output
from sakuga.video.read import open_clip

DEMO = "demo"
Found = TypeVar("Found")
Item = TypeVar("Item")


def examine(job: Job, library: Library, report: Report, progress: Progress | None = None) -> Plan:
    """Check ``job`` and begin ``report``. Raises the one finding, or ``Several`` with all of them.

    ``progress`` is told of files that have to be indexed, because an adapter is named by an alias.
    """
    return _Examiner(job, library, report, progress or Progress()).plan()


def find_source(job: Job) -> Path:
    """The path of the source; ``demo`` is the clip in the package, unless there is a file of that name."""
    return STARTER / "demo.mp4" if str(job.source) == DEMO and not job.source.exists() else job.source


class _Examiner:
    """One check: walks through the Job, keeps what it finds wrong and goes on."""

    def __init__(self, job: Job, library: Library, report: Report, progress: Progress) -> None:
        self.job, self.report, self.errors = job, report, list[SakugaError]()
        self.surveys: dict[str, tuple[Survey, str] | None] = {}
        self.base = self.attempt("base", lambda: outline(job.base, library))
        self.library = library.including(self.base.folder) if self.base else library
        self.adapters = Names(self.library.folders, watch=lambda: nullcontext(progress))

    def plan(self) -> Plan:
        job = self.job
        where = self.attempt("device", lambda: resolve(job.device, job.dtype))
        if where is not None and where.note:
            self.report.note("dtype", where.note)
        source = self.attempt("source", self.source)
        output = job.output_for(picture=source.picture) if source else job.output
        if output is not None:
            count = len(source.frames) if source else None
            self.attempt("output", lambda: check_output(output, frames=count, overwrite=True))
        stages = [self.stage(stage, number) for number, stage in enumerate(job.stages)] if self.base else []
        raise_all(self.errors)
        if "seed" in job.model_fields_set and all(stage and stage.settings.noise == "zero" for stage in stages):
            self.report.note("seed", "noise is zero in every stage, so it has no effect")
        assert where and source and output and self.base, "what is missing has been raised"
        whole = tuple(stage for stage in stages if stage)
        return Plan(job=job, source=source, output=output, base=self.base.path, stages=whole, where=where)

    def attempt(self, place: str, act: Callable[[], Found]) -> Found | None:
        """What ``act`` gives, or None when it fails with something that the user should know."""
        try:
            return act()
        except Several as several:
            self.errors.extend(several.findings)
        except SakugaError as error:
            self.errors.append(error.at(place))
        return None

    def each(self, place: str, items: Iterable[Item], act: Callable[[Item], Found]) -> tuple[Found, ...]:
        """``act`` on every item; those that fail are kept as errors of ``place.index``."""
        tried = [self.attempt(f"{place}.{index}", partial(act, item)) for index, item in enumerate(items)]
        return tuple(found for found in tried if found is not None)

    def source(self) -> SourcePlan:
        """Open the clip, choose the frames and the size, and say so in the report."""
        path, job = find_source(self.job), self.job
        with open_clip(path) as clip:
            first, end = job.frames or (0, None)
            stop = clip.frame_count if end is None else end
            if not 0 <= first < stop <= clip.frame_count:
                raise JobError(
                    "the clip does not have these frames",
                    given=f"frames {first}:{'' if end is None else end}",
                    expected=f"within 0:{clip.frame_count}",
                    do="choose other frames, or leave them out for all",
                ).at("frames")
            width, height = job.size.fitted(clip.width, clip.height) if job.size else (clip.width, clip.height)
            if job.size and job.size.short_side is None and str(job.size) != f"{width}x{height}":
                self.report.note("size", f"{width}x{height} is the largest in {job.size} that keeps the source's shape")
            self.report.clip = {
                "path": str(path),
                "kind": clip.kind,
                "width": width,
                "height": height,
                "source_width": clip.width,
                "source_height": clip.height,
                "frames": stop - first,
                "first_frame": first,
                "source_frames": clip.frame_count,
                "rate": str(clip.rate),
                "audio": clip.has_audio,
                "content_key": clip.content_key,
            }
            for note in clip.notes:
                self.report.note("source", note)
            return SourcePlan(
                path=path,
                frames=range(first, stop),
                size=(width, height),
                picture=clip.kind == "picture",
                content_key=clip.content_key,
            )

    def stage(self, stage: Stage, number: int) -> StagePlan | None:
        """All of one Stage: its settings, then every file that it names."""
        assert self.base is not None
        place, defaults = f"stages.{number}", self.base.defaults
        settings = self.attempt(place, lambda: settle(stage, defaults, number))
        if settings is None:  # its files are looked at all the same, so that all findings come together
            self.each(f"{place}.adapters", stage.adapters, lambda use: self.adapter(use, number, f"{place}.adapters"))
            self.each(f"{place}.controls", stage.controls or (), self.control)
            return None
        self.attempt(f"{place}.clip_skip", lambda: self.clip_skip(settings))
        self.report.notes.extend(note for note in settings.notes if note not in self.report.notes)
        self.report.stages.append(settings.told())
        adapters = [
            self.attempt(given, partial(self.adapter, use, number, given))
            for use, given in zip(settings.adapters, settings.places, strict=True)
        ]
        controls = self.each(f"{place}.controls", settings.controls, self.control)
        embeddings = self.each(f"{place}.embeddings", settings.embeddings, self.embedding)
        embeddings += self.mentioned(settings, place, embeddings)
        return StagePlan(
            settings=settings,
            adapters=tuple(path for path in adapters if path is not None),
            controls=controls,
            embeddings=embeddings,
            motion=self.motion(place, settings),
            vae=self.optional(f"{place}.vae", settings.vae, "vae"),
        )

    def optional(self, place: str, ref: str | None, role: str) -> Path | None:
        return None if ref is None else self.attempt(place, lambda: self.part(ref, role))

    def part(self, ref: str, role: str) -> Path:
        """The path of a part, whose header has to say that it is one, and of the base's family."""
        assert self.base is not None
        path = self.library.find(ref, role)
        known = recognise(path)
        if known.role != role or known.family not in (None, self.base.family.name):
            of_family = f" of {TITLES[known.family]}" if known.family else ""
            raise FileProblem(
                f"{path.name} does not belong here",
                given=f"{spoken(known.role)}{of_family}: it {known.reason}",
                expected=f"{spoken(role)} of {self.base.family.title}, because base is {self.base.name!r}",
                do="choose another file, or another base",
            )
        return path

    def clip_skip(self, settings: Settings) -> None:
        """Refuse what the text encoder has no layers for."""
        layers = self._outline.text_layers
        if settings.clip_skip > layers:
            raise JobError(
                "clip_skip is beyond the layers of the text encoder",
                given=str(settings.clip_skip),
                expected=f"1 to {layers}, because base is {self._outline.name!r}",
                do="lower clip_skip",
            )

    def motion(self, place: str, settings: Settings) -> Path | None:
        """The motion module, which has to have positions for a whole window."""
        path = self.optional(f"{place}.motion", settings.motion, "motion")
        if path is not None and path.is_file():
            limit = positions_in(path)
            self.attempt(f"{place}.window", lambda: check_frames(settings.window, limit))
        return path

    def embedding(self, ref: str) -> Path:
        """The path of a textual inversion whose vectors are as wide as the base's text encoder."""
        path = self.part(ref, "embedding")
        check_width(load_embedding(path), self._outline)
        return path

    def mentioned(self, settings: Settings, place: str, known: tuple[Path, ...]) -> tuple[Path, ...]:
        """Textual inversions that were not given, but that the prompts call by a name in the library."""
        text = f"{settings.prompt}\n{settings.negative_prompt}"
        found = [self.embedding(name) for name in self.library.mentioned(text, "embedding")]
        fresh = tuple(path for path in found if path.stem.lower() not in {one.stem.lower() for one in known})
        for path in fresh:
            self.report.note(f"{place}.embeddings", f"{path.stem} is used, because a prompt calls it by its name")
        return fresh

    def control(self, use: ControlUse) -> ControlPlan:
        """The annotator and the network of a control."""
        return ControlPlan(use=use, annotator=find_annotator(use.kind), path=self.part(use.file or use.kind, "control"))

    def adapter(self, use: LoraUse, stage: int, place: str) -> Path | None:
        """The path of an adapter that fits the base; its keys go into the report. None: refused at an earlier place."""
        if use.file not in self.surveys:
            self.surveys[use.file] = None
            self.surveys[use.file] = self.survey(use.file)
        known = self.surveys[use.file]
        if known is None:
            return None
        self.report.adapters.append(_told(*known, use, stage, place))
        if silent := _without_effect(known[0], use):
            self.report.note(place, silent)
        return known[0].path

    def survey(self, ref: str) -> tuple[Survey, str]:
        """What is in an adapter's file, and its sha256. Each file is read once, however often it is used."""
        assert self.base is not None
        named = self.adapters.find(ref)
        if named.remark:
            self.report.note(ref, named.remark)
        with TensorFile.open(named.path) as file:
            expected = f'an adapter for {self.base.family.title}, because base is "{self.base.name}"'
            found = check_adapter(file, self.names, expected=expected)
            for remark in found.remarks():
                self.report.note(adapter_name(named.path), remark)
            return found, file.sha256

    @cached_property
    def names(self) -> NameMap:
        return names_of(self._outline.parts)

    @property
    def _outline(self) -> Outline:
        assert self.base is not None
        return self.base


def _without_effect(survey: Survey, use: LoraUse) -> str:
    """What of the weights that were given meets nothing in the file; empty when all do."""
    found = {seat.component for module in survey.modules if module.verdict == "fits" for seat in module.seats}
    if use.text_encoder_weight is not None and not any(one.startswith("text_encoder") for one in found):
        return "it has nothing for the text encoder, so the weight for that has no effect"
    if use.blocks is not None and all(one.startswith("text_encoder") for one in found):
        return "it has nothing for the UNet, so its block weights have no effect"
    return ""


def _told(survey: Survey, sha256: str, use: LoraUse, stage: int, place: str) -> dict[str, object]:
    """The report's entry for one use of an adapter."""
    fitting = [module for module in survey.modules if module.verdict == "fits"]
    left = survey.leftovers()
    keys = {
        "total": survey.total_keys,
        "used": sum(len(module.group.keys) for module in fitting),
        "ignored": [{"key": one.key, "reason": one.reason} for one in left if not one.refused],
        "refused": [{"key": one.key, "reason": one.reason} for one in left if one.refused],
    }
    weight = use.model_dump(mode="json")
    return {
        "name": adapter_name(survey.path),
        "file": str(survey.path),
        "sha256": sha256,
        "config_sha256": hashlib.sha256(survey.config.encode()).hexdigest() if survey.config else None,
        "stage": stage,
        "from": "prompt" if place.endswith("prompt") else "adapters",
        "layout": survey.layout,
        "family": survey.family.family,
        "algorithms": sorted({module.algorithm for module in fitting}),
        "modules": len(fitting),
        "weight": weight["weight"],
        "text_encoder_weight": weight["text_encoder_weight"],
        "blocks": weight["blocks"],
        "steps": weight["steps"],
        "keys": keys,
    }
