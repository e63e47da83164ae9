"""Merge: a stack of adapters as one adapter file, by writing their factors side by side or by the best pair of a rank.

Side by side is exact but for the rounding to the file's numbers; its rank is the sum of all ranks. Strengths and alphas
are inside the factors. The order in which adapters are given plays no part.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit, SakugaError
from sakuga.lora.algorithms.record import Shape
from sakuga.lora.changes import Weigh
from sakuga.lora.tools.gather import Sum, Summer, Target, Use, gathered
from sakuga.lora.tools.lowrank import Keep, OfPair, OfWhole, Spectrum
from sakuga.lora.tools.made import Errors, Made
from sakuga.lora.tools.metadata import shared_metadata
from sakuga.lora.tools.output import DTYPES, NewAdapter, Numbers, Place, stored, word_of
from sakuga.lora.tools.source import Source, nameless, widest
from sakuga.lora.tools.spelling import Label, Spelling
from sakuga.progress import Progress

NOTE = "sakuga_merge"


def merge(
    sources: Sequence[Source],
    place: Place,
    *,
    keep: Keep | None = None,
    numbers: Numbers | None = None,
    weigh: Weigh | None = None,
    progress: Progress | None = None,
) -> Made:
    """Write one adapter that does what ``sources`` do together at their strengths.

    ``keep``: cut each module down to a rank; without it every change has to be of low rank. ``numbers`` None: the
    widest of the sources. ``weigh`` gives the weights that some algorithms look at.

    Raises AdapterDoesNotFit, OutputError.
    """
    names = sources[0].found.names if sources else None
    if names is None:
        nothing = SakugaError("there is nothing to merge", given="no adapter", do="name one")
        raise nameless(sources) if sources else nothing
    progress, ordered = progress or Progress(), sorted(sources, key=_order)
    targets = gathered(ordered, split=place.layout != "kohya")
    alike = len({source.found.layout_id for source in ordered}) == 1
    labels = _labels(targets, Spelling(names), keep_stems=alike)
    summer = Summer(names=names, weigh=weigh)
    writer = Cutter(keep=keep, dtype=DTYPES[numbers] if numbers else widest(ordered))
    unchanged = 0
    with torch.no_grad(), NewAdapter(place=place) as new:
        progress.begin("merge", len(targets))
        for label, members in labels.items():
            leaves: dict[str, Tensor] = {}
            for target in members:
                found = summer.sum(target, targets[target])
                leaves |= writer.leaves(found, target, targets[target], label) if found else {}
                progress.advance()
            unchanged += not leaves
            if leaves:
                new.add(label, leaves)
        embeddings = _embeddings(ordered)
        for key, tensor in embeddings.items() if place.layout != "peft" else ():
            new.add_key(key, tensor)
        told = [source.told() for source in ordered]
        note = json.dumps([{key: value for key, value in one.items() if key != "file"} for one in told])
        new.finish({**shared_metadata([source.found.metadata for source in ordered]), NOTE: note})
    notes = [f"{unchanged} modules are left out: nothing changes there"] if unchanged else []
    notes += [] if writer.errors.meant else ["what is written changes nothing: every change in it is 0"]
    if embeddings and place.layout == "peft":
        notes.append("the words that they bring for the prompt are left out: PEFT's layout has no place for them")
    return Made(
        output=place.path,
        size_bytes=new.size_bytes,
        modules=len(new.labels),
        layout=place.layout,
        numbers=word_of(writer.dtype),
        ranks=dict(new.ranks),
        sources=told,
        errors=writer.errors,
        notes=(*notes, *new.notes),
    )


@dataclass(frozen=True, kw_only=True)
class Cutter:
    """Turns sums of changes into the leaves that are written for them, and counts the errors of that."""

    keep: Keep | None
    dtype: torch.dtype
    errors: Errors = field(default_factory=Errors)

    def leaves(self, found: Sum, target: Target, uses: Sequence[Use], label: Label) -> dict[str, Tensor]:
        """Leaf → tensor; empty where nothing changes. Raises AdapterDoesNotFit."""
        if len(found.shape) < 2:
            assert found.whole is not None
            return self.list_leaf(found.whole, "diff_b" if target.parameter == "bias" else "diff", label.name)
        if found.whole is not None and self.keep is None:
            kinds = sorted({use.module.algorithm for use in uses})
            raise AdapterDoesNotFit(
                "these changes cannot be written side by side: not all of them are pairs of factors",
                given=f"{label.name}: {', '.join(kinds)}",
                do="give a rank (--rank) to cut every module down to",
            )
        columns = prod(found.shape[1:])
        up = torch.cat([torch.zeros(found.shape[0], 0), *(pair.up for pair in found.pairs)], 1)
        down = torch.cat([torch.zeros(0, columns), *(pair.down_for(found.shape).flatten(1) for pair in found.pairs)])
        if found.whole is not None:
            return self.of_whole(found.whole.double().flatten(1) + up.double() @ down.double(), found.shape, label.name)
        return self.of_pair(up, down, found.shape, label.name)

    def of_pair(self, up: Tensor, down: Tensor, shape: Shape, name: str) -> dict[str, Tensor]:
        """The leaves for up · down; the very pair where its rank is not above what is kept."""
        change = OfPair(up=up, down=down)
        if self.keep is None or (up.shape[1] <= self.keep.rank and self.keep.method is None):
            return self._written(change, up, down, shape, name)
        return self._cut(change, shape, name)

    def of_whole(self, change: Tensor, shape: Shape, name: str) -> dict[str, Tensor]:
        """The leaves for a change [out, in] that is no pair."""
        return self._cut(OfWhole(change=change), shape, name)

    def list_leaf(self, values: Tensor, leaf: str, name: str) -> dict[str, Tensor]:
        """The leaf for the change of a bias or of a norm's weight, which is written as it is."""
        if not bool(values.any()):
            return {}
        new = stored(values, self.dtype, name)
        missing = float(torch.linalg.vector_norm(new.double() - values.double()))
        self.errors.add(f"{name} ({leaf})", missing, float(torch.linalg.vector_norm(values.double())))
        return {leaf: new}

    def _cut(self, change: Spectrum, shape: Shape, name: str) -> dict[str, Tensor]:
        rank = self.keep.count(change.values) if self.keep else 0
        return self._written(change, *change.cut(rank), shape, name) if rank else {}

    def _written(self, change: Spectrum, up: Tensor, down: Tensor, shape: Shape, name: str) -> dict[str, Tensor]:
        up, down = stored(up, self.dtype, name), stored(down, self.dtype, name)
        self.errors.add(name, change.error(up, down), change.norm)
        kernel = [1] * (len(shape) - 2)
        return {"up": up.reshape(*up.shape, *kernel), "down": down.reshape(down.shape[0], *shape[1:])}


def _order(source: Source) -> tuple[object, ...]:
    """What adapters are sorted by, whatever order they are given in."""
    return source.sha256, source.strength.unet, source.strength.text_encoder, sorted(source.strength.blocks.items())


def _labels(targets: dict[Target, list[Use]], spelling: Spelling, *, keep_stems: bool) -> dict[Label, list[Target]]:
    """Label → what is written under it. ``keep_stems``: with the stem that a file in kohya's layout has for it, which
    is for files of one naming: two namings in one file are more than most tools read.
    """
    found: dict[tuple[object, ...], tuple[Label, list[Target]]] = {}
    for target, uses in targets.items():
        whole = [use for use in uses if use.seat is None and keep_stems]
        stems = [spelling.label_of(use.module.group, target.seats) for use in whole]
        label = next((label for label in stems if label.stem), spelling.label(target.seats))
        found.setdefault(target.seats, (label, []))[1].append(target)
    stemmed = spelling.with_stems([label for label, _ in found.values()])
    return {stemmed[label]: members for label, members in found.values()}


def _embeddings(sources: Sequence[Source]) -> dict[str, Tensor]:
    """Textual inversions that the files carry. Raises AdapterDoesNotFit when two of one name differ."""
    found: dict[str, Tensor] = {}
    for source in sources:
        for keys in source.found.embeddings.values():
            for key in keys.values():
                tensor = source.file.tensor(key)
                if not torch.equal(found.setdefault(key, tensor), tensor):
                    title = "two adapters bring different embeddings of one name"
                    raise AdapterDoesNotFit(title, given=key, do="leave one of them out")
    return found
