"""Old configs for tests: a whole one on the starter, changed at single keys by their paths."""

from __future__ import annotations

import json
from typing import Any

SOURCE = {
    "video_file": "demo", "image_folder": None, "height": 48, "width": 64, "start_frame_id": 0, "end_frame_id": 2,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "models": {
        "model_list": ["starter", "starter_motion", "lineart", "tile"],
        "textual_inversion_folder": None,
        "device": "cuda",
        "lora_alphas": [],
        "controlnet_units": [
            {"processor_id": "lineart", "model_path": "lineart", "scale": 0.5},
            {"processor_id": "tile", "model_path": "tile", "scale": 0.5},
        ],
    },
    "data": {
        "input_frames": SOURCE,
        "controlnet_frames": [SOURCE, SOURCE],
        "output_folder": "output",
        "fps": 12,
    },
    "pipeline": {
        "seed": 3,
        "pipeline_inputs": {
            "prompt": "flat colours",
            "negative_prompt": "",
            "cfg_scale": 2.0,
            "clip_skip": 2,
            "denoising_strength": 1.0,
            "num_inference_steps": 1,
            "animatediff_batch_size": 4,
            "animatediff_stride": 2,
            "unet_batch_size": 1,
            "controlnet_batch_size": 1,
            "cross_frame_attention": False,
            "input_frames": [],
            "num_frames": 30,
            "width": 1536,
            "height": 1536,
            "controlnet_frames": [],
        },
    },
}
GONE = object()


def old(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A fresh config with values put at paths (``data.input_frames.width``); GONE takes a key away."""
    config: dict[str, Any] = json.loads(json.dumps(CONFIG))
    for path, value in (changes or {}).items():
        *way, last = path.split(".")
        holder: Any = config
        for part in way:
            holder = holder[int(part) if isinstance(holder, list) else part]
        if value is GONE:
            del holder[int(last) if isinstance(holder, list) else last]
        elif isinstance(holder, list):
            number = int(last)
            holder[number : number + 1] = [value]
        else:
            holder[last] = value
    return config


def pair(first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> dict[str, Any]:
    """The two configs of the two-stage script."""
    branch = {
        "models.model_list": ["starter", "lineart", "tile"],
        "pipeline.pipeline_inputs.denoising_strength": 0.9,
        "pipeline.pipeline_inputs.cross_frame_attention": True,
        "pipeline.pipeline_inputs.unet_batch_size": 8,
        "data.output_folder": "output/color_video",
        **(first or {}),
    }
    return {"config_stage_1": old(branch), "config_stage_2": old(second)}
