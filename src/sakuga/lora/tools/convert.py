"""Convert: the same adapter in another layout. Names change; the bits of every tensor stay.

An alpha moves between a tensor (kohya) and a config (diffusers, PEFT). From kohya's layout to another and back gives
the same file, unless it has fused modules: those fall into their parts where the target has only parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.algorithms import SCALARS
from sakuga.lora.algorithms.rows import taken
from sakuga.lora.algorithms.scale import SCALE_LEAVES, alpha_of
from sakuga.lora.formats.peft_config import HEADER_KEY
from sakuga.lora.module import Module
from sakuga.lora.tools.made import Made
from sakuga.lora.tools.output import ADDITIVE_PEFT, NewAdapter, Place
from sakuga.lora.tools.relabel import RECORD, STALE, Record, labels_of, layout_of
from sakuga.lora.tools.source import Source
from sakuga.lora.tools.spelling import Label
from sakuga.progress import Progress
from sakuga.tensors.entry import TORCH_NAMES

OF_ROWS = frozenset({"up", "up_bias", "magnitude"})  # leaves that fall apart with the rows of a fused module
TURNED = "fan_in_fan_out"  # an option of PEFT's for layers whose weight is stored as [in, out]


def convert(source: Source, place: Place, *, progress: Progress | None = None) -> Made:
    """Write ``source`` in the layout of ``place``. Raises AdapterDoesNotFit for what that layout cannot hold."""
    progress = progress or Progress()
    modules = [module for module in source.found.modules if module.changes]
    labels = labels_of(source, modules, place.layout)
    came_from = layout_of(source)
    back = Record.read(source.found.metadata) if came_from != "kohya" else None
    notes: list[str] = []
    metadata = dict(source.found.metadata)
    fused = [] if place.layout == "kohya" else [module for module in modules if _is_fused(module)]
    if came_from == "kohya" and place.layout != "kohya" and not fused:
        record = Record.of(source, dict(zip(labels, modules, strict=True)))
        metadata = {key: value for key, value in metadata.items() if key not in STALE} | {RECORD: record.text()}
    elif back is not None and place.layout == "kohya":
        metadata = {key: value for key, value in metadata.items() if key != RECORD} | back.metadata
    metadata.pop(HEADER_KEY, None)
    if any(module.facts.options.get(TURNED) for module in modules):
        raise AdapterDoesNotFit(
            f"{source.name} is for layers that store their weights as [in, out]",
            given=f"{TURNED} in its PEFT config",
            do="use it as it is, or merge it alone, which turns the factors",
        )
    progress.begin("convert", len(modules))
    with NewAdapter(place=place) as new:
        for label, module in zip(labels, modules, strict=True):
            if place.layout == "kohya":
                _add_kohya(new, source, module, label, back)
            else:
                for part, leaves in _parts(source, module, label):
                    down = leaves.get("down", leaves.get("lora_embedding_A"))
                    new.add(part, leaves, alpha=None if down is None else alpha_of(module.facts, down.shape[0]))
            progress.advance()
        notes += _beside(source, new)
        new.finish(metadata)
    notes += [f"{len(fused)} fused modules were written as their parts"] if fused else []
    if new.unsound:
        notes.append(f"NaN or infinity is copied as it is: {new.unsound[0]}, one of {len(new.unsound)} such modules")
    return Made(
        output=place.path,
        size_bytes=new.size_bytes,
        modules=len(new.labels),
        layout=place.layout,
        ranks=dict(new.ranks),
        sources=[source.told()],
        notes=(*notes, *new.notes),
    )


def _add_kohya(new: NewAdapter, source: Source, module: Module, label: Label, back: Record | None) -> None:
    """One module with all its leaves, alpha among them."""
    group, facts = module.group, module.facts
    strange = group.leaves.keys() - ADDITIVE_PEFT - {"alpha"} if facts.dialect == "peft" else set()
    strange |= {leaf for leaf in group.leaves if leaf.startswith("lora_embedding_")}
    if strange:
        raise AdapterDoesNotFit(
            "kohya's layout has no place for all of this adapter",
            given=f"{label.name}: {', '.join(sorted(strange))}, which only PEFT reads so",
            do="use it as it is",
        )
    leaves = {leaf: _raw(source, key) for leaf, key in group.leaves.items()}
    if "magnitude" in leaves:
        leaves["dora_scale"] = _as_dora_scale(leaves.pop("magnitude"), leaves.get("down"))
    down, stated = leaves.get("down"), True
    if back is not None and down is not None:
        label = replace(label, stem=back.stem(label))
        told = back.alpha_format(label)
        stated = bool(told)
        if told:
            alpha = alpha_of(facts, down.shape[0])
            dtype = getattr(torch, TORCH_NAMES[told.removesuffix("[1]")])
            number = torch.tensor(down.shape[0] if alpha is None else alpha, dtype=torch.float64).to(dtype)
            leaves["alpha"] = number.reshape(1) if told.endswith("[1]") else number
    new.add(label, leaves, alpha=facts.alpha, state_alpha=stated)


def _parts(source: Source, module: Module, label: Label) -> Iterator[tuple[Label, dict[str, Tensor]]]:
    """The leaves of a module as PEFT's, those of each of its parts where it is a fused one."""
    odd = module.group.leaves.keys() & SCALARS - SCALE_LEAVES
    leaves = source.factors(module) | {leaf: _raw(source, module.group.leaves[leaf]) for leaf in odd}
    if "dora_scale" in leaves:
        leaves["magnitude"] = _as_magnitude(leaves.pop("dora_scale"), leaves, label)
    if not _is_fused(module):
        yield label, leaves
        return
    whole = {leaf: tensor for leaf, tensor in leaves.items() if leaf not in OF_ROWS}
    for seat in module.seats:
        assert seat.take is not None and seat.total is not None
        rows = {leaf: taken(leaves[leaf], seat.take, seat.total) for leaf in OF_ROWS & leaves.keys()}
        yield Label(component=seat.component, path=seat.module), whole | rows


def _is_fused(module: Module) -> bool:
    """Whether it is several modules of the model, or one whose rows lie in another order."""
    return any(seat.take is not None for seat in module.seats)


def _beside(source: Source, new: NewAdapter) -> list[str]:
    """Copy what is of no module; PEFT's layout has no place for it. Returns notes."""
    embeddings = [key for keys in source.found.embeddings.values() for key in keys.values()]
    others = [left.key for left in source.found.beside if left.key in source.file.entries]
    if new.place.layout != "peft":
        for key in (*embeddings, *others):
            new.add_key(key, source.file.tensor(key))
        return []
    lost = [*embeddings, *others]
    return [f"left out, because PEFT's layout has no place for it: {key}" for key in lost]


def _raw(source: Source, key: str) -> Tensor:
    """A tensor as the file has it; a number of a pickle as a tensor."""
    if key in source.file.extras:
        return torch.tensor(float(str(source.file.extras[key])))
    return source.file.tensor(key)


def _as_dora_scale(lengths: Tensor, down: Tensor | None) -> Tensor:
    """PEFT's magnitude as LyCORIS writes it: [out, 1], with a kernel of ones for a convolution."""
    return lengths.reshape(-1, *[1] * ((2 if down is None else down.ndim) - 1))


def _as_magnitude(lengths: Tensor, leaves: Mapping[str, Tensor], label: Label) -> Tensor:
    """LyCORIS' lengths of rows as PEFT writes them: [out], or [1, out, 1, 1] for a convolution."""
    up, down = leaves.get("up"), leaves.get("down")
    rows = up is not None and lengths.numel() == lengths.shape[0] == up.shape[0]
    if not rows or down is None:
        raise AdapterDoesNotFit(
            "PEFT's DoRA has a magnitude for each row",
            given=f"{label.name}: a magnitude of {list(lengths.shape)}",
            do="keep it in kohya's layout",
        )
    return lengths.reshape(1, -1, *[1] * (down.ndim - 2)) if down.ndim > 2 else lengths.reshape(-1)
