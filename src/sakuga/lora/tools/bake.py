"""Bake: a stack of adapters put into the weights of a checkpoint for good: a file into a file, a folder into a folder.

Only tensors that change are computed, by the Stack that renders too, so they have the very bits that a render would
use. All others are copied byte for byte; names, their order and the number formats stay.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, OutputError, SakugaError, UnreadableFile
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.blocks import blocks_of
from sakuga.lora.module import Change, Module
from sakuga.lora.placing import seated
from sakuga.lora.stack import Stack
from sakuga.lora.tools.checkpoint import Checkpoint, Held, put_rows, rows_of, weight_files
from sakuga.lora.tools.made import Made
from sakuga.lora.tools.output import check_suffix
from sakuga.lora.tools.relabel import STALE
from sakuga.lora.tools.source import Source
from sakuga.progress import Progress
from sakuga.tensors.entry import Entry
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import Seat
from sakuga.tensors.write import CHUNK_BYTES, Slot, write_tensors
from sakuga.whole import Ours, appearing_whole, check_place, writing

NOTE = "sakuga_bake"
WEIGHTS = ("*.safetensors", "*.bin", "*.ckpt", "*.pt", "*.pth", "*.msgpack", "*.index.json")

Used = tuple[int, Module, Change, Seat]


def bake(
    checkpoint: Checkpoint,
    sources: Sequence[Source],
    output: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Made:
    """Write ``checkpoint`` with ``sources``, which were opened with its names, in it at their strengths.

    Raises AdapterDoesNotFit, OutputError; then nothing is written.
    """
    progress = progress or Progress()
    folder = checkpoint.path.is_dir()
    if not folder:
        check_suffix(output)
    elif output.resolve().is_relative_to(checkpoint.path.resolve()):
        raise OutputError("the output is inside of the base", given=str(output), do="choose another folder")
    ours = _ours(checkpoint.path, output) if folder else None
    check_place(output, overwrite=overwrite, ours=ours)
    baker = _Baker(checkpoint=checkpoint, sources=tuple(sources), output=output)
    changed = baker.changed()
    progress.begin("bake", sum(len(file.names) for _, file in checkpoint.files))
    with torch.no_grad(), appearing_whole(output, overwrite=overwrite, ours=ours) as new:
        hidden = new.hidden
        if folder:
            notes = _bake_folder(baker, changed, hidden, progress)
        else:
            notes = baker.write(checkpoint.files[0][1], hidden, changed, progress)
        size_bytes = sum(file.stat().st_size for file in (hidden.rglob("*") if folder else [hidden]) if file.is_file())
    notes += new.notes
    used = {number for uses in changed.values() for number, *_ in uses}
    idle = [source.name for number, source in enumerate(sources) if number not in used]
    notes += [f"{name} changes nothing: its weights are 0" for name in idle]
    words = sorted({word for source in sources for word in source.found.embeddings})
    if words:
        notes.append(f"a checkpoint has no place for the words {', '.join(words)}, which the adapters bring")
    return Made(
        output=output,
        size_bytes=size_bytes,
        modules=len(changed),
        sources=[source.told() for source in sources],
        notes=tuple(notes),
    )


def _ours(base: Path, output: Path) -> Ours:
    """What gives way to a new folder: the files of one that was baked before, from a base with files of these names."""
    baked = output.is_dir() and any(_baked_before(path) for path in output.glob("*/*.safetensors"))
    return lambda name: baked and (base / name).is_file()


def _baked_before(path: Path) -> bool:
    try:
        return NOTE in TensorFile.open(path).metadata
    except SakugaError:
        return False


@dataclass(frozen=True, kw_only=True)
class _Baker:
    checkpoint: Checkpoint
    sources: tuple[Source, ...]
    output: Path

    def changed(self) -> dict[tuple[str, str, str], list[Used]]:
        """(component, module, parameter) → what changes it. Raises AdapterDoesNotFit where no tensor holds it."""
        found: dict[tuple[str, str, str], list[Used]] = {}
        for number, source in enumerate(self.sources):
            for module in source.modules:
                for change in module.changes:
                    for seat in module.seats:
                        if not source.strength.on(seat.component, blocks_of(seat.component, seat.module)):
                            continue
                        place = (seat.component, seat.module, change.part.kind.parameter)
                        found.setdefault(place, []).append((number, module, change, seat))
        missing = [".".join(place) for place in found if place not in self.checkpoint.weights]
        if missing:
            raise AdapterDoesNotFit(
                f"{self.checkpoint.path.name} has no tensor for all that the adapters change",
                given=f"{missing[0]} and {len(missing) - 1} more" if len(missing) > 1 else missing[0],
                do="use a whole checkpoint, or apply the adapters when rendering",
            )
        return found

    def write(
        self, file: TensorFile, path: Path, changed: Mapping[tuple[str, str, str], list[Used]], progress: Progress
    ) -> list[str]:
        """One file of the checkpoint, with what changes in it. Returns notes."""
        held = {one.key: one for one in self.checkpoint.held if one.file is file}
        slots = [Slot(name=key, dtype=entry.dtype, shape=entry.shape) for key, entry in file.entries.items()]

        def tensors() -> Iterator[Tensor | Iterable[bytes]]:
            for key, entry in file.entries.items():
                one = held.get(key)
                places = [(seat.component, seat.module, one.parameter) for seat in one.seats] if one else []
                if one is not None and any(place in changed for place in places):
                    yield self._baked(one, changed)
                else:
                    yield _pieces(file.path, entry) if file.kind == "safetensors" else file.tensor(key)
                progress.advance()

        metadata = {key: value for key, value in file.metadata.items() if key not in STALE}
        write_tensors(path, slots, metadata | {NOTE: self._note(file.metadata)}, tensors(), final=self.output)
        lost = [f"left out: {len(file.extras)} values that are no tensors"] if file.extras else []
        averaged = any(key.startswith("model_ema.") for key in file.names)
        return lost + (["its averaged weights (model_ema) are left as they are"] if averaged else [])

    def _baked(self, held: Held, changed: Mapping[tuple[str, str, str], list[Used]]) -> Tensor:
        tensor = held.tensor()
        for seat in held.seats:
            used = changed.get((seat.component, seat.module, held.parameter))
            if used:
                shape = self.checkpoint.names.shape(seat.place, held.parameter)
                rows = rows_of(tensor, seat)
                rows = (rows if shape is None else rows.reshape(shape)).clone()
                put_rows(tensor, seat, self._applied(rows, seat, held.parameter, used))
        return tensor.T.contiguous() if held.turned else tensor

    def _applied(self, weight: Tensor, seat: Seat, parameter: str, used: Sequence[Used]) -> Tensor:
        """The weight as it is inside the block of a Stack that has nothing else to change."""
        part = layer = nn.Module()
        for name in seat.module.split("."):
            inner = nn.Module()
            layer.add_module(name, inner)
            layer = inner
        layer.register_parameter(parameter, nn.Parameter(weight, requires_grad=False))
        entries = []
        for number, source in enumerate(self.sources):
            patches = tuple(_patch(source, module, change, at) for who, module, change, at in used if who == number)
            if patches:
                entries.append((_adapter(source, patches), source.strength))
        with Stack(entries).applied({seat.component: part}):
            return getattr(layer, parameter).detach().clone()

    def _note(self, metadata: Mapping[str, str]) -> str:
        """What was baked in, after what had been before."""
        try:
            before: Any = json.loads(metadata.get(NOTE, "[]"))
        except (ValueError, RecursionError):
            before = []
        told = [{key: value for key, value in source.told().items() if key != "file"} for source in self.sources]
        return json.dumps([*(before if isinstance(before, list) else []), *told])


def _bake_folder(
    baker: _Baker,
    changed: Mapping[tuple[str, str, str], list[Used]],
    hidden: Path,
    progress: Progress,
) -> list[str]:
    """The folder copied, with the files of the parts that change written anew. Returns notes."""
    base = baker.checkpoint.path
    touched = {component for component, _, _ in changed} or {str(baker.checkpoint.files[0][0])}  # which gets the note
    names = {component: {path.name for path in weight_files(base / component)} for component in touched}
    notes: list[str] = []

    def aside(folder: str, inside: list[str]) -> set[str]:
        here = Path(folder)
        left = {name for name in inside if name.startswith(".")}
        if here.parent == base and here.name in touched:
            weights = {path.name for pattern in WEIGHTS for path in here.glob(pattern)}
            index = {name for name in weights if name.endswith(".index.json") and len(names[here.name]) > 1}
            stale = weights - names[here.name] - index
            notes.extend(f"left out, because nothing was baked into it: {here.name}/{name}" for name in sorted(stale))
            left |= stale | names[here.name]
        return left

    def copied(old: str, new: str) -> str:
        with writing(baker.output):  # copytree would put the errors of all files into one, which has no number
            return shutil.copy2(old, new)

    with writing(baker.output):
        shutil.copytree(base, hidden, ignore=aside, copy_function=copied)
    for component, file in baker.checkpoint.files:
        assert component is not None
        if component in touched:
            notes += baker.write(file, hidden / component / file.path.name, changed, progress)
        else:
            progress.advance(len(file.names))
    return notes


def _patch(source: Source, module: Module, change: Change, seat: Seat) -> Patch:
    record = next(record for own, record in source.records(module) if own is change)
    return Patch(
        component=seat.component,
        module=seat.module,
        record=seated(record, seat),
        keys=module.group.keys,
        parameter=change.part.kind.parameter,
        into=seat.into,
    )


def _adapter(source: Source, patches: tuple[Patch, ...]) -> Adapter:
    return Adapter(
        name=source.name,
        path=source.file.path,
        sha256=source.sha256,
        family=source.found.family.family,
        layout=source.found.layout,
        metadata={},
        patches=patches,
        leftovers=(),
        total_keys=len(patches),
    )


def _pieces(path: Path, entry: Entry) -> Iterator[bytes]:
    """The very bytes of a tensor. Raises UnreadableFile when the file ends too early."""
    left = entry.stop - entry.start
    with path.open("rb") as stream:
        stream.seek(entry.start)
        while left:
            piece = stream.read(min(left, CHUNK_BYTES))
            if not piece:
                raise UnreadableFile("the file ends in the middle of a tensor", given=entry.name, do="copy it again")
            left -= len(piece)
            yield piece
