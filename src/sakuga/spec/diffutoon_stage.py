"""One old config on its way to a Stage: every field of it, the key that each comes from, and what became of each key.

What can only be known by looking at files comes in as ``Found``. Refuses to look itself, and to drop a key in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sakuga.spec import diffutoon_keys as table
from sakuga.spec.diffutoon import Old
from sakuga.spec.diffutoon_found import Found, name_of, same_frames
from sakuga.spec.fields import Place
from sakuga.spec.job import Job

MOST_TOGETHER: int = Job.model_fields["span"].default  # frames of one span: as many can have the noise of 1.x
BASES = ("checkpoint", "bundle")
NOTHING = {  # keys of which an empty value says something
    "models.textual_inversion_folder",
    "pipeline.pipeline_inputs.smoother_progress_ids",
    "pipeline.pipeline_inputs.input_frames",
    "pipeline.pipeline_inputs.controlnet_frames",
}
INPUT_FRAMES = {
    "video_file": "source",
    "image_folder": "source",
    "start_frame_id": "frames",
    "end_frame_id": "frames",
    "width": "size, crop",
    "height": "size, crop",
}


@dataclass
class OldStage:
    """One config on its way to a stage."""

    old: Old
    found: Found
    number: int
    count: int
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Place, str] = field(default_factory=dict)

    def build(self) -> None:
        """All of the stage's fields. Problems go into ``old.errors``."""
        inputs = self.old.inputs
        self.data |= {
            "prompt": inputs["prompt"],
            "negative_prompt": inputs["negative_prompt"],
            "prompt_style": "plain",
            "sampler": "ddim",
            "steps": inputs["num_inference_steps"],
            "guidance": float(inputs["cfg_scale"]),
            "strength": float(inputs["denoising_strength"]),
            "clip_skip": inputs["clip_skip"],
            "window": inputs["animatediff_batch_size"],
            "stride": inputs["animatediff_stride"],
        }
        fields = dict(zip(("steps", "guidance", "strength", "clip_skip", "window", "stride"), (
            "num_inference_steps", "cfg_scale", "denoising_strength", "clip_skip", "animatediff_batch_size",
            "animatediff_stride"), strict=True))  # fmt: skip
        for name, key in fields.items() | {("prompt", "prompt"), ("negative_prompt", "negative_prompt")}:
            self.places[("stages", self.number, name)] = f"{self.old.prefix}pipeline.pipeline_inputs.{key}"
        self.places[("stages", self.number)] = f"{self.old.prefix}pipeline.pipeline_inputs"
        self.base = ""
        self._models()
        self._adapters()
        self._controls()
        self._embeddings()
        self._together()
        self._smoothers()

    def told_keys(self) -> list[dict[str, str]]:
        """Every value that was given, and what became of it."""
        told = []
        for path, value in self.old.given.items():
            nothing = value is None or value == []
            became = "nothing is given" if nothing and path not in NOTHING else self.old.became.get(path, "used")
            text = "null" if value is None else str(value)
            became = became.replace("stages.N", f"stages.{self.number}")
            told.append({"key": self.old.prefix + path, "value": text[:200], "became": became})
        return told

    def _models(self) -> None:
        """Checkpoint, motion module, VAE; the rest of model_list is for ControlNets and adapters."""
        old, roles = self.old, self.found.roles
        path, by_role = "models.model_list", dict[str, list[tuple[int, str]]]()
        for number, entry in enumerate(old.models["model_list"]):
            if entry in roles:
                role = "base" if roles[entry] in BASES else roles[entry]
                by_role.setdefault(role, []).append((number, entry))
        bases, motions, vaes = (by_role.get(role, []) for role in ("base", "motion", "vae"))
        wanted = "exactly one checkpoint: a .safetensors or .ckpt file with UNet, VAE and text encoder, or a folder"
        if len(bases) != 1 and len(roles) == len(set(old.models["model_list"])):
            given = ", ".join(entry for _, entry in bases) or "none among " + ", ".join(roles)
            do = "keep one of them; 1.x took the first" if bases else "add one"
            old.fail(path, "a job has one checkpoint", given=given, expected=wanted, do=do)
        if len(motions) > 1:
            given = ", ".join(entry for _, entry in motions)
            old.fail(path, "a job has at most one motion module", given=given, expected="one", do="keep one of them")
        for role, became in (("base", "base"), ("motion", "stages.N.motion"), ("vae", "stages.N.vae")):
            for number, _ in by_role.get(role, []):
                old.became[f"{path}.{number}"] = became
        self.base = self.found.files[bases[0][1]] if bases else ""
        self.data["motion"] = self.found.files[motions[0][1]] if motions else "none"
        if vaes:
            self.data["vae"] = self.found.files[vaes[0][1]]
        self.places[("stages", self.number, "motion")] = f"{old.prefix}{path}.{motions[0][0] if motions else 0}"
        units = {unit["model_path"] for unit in old.models["controlnet_units"]}
        for number, entry in by_role.get("control", []):
            used = entry in units
            old.became[f"{path}.{number}"] = "stages.N.controls: file" if used else "not used"
            if not used:
                old.note(f"{path}.{number}", "a ControlNet that no unit names, so it has no effect, as in 1.x")
        if old.inputs["animatediff_batch_size"] == 1 and motions:
            window = "pipeline.pipeline_inputs.animatediff_batch_size"
            old.note(window, "with one frame in a window the motion module has nothing to compare")
        if not motions and not old.inputs["cross_frame_attention"]:
            for name in ("animatediff_batch_size", "animatediff_stride"):
                why = "without effect: there is no motion module, and no cross-frame attention"
                old.became[f"pipeline.pipeline_inputs.{name}"] = why
        others = {"unet", "text_encoder", "annotator", "interpolator"} & by_role.keys()
        for number, _ in (item for role in others for item in by_role[role]):
            old.became[f"{path}.{number}"] = "not used"
            old.note(f"{path}.{number}", f"not used: {roles[old.models['model_list'][number]]} is no model of a config")

    def _adapters(self) -> None:
        """lora_units, and LoRA files of model_list with lora_alphas as they were paired before July 2024."""
        old, files, alphas = self.old, self.found.files, self.old.models["lora_alphas"]
        uses: list[dict[str, Any]] = []
        path = f"{old.prefix}models."
        for number, unit in enumerate(old.models["lora_units"]):
            self.places[("stages", self.number, "adapters", len(uses))] = f"{path}lora_units.{number}.model_path"
            self.places[("stages", self.number, "adapters", len(uses), "weight")] = f"{path}lora_units.{number}.scale"
            uses.append({"file": files[unit["model_path"]], "weight": float(unit["scale"])})
        listed = [(n, e) for n, e in enumerate(old.models["model_list"]) if self.found.roles.get(e) == "adapter"]
        for order, (number, entry) in enumerate(listed):
            weight = float(alphas[order]) if order < len(alphas) else 1.0
            self.places[("stages", self.number, "adapters", len(uses))] = f"{path}model_list.{number}"
            uses.append({"file": files[entry], "weight": weight})
            old.became[f"models.model_list.{number}"] = "stages.N.adapters"
            old.note(
                f"models.model_list.{number}",
                f"a LoRA in model_list, read as it was before July 2024: weight {weight:g}"
                + (f" from lora_alphas.{order}" if order < len(alphas) else ", because lora_alphas has none for it")
                + "; models.lora_units says the same more plainly",
            )
        for order in range(len(alphas)):
            used = order < len(listed)
            told = "stages.N.adapters: weight" if used else "not used: model_list has no LoRA for it"
            old.became[f"models.lora_alphas.{order}"] = told
        if len(alphas) > len(listed):
            over = f"{len(alphas) - len(listed)} of {len(alphas)} not used: model_list has no LoRA for it"
            old.note("models.lora_alphas", f"{over}; 1.x never reads them. Adapters go into models.lora_units")
        self.data["adapters"] = uses

    def _controls(self) -> None:
        """Each unit with its source; in the second stage of a pair the first source is what the first stage drew."""
        old, uses = self.old, []
        pairs = zip(old.models["controlnet_units"], old.data["controlnet_frames"], strict=True)
        if old.drawn is not None:
            old.note(
                f"data.controlnet_frames.{old.drawn}",
                "it is what the first stage draws, as the two-stage script has it",
            )
        for number, (unit, source) in enumerate(pairs):
            use: dict[str, Any] = {
                "kind": unit["processor_id"],
                "scale": float(unit["scale"]),
                "file": self.found.files.get(unit["model_path"], unit["model_path"]),
            }
            place = ("stages", self.number, "controls", number)
            self.places[place] = f"{old.prefix}models.controlnet_units.{number}.model_path"
            self.places[(*place, "kind")] = f"{old.prefix}models.controlnet_units.{number}.processor_id"
            self.places[(*place, "source")] = f"{old.prefix}data.controlnet_frames.{number}"
            told = f"stages.N.controls.{number}: source"
            if number == old.drawn:
                told = f"stages.N.controls.{number}: source: stage (the video that the first stage draws)"
            elif same_frames(source, old.data["input_frames"]):
                if self.number:
                    use["source"] = "clip"
            else:
                use["source"] = self.path(source)
                if (frames := self.range(source)) is not None:
                    use["frames"] = frames
            for name in source:
                old.became[f"data.controlnet_frames.{number}.{name}"] = told
            uses.append(use)
        self.data["controls"] = uses
        for name, told in INPUT_FRAMES.items():
            old.became.setdefault(f"data.input_frames.{name}", told)

    def _embeddings(self) -> None:
        """The files of the folder that a prompt calls by their stems."""
        old, text = self.old, f"{self.old.inputs['prompt']}\n{self.old.inputs['negative_prompt']}"
        called = [file for file in self.found.embeddings if _stands_in(Path(file).stem, text)]
        self.data["embeddings"] = called
        path = "models.textual_inversion_folder"
        for number in range(len(called)):
            self.places[("stages", self.number, "embeddings", number)] = old.prefix + path
        names = ", ".join(Path(file).stem for file in called)
        others = len(self.found.embeddings) - len(called)
        told = f"stages.N.embeddings: {names}" if called else "nothing in it is called by a prompt"
        if path in old.given:
            unset = old.models["textual_inversion_folder"] is None
            old.became[path] = "no embeddings" if unset else told + (f"; {others} others not read" if others else "")

    def _together(self) -> None:
        """Noise, attention across frames, tiles: what depends on the number of frames or of one another."""
        old, inputs, path = self.old, self.old.inputs, "pipeline.pipeline_inputs"
        count, moving = self.frame_count, self.data["motion"] != "none"
        self.data["noise"] = "diffsynth1"
        if count > MOST_TOGETHER:
            self.data["noise"] = "frame" if moving else "shared"
            how = "each frame its own noise" if moving else "one noise for all frames"
            old.note(
                "pipeline.seed",
                f"{count} frames are more than {MOST_TOGETHER}, which is one span: {how}, seeded, and not the "
                f"numbers of 1.x. --noise diffsynth1 --span {count} gives those, with all frames in memory at once",
            )
        if inputs["cross_frame_attention"]:
            self.data |= {"cross_frame": True, "frames_at_once": inputs["unet_batch_size"]}
        old.became[f"{path}.cross_frame_attention"] = "stages.N.cross_frame"
        old.became[f"{path}.unet_batch_size"] = (
            "stages.N.frames_at_once" if inputs["cross_frame_attention"] else "not needed: it changes the speed alone"
        )
        if inputs["tiled"]:
            self.data |= {"tile": inputs["tile_size"], "tile_stride": inputs["tile_stride"]}
        for key, name in (("tiled", "tile"), ("tile_size", "tile"), ("tile_stride", "tile_stride")):
            told = f"stages.N.{name}" if inputs["tiled"] else "without effect: tiled is false"
            old.became[f"{path}.{key}"] = "no tiles" if key == "tiled" and not inputs["tiled"] else told
        if old.models["device"] != self.found.device:
            here = "what this machine has" if self.found.device == "auto" else self.found.device
            old.became["models.device"] = f"device: {self.found.device} ({here})"
        else:
            old.became["models.device"] = "device"

    @property
    def frame_count(self) -> int:
        """Frames that the job has."""
        source = self.old.data["input_frames"]
        start, end = source["start_frame_id"] or 0, source["end_frame_id"]
        return (self.length(source) if end is None else int(end)) - start

    def _smoothers(self) -> None:
        """smoother_configs in our names, and when they run: the step count stands for the finished frames, as -1."""
        old, inputs, uses = self.old, self.old.inputs, []
        path, ids = "pipeline.pipeline_inputs.smoother_progress_ids", inputs["smoother_progress_ids"]
        steps = inputs["num_inference_steps"]
        runs = sorted({-1 if step == steps else step for step in ids if step <= steps})
        for number, smoother in enumerate(old.values["smoother_configs"]):
            kind = smoother["processor_type"].lower()
            options = {table.OPTIONS[key]: value for key, value in smoother["config"].items() if key in table.OPTIONS}
            uses.append({"kind": kind, "options": options})
            told = f"stages.N.smoothers.{number}" if runs else "not used: smoother_progress_ids is empty"
            old.became[f"smoother_configs.{number}.processor_type"] = told
            for key in smoother["config"]:
                name = f"smoother_configs.{number}.config.{key}"
                if key in table.OPTIONS:
                    old.became[name] = f"{told}: {table.OPTIONS[key]}" if runs else told
            self.places[("stages", self.number, "smoothers", number)] = f"{old.prefix}smoother_configs.{number}"
        if uses and runs:
            self.data |= {"smoothers": uses, "smooth_at": runs}
        for number in range(len(ids)):
            old.became[f"{path}.{number}"] = "stages.N.smooth_at" if uses else "without effect: there is no smoother"
        if not ids:
            old.became[path] = "no smoother runs"

    def path(self, source: Mapping[str, Any]) -> str:
        """Where a source lies."""
        return self.found.sources[str(name_of(source))][0]

    def length(self, source: Mapping[str, Any]) -> int:
        """Frames of the whole file."""
        return self.found.sources[str(name_of(source))][1]

    def range(self, source: Mapping[str, Any]) -> tuple[int, int | None] | None:
        """The chosen frames as a Job writes them."""
        start, end = source["start_frame_id"], source["end_frame_id"]
        return None if start is None and end is None else (start or 0, end)


def _stands_in(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
