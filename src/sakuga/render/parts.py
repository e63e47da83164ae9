"""Parts: from the paths of a Plan to Stages with everything in memory, kept for the next Job that wants the same.

A part is kept under its path, its file's size and time, and its placement; what the last Job did not use is dropped.
Refuses nothing by itself: what does not load says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sakuga.lora.adapter import Adapter
from sakuga.lora.cache import Cache
from sakuga.lora.carrying import spoiled
from sakuga.lora.library.folders import adapter_name
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack
from sakuga.lora.targets import names_of
from sakuga.models.annotators import LoadedNetwork, network_named
from sakuga.models.annotators.files import load_network
from sakuga.models.bundle import Bundle, Source
from sakuga.models.device import Placement
from sakuga.models.embedding import Embedding, check_width, load_bundled, load_embedding
from sakuga.models.library import Library
from sakuga.models.load import load_base, load_codec, load_control, load_motion
from sakuga.models.prompts import encode_pair
from sakuga.render.denoisers import Texts
from sakuga.render.plan import ControlPlan, Plan, StagePlan
from sakuga.render.stage import ControlNet, StageParts
from sakuga.render.weights import Moment, stack_weight
from sakuga.report import Report
from sakuga.tensors.file import TensorFile

Part = TypeVar("Part")

PEFT_CONFIG = "adapter_config.json"
CACHE_BYTES = 1 << 30  # of changed weights that are kept for the next Span or Job on the host


class PartsKeeper:
    """What is loaded, by what it was loaded from."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], Any] = {}
        self._asked: set[tuple[object, ...]] = set()
        self._cache = Cache(host_bytes=CACHE_BYTES)
        self._hashes: list[str] = []

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._asked.clear()
        self._cache.clear()

    def begin(self) -> None:
        """A new Job starts: what the Job before the last one used and the last one did not is dropped first, and a base
        with weights that could not be taken back.
        """
        if self._asked:
            self._kept = {key: part for key, part in self._kept.items() if key in self._asked and not _spoiled(part)}
        self._asked = set()

    def stage(self, plan: Plan, number: int, library: Library, report: Report) -> StageParts:
        """Stage ``number`` of ``plan``, loaded; every file goes into ``report``."""
        stage, where, base = plan.stages[number], plan.where, plan.base
        assert base is not None, "a Plan with a Stage has a base"
        self._hashes = []
        bundle = self._get(base, where, lambda: load_base(base, library, where))
        self._tell(report, "base", bundle.name, bundle.family.name, bundle.sources)
        codec = bundle.codec
        if stage.vae is not None:
            vae = stage.vae
            loaded = self._get(vae, where, lambda: load_codec(vae, library, where))
            self._tell(report, "vae", vae.stem, bundle.family.name, loaded.sources)
            codec = loaded.part
        controls = tuple(self._control(control, bundle, library, where, report) for control in stage.controls)
        motion = None
        if stage.motion is not None and stage.settings.motion == bundle.defaults.motion:
            motion = bundle.motion
        elif stage.motion is not None:
            path = stage.motion
            found = self._get(path, where, lambda: load_motion(path, bundle, library, where), bundle.name)
            self._tell(report, "motion", path.stem, bundle.family.name, found.sources)
            motion = found.part
        stack = self._stack(stage, bundle, where)
        embeddings = [self._embedding(path, bundle, where, report) for path in stage.embeddings]
        embeddings += [self._bundled(adapter, name, bundle, where) for adapter, name in _carried(stack)]
        return StageParts(
            settings=stage.settings,
            bundle=bundle,
            codec=codec,
            schedule=bundle.schedule_with(motion),
            stack=stack,
            cache=self._cache,
            controls=controls,
            motion=motion,
            read_prompts=_reader(stage, bundle, embeddings, report),
            smoothings=stage.smoothings,
            hashes=tuple(self._hashes),
        )

    def _control(
        self, plan: ControlPlan, bundle: Bundle, library: Library, where: Placement, report: Report
    ) -> ControlNet:
        path, kind = plan.path, plan.use.kind
        loaded = self._get(path, where, lambda: load_control(path, kind, bundle, library, where), bundle.name)
        self._tell(report, f"control {kind}", path.stem, bundle.family.name, loaded.sources)
        networks = [self._network(plan, n, where, report) for n in range(len(plan.networks))]
        annotator = plan.annotator.with_networks(networks)
        return ControlNet(use=plan.use, annotator=annotator, net=loaded.part, clip=plan.clip)

    def _network(self, plan: ControlPlan, number: int, where: Placement, report: Report) -> LoadedNetwork | None:
        """A network that an annotator draws with."""
        path, network = plan.networks[number], network_named(plan.annotator.networks[number])
        if path is None:
            return None
        loaded = self._get(path, where, lambda: load_network(network, path, where))
        self._tell(report, f"annotator {plan.use.kind}", path.stem, network.title, loaded.sources)
        return loaded.part

    def _embedding(self, path: Path, bundle: Bundle, where: Placement, report: Report) -> Embedding:
        embedding = self._get(path, where, lambda: load_embedding(path))
        self._tell(report, "embedding", embedding.name, bundle.family.name, (embedding.source,))
        return embedding

    def _bundled(self, adapter: Adapter, name: str, bundle: Bundle, where: Placement) -> Embedding:
        """A textual inversion that an adapter carries; its word counts as long as the adapter is used."""
        found = self._get(
            adapter.path, where, lambda: load_bundled(adapter.path, name, adapter.embeddings[name]), "bundled", name
        )
        check_width(found, bundle)
        return found

    def _stack(self, stage: StagePlan, bundle: Bundle, where: Placement) -> Stack:
        names = names_of(bundle.parts)

        def read(path: Path, ignored: bool) -> Adapter:
            with TensorFile.open(path) as file:
                return read_adapter(file, names, adapter_name(path), ignore_alpha=ignored)

        entries = []
        for path, use in zip(stage.adapters, stage.settings.adapters, strict=True):
            ignored = use.alpha == "ignored"
            adapter = self._get(path, where, partial(read, path, ignored), bundle.name, ignored)
            entries.append((adapter, stack_weight(use, Moment())))
        return Stack(tuple(entries))

    def _tell(self, report: Report, role: str, name: str, family: str, sources: Iterable[Source]) -> None:
        """One entry for each file; a file that serves two Stages is told once."""
        for source in sources:
            self._hashes.append(f"{role} {source.sha256} {source.beside_sha256 or ''}")
            entry = {
                "role": role if role != "base" else f"base {source.role}" if source.role != "checkpoint" else "base",
                "name": name,
                "path": str(source.path),
                "sha256": source.sha256,
                "beside_sha256": source.beside_sha256,
                "family": family,
                "used": source.used,
                "left_out": [{"key": left.key, "reason": left.reason} for left in source.leftovers],
            }
            if entry not in report.models:
                report.models.append(entry)

    def _get(self, path: Path, where: Placement, load: Callable[[], Part], *more: object) -> Part:
        """The part of ``path``, loaded now or kept from before, as long as the file is the same."""
        seen = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in _files(path))
        key = (path.resolve(), seen, where.device, where.dtype, *more)
        self._asked.add(key)
        if key not in self._kept:
            self._kept[key] = load()
        found: Part = self._kept[key]
        return found


def _spoiled(part: object) -> bool:
    return isinstance(part, Bundle) and bool(spoiled(part.parts))


def _carried(stack: Stack) -> list[tuple[Adapter, str]]:
    """(adapter, name) of the textual inversions that the adapters of a stack carry, each once."""
    found = {(adapter.path, name): (adapter, name) for adapter, _ in stack.entries for name in adapter.embeddings}
    return list(found.values())


def _files(path: Path) -> list[Path]:
    """All that makes a part what it is: the files of a folder, or a file and the config of an adapter beside it."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    config = path.with_name(PEFT_CONFIG)
    return [path, config] if config.is_file() else [path]


def _reader(stage: StagePlan, bundle: Bundle, embeddings: list[Embedding], report: Report) -> Callable[[], Texts]:
    """Reads the prompts of a Stage with the weights as they are then, and names embeddings that no prompt calls."""
    settings = stage.settings

    def read() -> Texts:
        pair = encode_pair(
            bundle,
            settings.prompt,
            settings.negative_prompt,
            clip_skip=settings.clip_skip,
            embeddings=embeddings,
            style=settings.prompt_style,
        )
        called = {name for encoded in pair for name in encoded.used.embeddings}
        for embedding in embeddings:
            if embedding.name not in called:
                report.note(f"embedding {embedding.name}", "its name is in no prompt, so it has no effect")
        return Texts(positive=pair[0].states, negative=pair[1].states)

    return read
