"""From the Outline of a base model to the Bundle: its weights are read, each part goes to its device."""

from __future__ import annotations

from sakuga.models.bundle import Bundle, Loaded, Source
from sakuga.models.codec import Codec
from sakuga.models.device import Placement
from sakuga.models.outline import SCHEDULER, Outline, check_agree
from sakuga.models.parts import Built
from sakuga.models.sources import source_of, source_of_scheduler, sources_of
from sakuga.models.tokenizer import TOKENIZER, clip_tokenizer, tokenizer_at, tokenizer_files
from sakuga.models.weights import weights_of


def base_of(drawn: Outline, where: Placement, codec: Loaded[Codec] | None) -> Bundle:
    """Fill ``drawn`` (which is used up by this). ``codec`` takes the place of its own VAE; one of the two is there."""
    check_agree(drawn, codec.part.channels if codec else None)
    origin = weights_of(drawn)
    unet = drawn.unet.filled(where.dtype)
    text = drawn.text_encoder.filled(where.full)
    vae = drawn.vae.filled(where.full) if codec is None and drawn.vae is not None else None
    assert codec or vae, "an outline without a VAE needs a codec"
    return Bundle(
        name=drawn.name,
        family=drawn.family,
        unet=unet.module.to(where.device),
        codec=codec.part if codec else Codec(vae=vae.module.to(where.device) if vae else None),
        text_encoder=text.module.to(where.device),
        tokenizer=tokenizer_at(drawn.folder / TOKENIZER) if drawn.folder else clip_tokenizer(),
        schedule=drawn.schedule,
        motion=None,
        defaults=drawn.defaults,
        sources=(*_sources(drawn, unet, text, vae), *(codec.sources if codec else ())),
        origin=origin,
        folder=drawn.folder,
    )


def _sources(drawn: Outline, unet: Built, text: Built, vae: Built | None) -> tuple[Source, ...]:
    """The account of the base's own files: one file for all parts, or each part with its own."""
    if drawn.file is not None:
        taken = drawn.marks | unet.used | text.used | (vae.used if vae else frozenset())
        return (source_of(drawn.file, "checkpoint", taken),)
    own_vae = sources_of(drawn.vae.part, "vae", vae.used) if drawn.vae and vae else ()
    scheduler = drawn.path / SCHEDULER
    return (
        *sources_of(drawn.unet.part, "unet", unet.used),
        *sources_of(drawn.text_encoder.part, "text_encoder", text.used, tokenizer_files(drawn.path / TOKENIZER)),
        *own_vae,
        *([source_of_scheduler(scheduler)] if scheduler.is_file() else ()),
    )
