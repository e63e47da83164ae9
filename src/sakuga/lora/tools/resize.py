"""Resize: an adapter with every module cut down to the best pair of a smaller rank. Its strength stays the same.

What is small enough keeps its bits; biases and norms do too. Changes that are no pair (LoHa, LoKr, whole differences)
become one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import Algorithm
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.algorithms.record import Shape
from sakuga.lora.algorithms.scale import alpha_of
from sakuga.lora.algorithms.tucker import TuckerLora
from sakuga.lora.module import Change, Module
from sakuga.lora.tools.convert import TURNED
from sakuga.lora.tools.lowrank import Keep, pair_norm
from sakuga.lora.tools.made import Made
from sakuga.lora.tools.merge import Cutter
from sakuga.lora.tools.metadata import kept_metadata
from sakuga.lora.tools.output import DTYPES, NewAdapter, Numbers, Place, word_of
from sakuga.lora.tools.relabel import labels_of
from sakuga.lora.tools.source import Source, nameless, widest
from sakuga.lora.tools.spelling import Label
from sakuga.progress import Progress


def resize(
    source: Source,
    place: Place,
    keep: Keep,
    *,
    numbers: Numbers | None = None,
    progress: Progress | None = None,
) -> Made:
    """Write ``source`` with no rank above what ``keep`` says. Raises AdapterDoesNotFit, OutputError."""
    progress = progress or Progress()
    cutter = Cutter(keep=keep, dtype=DTYPES[numbers] if numbers else widest([source]))
    modules = source.modules
    progress.begin("resize", len(modules))
    with torch.no_grad(), NewAdapter(place=place) as new:
        for label, module in zip(labels_of(source, modules, place.layout), modules, strict=True):
            alpha, leaves = _resized(source, module, label, cutter)
            if leaves:
                new.add(label, leaves, alpha=alpha)
            progress.advance()
        metadata = kept_metadata(source.found.metadata)
        for keys in source.found.embeddings.values() if place.layout != "peft" else ():
            for key in keys.values():
                new.add_key(key, source.file.tensor(key))
        new.finish(metadata)
    left = len(modules) - len(new.labels)
    notes = [f"{left} modules are left out: they change nothing"] if left else []
    if place.layout == "peft" and source.found.embeddings:
        notes.append("the words that it brings for the prompt are left out: PEFT's layout has no place for them")
    return Made(
        output=place.path,
        size_bytes=new.size_bytes,
        modules=len(new.labels),
        layout=place.layout,
        numbers=word_of(cutter.dtype),
        ranks=dict(new.ranks),
        sources=[source.told()],
        errors=cutter.errors,
        notes=(*notes, *new.notes),
    )


def _resized(source: Source, module: Module, label: Label, cutter: Cutter) -> tuple[float | None, dict[str, Tensor]]:
    """(alpha, leaves) of a module; no leaves where it changes nothing."""
    alpha: float | None = None
    leaves: dict[str, Tensor] = {}
    factors = source.factors(module)
    for change, record in source.records(module):
        if record.needs_base:
            raise AdapterDoesNotFit(
                f"{module.algorithm} looks at the weights of a base, so its rank cannot be changed alone",
                given=f"{source.name}, {module.group.stem}",
                do="merge it alone, with --rank and --base",
            )
        own = {leaf: factors[leaf] for leaf in change.part.leaves if leaf in factors}
        if change.part.kind.parameter == "bias" or (len(own) == 1 and next(iter(own.values())).ndim < 2):
            leaves |= {leaf: tensor for leaf, tensor in own.items() if leaf not in change.part.kind.also}
            continue
        alpha, found = _of_weight(source, module, change, record, own, label, cutter)
        leaves |= found
    return alpha, leaves


def _of_weight(
    source: Source,
    module: Module,
    change: Change,
    record: Algorithm,
    own: Mapping[str, Tensor],
    label: Label,
    cutter: Cutter,
) -> tuple[float | None, dict[str, Tensor]]:
    """(alpha, leaves) for the change of a weight."""
    assert cutter.keep is not None
    pair = record.factors()
    if pair is None:
        whole = record.delta(torch.empty(_shape(source, module, own), device="meta"))
        return None, cutter.of_whole(whole.flatten(1), tuple(whole.shape), label.name)
    shape = (pair.up.shape[0], *pair.down.shape[1:])
    rank = pair.up.shape[1]
    alpha = alpha_of(module.facts, rank) if isinstance(record, Lora | TuckerLora) else None
    up, down = pair.up, pair.down.flatten(1)
    small = rank <= cutter.keep.rank and cutter.keep.method is None and not module.facts.options.get(TURNED)
    if small and own.keys() == {"up", "down"} and {tensor.dtype for tensor in own.values()} == {cutter.dtype}:
        cutter.errors.add(label.name, 0.0, pair_norm(up, down))
        return alpha, dict(own)
    scale = 1.0 if alpha is None else alpha / rank
    leaves = cutter.of_pair(up, down / scale, shape, label.name)
    if not leaves:
        return None, {}
    missing, meant = cutter.errors.of_modules[label.name]
    cutter.errors.add(label.name, missing * abs(scale), meant * abs(scale))
    return scale * leaves["down"].shape[0], leaves


def _shape(source: Source, module: Module, own: Mapping[str, Tensor]) -> Shape:
    """The shape of a change that is no pair. Raises AdapterDoesNotFit where nothing tells."""
    if len(own) == 1:
        return tuple(next(iter(own.values())).shape)
    shapes = [source.found.names.shape(seat.place) for seat in module.seats] if source.found.names else []
    if len(shapes) != 1 or shapes[0] is None:
        raise nameless([source])
    return shapes[0]
