"""Check: everything that can be known of a Job before a weight is read. Headers only; all findings together.

Gives the Plan that a render follows, so that nothing is looked up twice. Refuses to load and to write anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from sakuga.errors import FileProblem, JobError, SakugaError, Several, raise_all
from sakuga.lora.library.folders import adapter_name
from sakuga.lora.library.names import Names
from sakuga.lora.read import check_adapter
from sakuga.lora.survey import Survey
from sakuga.models.detect import recognise
from sakuga.models.device import resolve
from sakuga.models.embedding import check_width, load_embedding
from sakuga.models.families import TITLES
from sakuga.models.frame_limit import check_frames, positions_in
from sakuga.models.library import Library
from sakuga.models.outline import Outline, outline
from sakuga.models.signatures import spoken
from sakuga.progress import Progress
from sakuga.render.adapter_entry import adapter_entry
from sakuga.render.annotators import find_annotator
from sakuga.render.check_clips import examine_control, examine_source
from sakuga.render.check_networks import find_files
from sakuga.render.noise import WHOLE_CLIP
from sakuga.render.plan import ControlClip, ControlPlan, Plan, SourcePlan, StagePlan
from sakuga.render.settings import Settings, settle
from sakuga.render.smoothers import find_smoother
from sakuga.render.smoothing import Smoothing
from sakuga.render.unmet import without_effect
from sakuga.report import Report
from sakuga.spec.job import Job, Stage
from sakuga.spec.uses import ControlUse, LoraUse, SmootherUse
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap
from sakuga.video.codecs import check_codec
from sakuga.video.colour import fit
from sakuga.video.growing import check_growing
from sakuga.video.outputs import check_folder, check_output

Found = TypeVar("Found")
Item = TypeVar("Item")


def examine(job: Job, library: Library, report: Report, progress: Progress | None = None) -> Plan:
    """Check ``job`` and begin ``report``. Raises the one finding, or ``Several`` with all of them.

    ``progress`` is told of files that have to be indexed, because an adapter is named by an alias.
    """
    return _Examiner(job, library, report, progress or Progress()).plan()


class _Examiner:
    """One check: walks through the Job, keeps what it finds wrong and goes on."""

    def __init__(self, job: Job, library: Library, report: Report, progress: Progress) -> None:
        self.job, self.report, self.errors = job, report, list[SakugaError]()
        self.source: SourcePlan | None = None
        self.surveys: dict[str, tuple[Survey, str] | None] = {}
        self.base = self.attempt("base", lambda: outline(job.base, library)) if job.stages else None
        self.library = library.including(self.base.folder) if self.base else library
        self.adapters = Names(self.library.folders, watch=lambda: nullcontext(progress))

    def plan(self) -> Plan:
        job = self.job
        where = self.attempt("device", lambda: resolve(job.device, job.dtype))
        if where is not None and where.note:
            self.report.note("dtype", where.note)
        source = self.source = self.attempt("source", lambda: examine_source(job, self.report))
        output = job.output_for(picture=source.picture) if source else job.output
        if output is not None:
            count = len(source.frames) if source else None
            self.attempt("output", lambda: check_output(output, frames=count, overwrite=True))
            self.attempt("codec", lambda: check_codec(output.suffix, job.codec, job.quality))
        if job.pictures is not None:
            pictures = job.pictures
            self.attempt("pictures", lambda: check_folder(pictures, overwrite=True))
        if job.watch is not None:
            watch = job.watch
            self.attempt("watch", lambda: check_growing(watch, overwrite=job.overwrite))
        stages = [self.stage(stage, number) for number, stage in enumerate(job.stages)] if self.base else []
        raise_all(self.errors)
        if not job.stages:
            self.report.note("stages", "there is none, so the frames stay as they are, and no model is used")
        elif "seed" in job.model_fields_set and all(stage and stage.settings.noise == "zero" for stage in stages):
            self.report.note("seed", "noise is zero in every stage, so it has no effect")
        assert where and source and output and (self.base or not job.stages), "what is missing has been raised"
        whole = tuple(stage for stage in stages if stage)
        return Plan(
            job=job, source=source, output=output, base=self.base.path if self.base else None, stages=whole, where=where
        )

    def attempt(self, place: str, act: Callable[[], Found]) -> Found | None:
        """What ``act`` gives, or None when it fails with something that the user should know."""
        try:
            return act()
        except Several as several:
            self.errors.extend(finding.at(place) for finding in several.findings)
        except SakugaError as error:
            self.errors.append(error.at(place))
        return None

    def each(self, place: str, items: Iterable[Item], act: Callable[[Item], Found]) -> tuple[Found, ...]:
        """``act`` on every item; those that fail are kept as errors of ``place.index``."""
        tried = [self.attempt(f"{place}.{index}", partial(act, item)) for index, item in enumerate(items)]
        return tuple(found for found in tried if found is not None)

    def stage(self, stage: Stage, number: int) -> StagePlan | None:
        """All of one Stage: its settings, then every file that it names."""
        assert self.base is not None
        place, defaults = f"stages.{number}", self.base.defaults
        settings = self.attempt(place, lambda: settle(stage, defaults, number))
        if settings is None:  # its files are looked at all the same, so that all findings come together
            self.each(f"{place}.adapters", stage.adapters, lambda use: self.surveyed(use.file))
            self.controls(f"{place}.controls", stage.controls or ())
            return None
        self.attempt(f"{place}.clip_skip", lambda: self.clip_skip(settings))
        self.attempt(f"{place}.noise", lambda: self.noise(settings))
        size = self.attempt(f"{place}.size", lambda: self.size(stage)) or (0, 0)
        self.tiles(settings, place, size)
        self.report.notes.extend(note for note in settings.notes if note not in self.report.notes)
        self.report.stages.append(settings.told())
        adapters = [
            self.attempt(given, partial(self.adapter, use, number, given))
            for use, given in zip(settings.adapters, settings.places, strict=True)
        ]
        controls = self.controls(f"{place}.controls", settings.controls)
        self.report.stages[-1]["drawn_by"] = [control.drawn_by for control in controls]
        embeddings = self.each(f"{place}.embeddings", settings.embeddings, self.embedding)
        embeddings += self.mentioned(settings, place, embeddings)
        return StagePlan(
            settings=settings,
            adapters=tuple(path for path in adapters if path is not None),
            controls=controls,
            embeddings=embeddings,
            motion=self.motion(place, settings),
            vae=self.optional(f"{place}.vae", settings.vae, "vae"),
            smoothings=self.smoothings(f"{place}.smoothers", settings.smoothers),
            size=size,
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

    def noise(self, settings: Settings) -> None:
        """Refuse noise for the whole clip at once where the clip does not fit one Span."""
        count, longest = len(self.source.frames) if self.source else 0, self.job.span
        if settings.noise == WHOLE_CLIP and count > longest:
            raise JobError(
                f"the clip is too long for noise {WHOLE_CLIP}",
                given=f"{count} frames, span {longest}",
                expected="all frames in one span, because they are drawn together",
                nearest="noise: frame",
                do=f"say span: {count} (more memory), choose fewer frames, or take noise frame",
            )

    def size(self, stage: Stage) -> tuple[int, int]:
        """(width, height) at which a Stage works: its own size brought into the job's shape, or the job's."""
        size = self.source.size if self.source else (0, 0)
        return stage.size.fitted(*size) if stage.size is not None and self.source else size

    def tiles(self, settings: Settings, place: str, size: tuple[int, int]) -> None:
        """Say so where one tile covers the whole picture."""
        if settings.tile is None or not all(size):
            return
        padded = fit(*size, self._outline.multiple).padded
        longest = max(padded) // self._outline.factor
        if settings.tile >= longest:
            self.report.note(f"{place}.tile", f"the latents are at most {longest} a side, so it has no effect")

    def smoothings(self, place: str, uses: Sequence[SmootherUse]) -> tuple[Smoothing, ...]:
        """The smoothers of a Stage with their options, whose findings are told with the option's path."""
        found = []
        for index, use in enumerate(uses):
            here = f"{place}.{index}"
            smoother = self.attempt(f"{here}.kind", partial(find_smoother, use.kind))
            options = smoother and self.attempt(here, partial(smoother.read, use.options, f"{here}.options"))
            if smoother and options:
                found.append(Smoothing(smoother=smoother, options=options))
                if hint := smoother.hint():
                    self.report.note(here, hint)
        return tuple(found)

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

    def controls(self, place: str, uses: Sequence[ControlUse]) -> tuple[ControlPlan, ...]:
        """The annotators, networks and clips of a Stage's controls; what is wrong with one is kept as an error."""
        clips = [
            self.attempt(f"{place}.{index}", partial(self.clip, use, f"{place}.{index}"))
            for index, use in enumerate(uses)
        ]
        return self.each(place, [*zip(uses, clips, strict=True)], self.control)

    def clip(self, use: ControlUse, place: str) -> ControlClip | None:
        """The clip that a control brings along. Without a source of the job there is nothing to hold it against."""
        return (
            None if self.source is None else examine_control(use, self.source, self.report, place, crop=self.job.crop)
        )

    def control(self, given: tuple[ControlUse, ControlClip | None]) -> ControlPlan:
        """The annotator, its own networks and the ControlNet of a control; what is missing is told together."""
        use, clip = given
        annotator = find_annotator(use.kind)
        part = partial(self.part, use.file or use.kind, "control")
        path, networks = find_files(annotator, part, self.library, self.report)
        return ControlPlan(use=use, annotator=annotator, path=path, networks=networks, clip=clip)

    def adapter(self, use: LoraUse, stage: int, place: str) -> Path | None:
        """The path of an adapter that fits the base; its keys go into the report. None: refused at an earlier place."""
        known = self.surveyed(use.file)
        if known is None:
            return None
        self.report.adapters.append(adapter_entry(*known, use, stage, place))
        for silent in without_effect(known[0], use):
            self.report.note(place, silent)
        return known[0].path

    def surveyed(self, ref: str) -> tuple[Survey, str] | None:
        """As ``survey``, but each file is read once, however often it is used; None where it was refused before."""
        if ref not in self.surveys:
            self.surveys[ref] = None
            self.surveys[ref] = self.survey(ref)
        return self.surveys[ref]

    def survey(self, ref: str) -> tuple[Survey, str]:
        """What is in an adapter's file, and its sha256."""
        assert self.base is not None
        named = self.adapters.find(ref)
        if named.remark:
            self.report.note(ref, named.remark)
        with TensorFile.open(named.path) as file:
            expected = f'an adapter for {self.base.family.title}, because base is "{self.base.name}"'
            found = check_adapter(file, self.names, expected=expected, family=self.base.family.name)
            for remark in found.remarks():
                self.report.note(adapter_name(named.path), remark)
            return found, file.sha256

    @cached_property
    def names(self) -> NameMap:
        return self._outline.names

    @property
    def _outline(self) -> Outline:
        assert self.base is not None
        return self.base
