"""What a tool's command line names: adapters with their weights, and bases, found in the library and opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sakuga.lora.tools.checkpoint import Checkpoint
    from sakuga.lora.tools.source import Source
    from sakuga.lora.weight import StackWeight
    from sakuga.models.library import Library


def checkpoint(ref: str, library: Library) -> Checkpoint:
    """A base; its names are those of its own build where that is one we draw, else those of a published family."""
    from sakuga.errors import FileProblem
    from sakuga.lora.targets import names_of
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
            names = names_of(outline(path, library, own_vae=False).parts)
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
            )
        blocks = block_factors(use.blocks) if use.blocks else {}
        names.append(use.file)
        strengths.append(StackWeight(unet=plain[0], text_encoder=plain[1], blocks=blocks))
    return adapters(names, library, base, strengths)


def adapters(
    refs: Sequence[str], library: Library, base: Checkpoint | None, strengths: Sequence[StackWeight] = ()
) -> tuple[Source, ...]:
    """Adapters by name or path, opened for a base or for names that all of them know."""
    from sakuga.lora.tools.source import opened
    from sakuga.models.library import adapter_name

    paths = [library.find(ref, "adapter") for ref in refs]
    return opened([(adapter_name(path), path) for path in paths], base.names if base else None, strengths=strengths)
