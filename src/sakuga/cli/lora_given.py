"""What a command line names: adapters with their weights, and bases, found in the library and opened."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sakuga.lora.library.names import Names
    from sakuga.lora.tools.checkpoint import Checkpoint
    from sakuga.lora.tools.source import Source
    from sakuga.lora.weight import StackWeight
    from sakuga.models.library import Library


def checkpoint(ref: str, library: Library) -> Checkpoint:
    """A base; its names are those of its own build where that is one we draw, else those of a published family."""
    from sakuga.errors import FileProblem
    from sakuga.lora.tools.checkpoint import Checkpoint
    from sakuga.models.detect import recognise
    from sakuga.models.families import FAMILIES
    from sakuga.models.library import BASE
    from sakuga.models.outline import outline

    path = library.find(ref, BASE)
    known = recognise(path)
    names = None
    if known.role in ("bundle", "checkpoint") and known.family in {family.name for family in FAMILIES}:
        try:
            names = outline(path, library, own_vae=False).names
        except FileProblem:
            names = None  # what cannot be rendered, such as a model for inpainting, may be of a published build
    return Checkpoint.open(path, names)


def stack(uses: Sequence[str], library: Library, base: Checkpoint | None) -> tuple[Source, ...]:
    """The adapters of a command line with their weights. Raises JobError for a weight that is no number."""
    from sakuga.errors import JobError
    from sakuga.lora.weight import StackWeight
    from sakuga.render.weights import block_factors
    from sakuga.spec.uses import LoraUse

    names, strengths = [], []
    for text in uses:
        use = LoraUse.parse(text)
        both = [use.weight, use.weight if use.text_encoder_weight is None else use.text_encoder_weight]
        plain = [float(weight) for weight in both if isinstance(weight, int | float)]
        more = use.model_dump(exclude_defaults=True).keys() - {"file", "weight", "text_encoder_weight", "blocks"}
        if more or len(plain) < len(both):
            raise JobError(
                "what is written to a file has one weight at all times",
                given=text,
                expected="NAME:0.8, NAME:0.5:0.8 or NAME:0.8:lbw=OUTD",
                do="leave out what changes with time or steps; a job can say that",
            )
        blocks = block_factors(use.blocks) if use.blocks else {}
        names.append(use.file)
        strengths.append(StackWeight(unet=plain[0], text_encoder=plain[1], blocks=blocks))
    return adapters(names, library, base, strengths)


def adapters(
    refs: Sequence[str], library: Library, base: Checkpoint | None, strengths: Sequence[StackWeight] = ()
) -> tuple[Source, ...]:
    """Adapters by name or path, opened for a base or for names that all of them know."""
    from sakuga.lora.library.folders import adapter_name
    from sakuga.lora.tools.source import opened

    paths = paths_of(refs, library)
    return opened([(adapter_name(path), path) for path in paths], base.names if base else None, strengths=strengths)


def names_in(library: Library, index: Path | None = None) -> Names:
    """The adapters of a library by name; progress is shown where files have to be indexed first."""
    from sakuga.cli.console import watched
    from sakuga.lora.library.names import Names

    return Names(library.folders, index=index, watch=watched)


def paths_of(refs: Sequence[str], library: Library) -> list[Path]:
    """The files of adapters."""
    names = names_in(library)
    return [path_of(ref, names) for ref in refs]


def path_of(ref: str, names: Names) -> Path:
    """The file of an adapter; what there is to say of its name goes to stderr. Raises FileProblem."""
    named = names.find(ref)
    if named.remark:
        print(f"{ref}: {named.remark}", file=sys.stderr)
    return named.path
