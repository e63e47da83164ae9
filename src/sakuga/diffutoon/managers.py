"""ModelManager: which files a pipeline shall use, and how strongly its LoRAs. Names files; loads nothing by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sakuga.errors import JobError, nearest_name

if TYPE_CHECKING:
    import torch

PARTS = {
    "checkpoint": ("sd_text_encoder", "sd_unet", "sd_vae_decoder", "sd_vae_encoder"),
    "bundle": ("sd_text_encoder", "sd_unet", "sd_vae_decoder", "sd_vae_encoder"),
    "control": ("sd_controlnet",),
    "motion": ("sd_motion_modules",),
    "vae": ("sd_vae_decoder", "sd_vae_encoder"),
}  # what 1.x called the models in a file of a role


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """What ``fetch_model`` gives in the place of a model in memory: its name in 1.x, and the file that holds it."""

    name: str
    path: str


class ModelManager:
    """Collects the files of a pipeline. ``torch_dtype`` None is left to the program; a device that is not there, or
    float16 on a CPU, is computed on and in what there is, which the Report says.
    """

    def __init__(self, torch_dtype: torch.dtype | None = None, device: str = "cuda") -> None:
        self.torch_dtype, self.device = torch_dtype, device
        self.model_list: list[str] = []
        self._loras: list[tuple[str, float]] = []

    def load_model(self, file_path: str, model_names: object = None) -> None:
        """Add a checkpoint, motion module, ControlNet or VAE. What it is, its header tells, not ``model_names``."""
        if str(file_path) not in self.model_list:
            self.model_list.append(str(file_path))

    def load_models(self, file_path_list: str | Sequence[str], model_names: object = None) -> None:
        """Add several, in their order."""
        for file_path in _listed(file_path_list):
            self.load_model(file_path)

    def load_lora(self, file_path: str | Sequence[str] = "", lora_alpha: float = 1.0) -> None:
        """Add an adapter, or several, at a strength. It is applied for each render and taken back exactly.

        The file's own alpha counts, which 1.x left out: there each change was rank / alpha times as strong.
        """
        self._loras += [(str(path), lora_alpha) for path in _listed(file_path)]

    def unload_lora(self, file_path: str) -> None:
        """Take an adapter out again. Raises JobError for one that is not there."""
        self._known(file_path)
        self._loras = [(path, scale) for path, scale in self._loras if path != str(file_path)]

    def set_lora_scale(self, file_path: str, scale: float) -> None:
        """Give an adapter another strength. Raises JobError for one that is not there."""
        first = self._known(file_path)
        self.unload_lora(file_path)
        self._loras.insert(first, (str(file_path), scale))

    @property
    def loras(self) -> tuple[tuple[str, float], ...]:
        """The adapters in their order: (path, strength). One that was loaded twice adds up."""
        return tuple(self._loras)

    def fetch_model(
        self, model_name: str, file_path: str | None = None, require_model_path: bool = False
    ) -> ModelFile | tuple[ModelFile, str] | None:
        """The first file that holds a model which 1.x calls ``model_name``, as "sd_unet"; None if there is none."""
        from sakuga.models.detect import recognise
        from sakuga.models.library import Library

        library = Library.usual()
        for path in self.model_list:
            if file_path not in (None, path):
                continue
            if model_name in PARTS.get(recognise(library.find_any(path)).role, ()):
                found = ModelFile(name=model_name, path=path)
                return (found, path) if require_model_path else found
        return None

    def to(self, device: str) -> None:
        """Compute on another device."""
        self.device = str(device)

    def _known(self, file_path: str) -> int:
        paths = [path for path, _ in self._loras]
        if str(file_path) not in paths:
            raise JobError(
                "no such LoRA is loaded",
                given=str(file_path),
                expected=", ".join(paths) or "a file that load_lora was given",
                nearest=nearest_name(str(file_path), paths),
            )
        return paths.index(str(file_path))


def _listed(given: object) -> list[str]:
    """One path, or several, as a list. Raises JobError for what is neither."""
    paths = [given] if isinstance(given, str | Path) else given
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str | Path) for path in paths):
        raise JobError(
            "this is no path of a file, and no list of them",
            given=repr(given)[:80],
            expected='"models/lora/style.safetensors", or a list of such',
            do="give the path",
        )
    return [str(path) for path in paths]
