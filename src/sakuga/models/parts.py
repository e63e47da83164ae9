"""Parts: a UNet, VAE, text encoder, ControlNet or motion module in files of whatever layout, first drawn, then filled.

A part is a set of files with their names below a prefix, and a config from a folder or from the shapes. A Blueprint is
its tree of modules together with the place of every weight; headers are enough for it, and it tells what is missing.
The skeleton that is filled is drawn when it is asked for, because the libraries that draw it take seconds to come.
diffusers and transformers never see a path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from sakuga.models.detect import recognise_keys
from sakuga.models.family import Family
from sakuga.models.fill import Place, fill, locate
from sakuga.models.folders import PartFolder
from sakuga.models.keys import Keys
from sakuga.models.text_config import text_config
from sakuga.models.trees import text_tree, unet_tree, vae_tree, with_growth
from sakuga.models.unet_config import control_config, unet_config, unet_look
from sakuga.models.vae_config import vae_config
from sakuga.tensors.file import TensorFile
from sakuga.tensors.seat import Shape, Tree
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
    """What a part is built like. ``given``: its config as it is written; ``known``: its tree where the config alone
    tells it; ``draw`` makes the skeleton of the real class; ``naming``: from the names of all parameters to those that
    the weight of each may have in the files, the likeliest first.
    """

    part: PartFiles
    given: Mapping[str, Any]
    known: Tree | None
    draw: Callable[[], Any]
    naming: Callable[[list[str]], Mapping[str, tuple[str, ...]]]

    @cached_property
    def skeleton(self) -> Any:
        """The model without memory for weights. Raises FileProblem where its class refuses the config."""
        return self.draw()

    @property
    def config(self) -> Mapping[str, Any]:
        """Its config, with all that the class fills in unless the tree is known without it."""
        if self.known is not None:
            return self.given
        full = self.skeleton.config
        return full if isinstance(full, Mapping) else full.to_dict()

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of every parameter."""
        if self.known is None:
            return _shapes(self.skeleton)
        return {f"{module}.{name}": shape for module, own in self.known.items() for name, shape in own.items()}

    @property
    def tree(self) -> Tree:
        """Its modules that have parameters, with the shapes, and with the bias that a layer has not but could have."""
        tree: dict[str, dict[str, Shape]] = {}
        for name, shape in self.shapes.items():
            module, _, parameter = name.rpartition(".")
            tree.setdefault(module, {})[parameter] = shape
        return with_growth(tree)

    def places(self) -> tuple[Place, ...]:
        """Where every weight lies. Raises FileProblem with the list of what is missing or of another size."""
        return self._located(self.shapes)

    def filled(self, dtype: torch.dtype) -> Built:
        """The model with its weights, converted to ``dtype``, on the CPU."""
        places = self._located(_shapes(self.skeleton))
        fill(self.skeleton, places, dtype)
        hollow = [name for name, buffer in self.skeleton.named_buffers() if buffer.is_meta]
        assert not hollow, f"buffers without values: {hollow}"
        return Built(module=self.skeleton, used=frozenset(place.name for place in places))

    def _located(self, shapes: Mapping[str, Shape]) -> tuple[Place, ...]:
        return locate(shapes, self.part.files, self.naming(list(shapes)))


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model that was filled, and the names in its files that it took."""

    module: Any
    used: frozenset[str]


def unet_blueprint(part: PartFiles, family: Family) -> Blueprint:
    """Of a ``UNet2DConditionModel``."""
    config = part.config or unet_config(unet_look(part.keys, part.layout), heads=family.heads)

    def draw() -> Any:
        from sakuga.models.skeletons import unet_skeleton

        return unet_skeleton(config)

    naming = partial(_named, part, (ldm_unet_names,))
    return Blueprint(part=part, given=config, known=unet_tree(config), draw=draw, naming=naming)


def control_blueprint(part: PartFiles, family: Family) -> Blueprint:
    """Of a ``ControlNetModel``."""
    config = part.config or control_config(unet_look(part.keys, part.layout), heads=family.heads)

    def draw() -> Any:
        from sakuga.models.skeletons import control_skeleton

        return control_skeleton(config)

    naming = partial(_named, part, (ldm_control_names,))
    return Blueprint(part=part, given=config, known=None, draw=draw, naming=naming)


def vae_blueprint(part: PartFiles, family: Family) -> Blueprint:
    """Of an ``AutoencoderKL``, or of the class that a folder's config names."""
    config = part.config or vae_config(part.keys, part.layout, scaling_factor=family.scaling_factor)
    kind = part.kind or "AutoencoderKL"

    def draw() -> Any:
        from sakuga.models.skeletons import vae_skeleton

        return vae_skeleton(kind, config)

    naming = partial(_named, part, (ldm_vae_names, old_vae_names))
    return Blueprint(part=part, given=config, known=vae_tree(kind, config), draw=draw, naming=naming)


def text_blueprint(part: PartFiles) -> Blueprint:
    """Of a ``CLIPTextModel``; the level ``text_model`` may be there or not, in the file and in the class."""
    plain = part.keys.under(LEVEL) if part.keys.find(LEVEL.replace(".", r"\.")) else part.keys
    config = part.config or text_config(plain)

    def draw() -> Any:
        from sakuga.models.skeletons import text_skeleton

        return text_skeleton(config)

    def naming(own: list[str]) -> dict[str, tuple[str, ...]]:
        bare = {key: key.removeprefix(LEVEL) for key in own}
        return {key: (part.prefix + LEVEL + name, part.prefix + name) for key, name in bare.items()}

    return Blueprint(part=part, given=config, known=text_tree(config), draw=draw, naming=naming)


def _named(part: PartFiles, tables: tuple[ModuleNames, ...], own: list[str]) -> dict[str, tuple[str, ...]]:
    """The model's own names first (where the layout may have them), then those of each table."""
    others = [parameter_names(own, table) for table in tables]
    first = [] if part.layout == "ldm" else [{key: key for key in own}]
    return {key: tuple(part.prefix + known[key] for known in (*first, *others) if key in known) for key in own}


def _shapes(skeleton: Any) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
