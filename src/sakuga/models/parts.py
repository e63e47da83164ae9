"""Parts: a UNet, VAE, text encoder, ControlNet or motion module in files of whatever layout, first drawn, then filled.

A part is a set of files with their names below a prefix, and a config from a folder or from the shapes. A Blueprint is
its skeleton without memory together with the place of every weight; headers are enough for it, and it tells what is
missing. diffusers and transformers never see a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sakuga.models.detect import recognise_keys
from sakuga.models.family import Family
from sakuga.models.fill import Place, fill, locate
from sakuga.models.folders import PartFolder
from sakuga.models.keys import Keys
from sakuga.models.skeletons import control_skeleton, text_skeleton, unet_skeleton, vae_skeleton
from sakuga.models.text_config import text_config
from sakuga.models.unet_config import control_config, unet_config, unet_look
from sakuga.models.vae_config import vae_config
from sakuga.tensors.file import TensorFile
from sakuga.tensors.tables.clip_text import LEVEL
from sakuga.tensors.tables.ldm_control import ldm_control_names
from sakuga.tensors.tables.ldm_unet import ldm_unet_names
from sakuga.tensors.tables.ldm_vae import ldm_vae_names, old_vae_names
from sakuga.tensors.tables.parameters import ModuleNames, parameter_names


@dataclass(frozen=True, kw_only=True)
class PartFiles:
    """The files of one part. ``config`` None: to be read from the shapes. ``kind``: the class that a folder names."""

    files: tuple[TensorFile, ...]
    layout: str
    prefix: str = ""
    kind: str = ""
    config: Mapping[str, Any] | None = None

    @classmethod
    def at(cls, path: Path) -> PartFiles:
        """A folder with config and weights, or a file that is one part by itself."""
        if not path.is_dir():
            file = TensorFile.open(path)
            known = recognise_keys(Keys.of(file), name=path.name)
            return cls(files=(file,), layout=known.layout, prefix=known.prefix)
        folder = PartFolder.read(path)
        files = tuple(TensorFile.open(one) for one in folder.weight_files())
        return cls(files=files, layout="diffusers", kind=folder.kind, config=folder.config)

    @cached_property
    def keys(self) -> Keys:
        """Names without the prefix, with shapes."""
        return Keys({name: file.shape(name) for file in self.files for name in file.names}).under(self.prefix)


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A skeleton and its part. ``names``: where the weight of each parameter may lie, the likeliest name first."""

    skeleton: Any
    part: PartFiles
    names: Mapping[str, tuple[str, ...]]

    def places(self) -> tuple[Place, ...]:
        """Where every weight lies. Raises FileProblem with the list of what is missing or of another size."""
        return locate(self.skeleton, self.part.files, self.names)

    def filled(self, dtype: torch.dtype) -> Built:
        """The model with its weights, converted to ``dtype``, on the CPU."""
        places = self.places()
        fill(self.skeleton, places, dtype)
        hollow = [name for name, buffer in self.skeleton.named_buffers() if buffer.is_meta]
        assert not hollow, f"buffers without values: {hollow}"
        return Built(module=self.skeleton, used=frozenset(place.name for place in places))


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model that was filled, and the names in its files that it took."""

    module: Any
    used: frozenset[str]


def unet_blueprint(part: PartFiles, family: Family) -> Blueprint:
    """Of a ``UNet2DConditionModel``."""
    config = part.config or unet_config(unet_look(part.keys, part.layout), heads=family.heads)
    return _drawn(unet_skeleton(config), part, ldm_unet_names)


def control_blueprint(part: PartFiles, family: Family) -> Blueprint:
    """Of a ``ControlNetModel``."""
    config = part.config or control_config(unet_look(part.keys, part.layout), heads=family.heads)
    return _drawn(control_skeleton(config), part, ldm_control_names)


def vae_blueprint(part: PartFiles, family: Family) -> Blueprint:
    """Of an ``AutoencoderKL``, or of the class that a folder's config names."""
    config = part.config or vae_config(part.keys, part.layout, scaling_factor=family.scaling_factor)
    return _drawn(vae_skeleton(part.kind or "AutoencoderKL", config), part, ldm_vae_names, old_vae_names)


def text_blueprint(part: PartFiles) -> Blueprint:
    """Of a ``CLIPTextModel``; the level ``text_model`` may be there or not, in the file and in the class."""
    plain = part.keys.under(LEVEL) if part.keys.find(LEVEL.replace(".", r"\.")) else part.keys
    encoder = text_skeleton(part.config or text_config(plain))
    bare = {key: key.removeprefix(LEVEL) for key in encoder.state_dict()}
    names = {key: (part.prefix + LEVEL + name, part.prefix + name) for key, name in bare.items()}
    return Blueprint(skeleton=encoder, part=part, names=names)


def _drawn(skeleton: Any, part: PartFiles, *tables: ModuleNames) -> Blueprint:
    """With the model's own names first (where the layout may have them), then those of each table."""
    own = list(skeleton.state_dict())
    others = [parameter_names(own, table) for table in tables]
    first = [] if part.layout == "ldm" else [{key: key for key in own}]
    names = {key: tuple(part.prefix + known[key] for known in (*first, *others) if key in known) for key in own}
    return Blueprint(skeleton=skeleton, part=part, names=names)
