"""From a name, file or folder to a loaded part. Opens what the Library finds, builds it, accounts for every tensor.

Refuses files of other families and roles by name, and parts that do not fit the base they are loaded for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sakuga.errors import FileProblem, UnknownFile
from sakuga.models.base import base_of
from sakuga.models.bundle import Bundle, Loaded
from sakuga.models.codec import Codec
from sakuga.models.detect import Recognised, recognise
from sakuga.models.device import Placement
from sakuga.models.families import family_named
from sakuga.models.families.sd15 import SD15
from sakuga.models.library import Library
from sakuga.models.motion import MotionModules
from sakuga.models.outline import outline
from sakuga.models.parts import PartFiles, control_blueprint, vae_blueprint
from sakuga.models.signatures import spoken
from sakuga.models.sources import sources_of

if TYPE_CHECKING:
    from sakuga.models.skeletons import Control


def load_base(ref: str | Path, library: Library, where: Placement, *, vae: str | Path | None = None) -> Bundle:
    """The base model ``ref``, a bundle folder or a single-file checkpoint, on its device; ``vae`` replaces its own.

    Text encoder and codec compute in float32, the UNet in the placement's format. Raises FileProblem and its kinds.
    """
    drawn = outline(ref, library, own_vae=vae is None)
    codec = load_codec(vae, library.including(drawn.folder), where) if vae is not None else None
    base = base_of(drawn, where, codec)
    if base.defaults.motion is None:
        return base
    motion = load_motion(base.defaults.motion, base, library, where)
    return dataclasses.replace(base, motion=motion.part, sources=(*base.sources, *motion.sources))


def load_codec(ref: str | Path, library: Library, where: Placement) -> Loaded[Codec]:
    """A VAE by itself, in float32. A file without a config gets the scaling of SD 1.5: shapes do not tell another."""
    path = library.find(ref, "vae")
    _known(path, "vae")
    part = PartFiles.at(path)
    built = vae_blueprint(part, SD15).filled(where.full)
    return Loaded(part=Codec(vae=built.module.to(where.device)), sources=sources_of(part, "vae", built.used))


def load_control(
    ref: str | Path | None, kind: str, base: Bundle, library: Library, where: Placement
) -> Loaded[Control]:
    """The ControlNet ``ref``, or without it the one that is called like ``kind`` (the base's own before others)."""
    path = library.including(base.folder).find(kind if ref is None else ref, "control")
    family_named(_known(path, "control").family, of=path.name)
    part = PartFiles.at(path)
    drawn = control_blueprint(part, base.family)
    _check_fits(drawn.config, base, path)
    built = drawn.filled(where.dtype)
    return Loaded(part=built.module.to(where.device), sources=sources_of(part, "control", built.used))


def load_motion(ref: str | Path, base: Bundle, library: Library, where: Placement) -> Loaded[MotionModules]:
    """The motion module ``ref`` for the base's UNet."""
    path = library.including(base.folder).find(ref, "motion")
    _known(path, "motion")
    part = PartFiles.at(path)
    cut = len(part.prefix)
    tensors = {key[cut:]: tensor.to(where.dtype) for file in part.files for key, tensor in file.tensors()}
    modules = MotionModules.from_state_dict(tensors, source=path.name, unet=base.unet)
    used = frozenset(key for file in part.files for key in file.names)
    return Loaded(part=modules.to(where.device), sources=sources_of(part, "motion", used))


def _known(path: Path, role: str) -> Recognised:
    known = recognise(path)
    if known.role != role:
        raise UnknownFile(
            f"{path.name} is not what is needed here",
            given=f"{spoken(known.role)} in {known.layout} layout: it {known.reason}",
            expected=spoken(role),
            do="choose another file, and use this one where it belongs",
        )
    return known


def _check_fits(control: Mapping[str, Any], base: Bundle, path: Path) -> None:
    """A ControlNet adds to the UNet's features: widths, levels and the factor of its picture have to agree."""
    for key in ("block_out_channels", "layers_per_block", "cross_attention_dim", "in_channels"):
        has, needs = control[key], base.unet.config[key]
        if _plain(has) != _plain(needs):
            raise FileProblem(
                f"{path.name} was made for another model than {base.name}",
                given=f"{key} {_plain(has)}",
                expected=f"{_plain(needs)}, as in the base",
                do="choose a ControlNet for this base, or another base",
            )
    factor = 2 ** (len(control["conditioning_embedding_out_channels"]) - 1)
    if factor != base.codec.factor:
        raise FileProblem(
            f"{path.name} was made for another codec than that of {base.name}",
            given=f"pictures {factor} times the size of its latents",
            expected=f"{base.codec.factor} times",
            do="choose a ControlNet for this base, or another base",
        )


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
