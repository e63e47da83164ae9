"""SDVideoPipeline: what is drawn with which ControlNets and embeddings; called with frames, it gives frames back."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sakuga.diffutoon.clips import save_frames
from sakuga.diffutoon.managers import ModelManager
from sakuga.errors import JobError
from sakuga.report import Report
from sakuga.spec.diffutoon_keys import INPUTS

if TYPE_CHECKING:
    from PIL import Image

    from sakuga.diffutoon.clips import Picture

PASSED_OVER = ("vram_limit_level",)  # arguments of 1.x that had to do with a GPU's memory alone


@dataclass(frozen=True)
class ControlNetConfigUnit:
    """One ControlNet: what draws its pictures, its file in the model list, its strength."""

    processor_id: str
    model_path: str
    scale: float = 1.0
    skip_processor: bool = False


class Prompter:
    """Keeps the folder of textual inversions that prompts may call by name."""

    def __init__(self) -> None:
        self.folder: str | None = None

    def load_textual_inversions(self, folder: str | None) -> None:
        """Use the files of ``folder``. None is no folder. Raises JobError for a second one."""
        if self.folder not in (None, folder) and folder is not None:
            raise JobError("one folder of textual inversions", given=f"{self.folder} and {folder}",
                           do="put all files into one folder")  # fmt: skip
        self.folder = folder if folder is not None else self.folder


class SDVideoPipeline:
    """A pipeline as 1.x builds it: models from a manager, ControlNets from units."""

    def __init__(self, manager: ModelManager, units: Sequence[ControlNetConfigUnit] = ()) -> None:
        self.manager, self.units = manager, tuple(units)
        self.prompter = Prompter()
        self.report: Report | None = None

    @classmethod
    def from_model_manager(
        cls, model_manager: ModelManager, controlnet_config_units: Sequence[ControlNetConfigUnit] = ()
    ) -> SDVideoPipeline:
        """The pipeline of these models and ControlNets."""
        return cls(model_manager, controlnet_config_units)

    def models(self) -> dict[str, Any]:
        """The ``models`` of a config that says the same."""
        units = [{"processor_id": unit.processor_id, "model_path": unit.model_path, "scale": unit.scale}
                 for unit in self.units]  # fmt: skip
        return {
            "model_list": list(self.manager.model_list),
            "textual_inversion_folder": self.prompter.folder,
            "device": self.manager.device,
            "controlnet_units": units,
            "lora_units": [{"model_path": path, "scale": scale} for path, scale in self.manager.loras],
        }

    def to(self, device: str) -> None:
        """Compute on another device."""
        self.manager.to(device)

    def __call__(
        self,
        prompt: str,
        *,
        input_frames: Sequence[Picture] | None = None,
        controlnet_frames: Sequence[Any] | None = None,
        seed: int | None = None,
        **inputs: Any,
    ) -> list[Image.Image]:
        """Draw frames: PIL pictures in (``input_frames``, or ``controlnet_frames`` alone) and out, as many.

        ``controlnet_frames``: the frames of all units, or a list of them for each. ``seed`` None takes what
        ``torch.manual_seed`` was given. The other arguments are those of ``pipeline_inputs``. The Report is kept in
        ``report``. Raises what is wrong, all together.
        """
        import torch
        from PIL import Image

        from sakuga.diffutoon.runners import rendered

        per_unit = _per_unit(controlnet_frames, input_frames, len(self.units))
        frames = input_frames if input_frames is not None else next(iter(per_unit), None)
        if frames is None:
            raise JobError("there are no frames to draw from", expected="input_frames or controlnet_frames")
        known = {key.name for key in INPUTS}
        inputs = {name: value for name, value in inputs.items() if name not in PASSED_OVER or name in known}
        with tempfile.TemporaryDirectory() as place:
            config = {
                "models": self.models(),
                "data": {
                    "input_frames": _saved(frames, Path(place) / "input"),
                    "controlnet_frames": [
                        _saved(one, Path(place) / f"unit {number}") for number, one in enumerate(per_unit)
                    ],
                    "output_folder": str(Path(place) / "output"),
                },
                "pipeline": {
                    "seed": torch.initial_seed() % 2**63 if seed is None else seed,
                    "pipeline_inputs": {"prompt": prompt, **inputs},
                },
            }
            self.report = rendered(config, self.manager.torch_dtype)
            drawn = sorted((Path(place) / "output" / "frames").iterdir(), key=lambda path: int(path.stem))
            return [Image.open(path).convert("RGB") for path in drawn]


def _per_unit(given: Sequence[Any] | None, frames: Sequence[Any] | None, count: int) -> list[Sequence[Any]]:
    """The frames of each unit."""
    if given is None or len(given) == 0:
        return [frames] * count if frames is not None else []
    nested = isinstance(given[0], list | tuple)
    return list(given) if nested else [given] * count


def _saved(frames: Sequence[Picture], folder: Path) -> dict[str, Any]:
    """A source of a config with these frames."""
    save_frames(frames, str(folder))
    nothing = dict.fromkeys(("video_file", "height", "width", "start_frame_id", "end_frame_id"))
    return {**nothing, "image_folder": str(folder)}
