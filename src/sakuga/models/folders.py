"""Folders as diffusers and transformers write them: a part's class, its config, the files with its weights.

Classes are chosen from a closed table; nothing that a config names is ever imported. Shards are found by their index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sakuga.errors import FileProblem, UnknownFile, UnreadableFile, nearest_name
from sakuga.models.bounds import check_bounds
from sakuga.models.signatures import Role

KINDS: Mapping[str, Role] = {
    "UNet2DConditionModel": "unet",
    "AutoencoderKL": "vae",
    "AutoencoderDC": "vae",
    "AutoencoderTiny": "vae",
    "ControlNetModel": "control",
    "MotionAdapter": "motion",
    "CLIPTextModel": "text_encoder",
    # Recognised so that a refusal can name them.
    "FluxTransformer2DModel": "unet",
    "SD3Transformer2DModel": "unet",
}
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = ("", ".fp16", ".bf16", ".non_ema", ".ema")
SUFFIXES = (".safetensors", ".bin")
CONFIG_CAP_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class PartFolder:
    """One part of a model in a folder: the class that its config names, the config, and the role of that class."""

    path: Path
    kind: str
    role: Role
    config: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> PartFolder:
        """Read ``config.json``. Raises FileProblem if there is none or its numbers are no model's, UnknownFile if its
        class is none of ours.
        """
        if not (path / "config.json").is_file():
            raise FileProblem(
                "a folder that holds no model",
                given=str(path),
                expected="config.json beside the weights, or the folders unet, vae, text_encoder of a whole model",
                do="name the folder of the part itself, or a file",
            )
        config = read_config(path / "config.json")
        named = config.get("architectures")
        kind = str(config.get("_class_name") or (named[0] if isinstance(named, list) and named else "nothing"))
        if kind not in KINDS:
            raise UnknownFile(
                f"{path.name} is a folder with a kind of model that is not known here",
                given=f"{kind}, from its config.json",
                expected=", ".join(KINDS),
                nearest=nearest_name(kind, KINDS),
                do="choose another folder",
            )
        check_bounds(config, f"{path.name}/config.json")
        return cls(path=path, kind=kind, role=KINDS[kind], config=config)

    def weight_files(self) -> tuple[Path, ...]:
        """The files with the weights: one, or all shards of an index; safetensors before pickles, plain before fp16.

        Raises FileProblem if there are none.
        """
        names = [f"{stem}{variant}{suffix}" for suffix in SUFFIXES for variant in VARIANTS for stem in STEMS]
        for name in names:
            if (self.path / name).is_file():
                return (self.path / name,)
        indexes = sorted(self.path.glob("*.index*.json"), key=lambda path: (".bin." in path.name, path.name))
        if indexes:
            return _shards(indexes[0])
        present = sorted(p.name for p in self.path.iterdir() if p.is_file())
        raise FileProblem(
            "a folder without weights",
            given=f"{self.path} with {', '.join(present)}",
            expected=f"one of {', '.join(names[:2])} …",
            do="fetch the missing file; nothing is downloaded by itself",
        )


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a whole model as diffusers writes it."""
    return os.path.isfile(folder / "unet" / "config.json")


def read_config(path: Path) -> dict[str, Any]:
    """A small JSON file with one object. Raises UnreadableFile."""
    try:
        if path.stat().st_size > CONFIG_CAP_BYTES:
            raise ValueError(f"more than {CONFIG_CAP_BYTES} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (ValueError, OSError, RecursionError) as error:
        raise UnreadableFile(
            f"{path.name} cannot be read",
            given=f"{path}: {error}",
            expected="JSON with one object",
            do="fetch it again",
        ) from None
    return config


def _shards(index: Path) -> tuple[Path, ...]:
    names = read_config(index).get("weight_map")
    if not isinstance(names, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in names.values()
    ):
        raise UnreadableFile(
            f"{index.name} is not an index of shards",
            given=str(index),
            expected="weight_map: name of tensor → file beside",
        )
    paths = tuple(index.parent / name for name in dict.fromkeys(names.values()))
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileProblem(
            "parts of a model are missing",
            given=f"{index.name} names {', '.join(missing)}",
            do="fetch the missing files",
        )
    return paths
