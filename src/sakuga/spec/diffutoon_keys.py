"""Every key of a Diffutoon config (DiffSynth 1.x), as data: what may stand there, its default, and what becomes of it.

The one table that the reading, the checks, the list in the Report and the guide's table follow. ``became`` is told with
every key that is given; where what becomes of a key depends on the rest, it is empty and the reading says it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "whole", "number", "truth", "texts", "wholes", "numbers", "table", "tables", "any"]
REQUIRED: Any = object()  # in the place of a default: the key has to be there
MULTIPLE = 64  # pixels; 1.x fails on every other size
LONGEST_WINDOW = 32  # frames: the positions of its motion modules
STRONGEST = 20.0


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key. ``none``: null may stand there; ``low`` … ``high`` is the range, ``words`` those that may stand."""

    name: str
    kind: Kind
    default: Any = REQUIRED
    none: bool = False
    low: float | None = None
    high: float | None = None
    words: tuple[str, ...] = ()
    became: str = ""

    @property
    def expected(self) -> str:
        """In words what a value has to be."""
        if self.words:
            return "one of " + ", ".join(self.words)
        told = _SPOKEN[self.kind]
        if self.low is not None and self.high is not None:
            told += f" from {self.low} to {self.high}"
        elif self.low is not None:
            told += f" from {self.low} on"
        return f"{told}, or null" if self.none else told


_SPOKEN: dict[Kind, str] = {
    "text": "text",
    "whole": "a whole number",
    "number": "a finite number",
    "truth": "true or false",
    "texts": "a list of texts",
    "wholes": "a list of whole numbers",
    "numbers": "a list of finite numbers",
    "table": "a table",
    "tables": "a list of tables",
    "any": "anything",
}
PROCESSORS = (
    "canny", "depth", "softedge", "lineart", "lineart_anime", "openpose", "normal", "tile", "none", "inpaint",
)  # fmt: skip
SMOOTHERS = ("FastBlend", "Contrast", "Sharpness", "RIFE")

TOP = (
    Key(name="models", kind="table"),
    Key(name="data", kind="table"),
    Key(name="pipeline", kind="table"),
    Key(name="smoother_configs", kind="tables", default=()),
)
MODELS = (
    Key(name="model_list", kind="texts"),
    Key(name="textual_inversion_folder", kind="text", default=None, none=True),
    Key(name="device", kind="text", default="cuda"),
    Key(name="lora_alphas", kind="numbers", default=(), low=-STRONGEST, high=STRONGEST),
    Key(name="controlnet_units", kind="tables", default=()),
    Key(name="lora_units", kind="tables", default=()),
)
UNIT = (
    Key(name="processor_id", kind="text", words=PROCESSORS, became="stages.N.controls: kind"),
    Key(name="model_path", kind="text", became="stages.N.controls: file"),
    Key(name="scale", kind="number", low=-STRONGEST, high=STRONGEST, became="stages.N.controls: scale"),
)
LORA_UNIT = (
    Key(name="model_path", kind="text", became="stages.N.adapters: file"),
    Key(name="scale", kind="number", default=1.0, low=-STRONGEST, high=STRONGEST, became="stages.N.adapters: weight"),
)
UNITS: dict[str, tuple[Key, ...]] = {"controlnet_units": UNIT, "lora_units": LORA_UNIT}
DATA = (
    Key(name="input_frames", kind="table", none=True),
    Key(name="controlnet_frames", kind="tables", default=()),
    Key(
        name="output_folder",
        kind="text",
        became="output (video.mp4 in it), pictures (frames/ in it); config.json and the report are put there too",
    ),
    Key(name="fps", kind="number", default=None, none=True, low=0.001, high=1000, became="fps"),
)
SOURCE = (
    Key(name="video_file", kind="text", default=None, none=True),
    Key(name="image_folder", kind="text", default=None, none=True),
    Key(name="height", kind="whole", default=None, none=True, low=16, high=4096),
    Key(name="width", kind="whole", default=None, none=True, low=16, high=4096),
    Key(name="start_frame_id", kind="whole", default=None, none=True, low=0, high=10**9),
    Key(name="end_frame_id", kind="whole", default=None, none=True, low=0, high=10**9),
)
PIPELINE = (
    Key(name="seed", kind="whole", default=0, low=0, high=2**63 - 1, became="seed"),
    Key(name="pipeline_inputs", kind="table"),
)
COUNTED = "not needed: counted from the source, as 1.x did too"
INPUTS = (
    Key(name="prompt", kind="text", became="stages.N.prompt, read as plain words (prompt_style: plain)"),
    Key(name="negative_prompt", kind="text", default="", became="stages.N.negative_prompt"),
    Key(name="cfg_scale", kind="number", default=7.5, low=0, high=100, became="stages.N.guidance"),
    Key(name="clip_skip", kind="whole", default=1, low=1, high=12, became="stages.N.clip_skip"),
    Key(name="denoising_strength", kind="number", default=1.0, low=0, high=1, became="stages.N.strength"),
    Key(name="num_inference_steps", kind="whole", default=20, low=1, high=1000, became="stages.N.steps"),
    Key(name="animatediff_batch_size", kind="whole", default=16, low=1, high=LONGEST_WINDOW, became="stages.N.window"),
    Key(name="animatediff_stride", kind="whole", default=8, low=1, high=LONGEST_WINDOW, became="stages.N.stride"),
    Key(name="unet_batch_size", kind="whole", default=1, low=1, high=1000),
    Key(
        name="controlnet_batch_size",
        kind="whole",
        default=1,
        low=1,
        high=1000,
        became="not needed: how many frames go through a ControlNet at once changes nothing but the speed",
    ),
    Key(name="cross_frame_attention", kind="truth", default=False),
    Key(name="smoother_progress_ids", kind="wholes", default=(), low=-1, high=1000),
    Key(name="tiled", kind="truth", default=False),
    Key(name="tile_size", kind="whole", default=64, low=8, high=4096),
    Key(name="tile_stride", kind="whole", default=32, low=1, high=4096),
    Key(name="num_frames", kind="any", default=None, became=COUNTED),
    Key(name="width", kind="any", default=None, became=COUNTED),
    Key(name="height", kind="any", default=None, became=COUNTED),
    Key(name="input_frames", kind="any", default=None, became="not needed: data.input_frames counts, as in 1.x"),
    Key(name="controlnet_frames", kind="any", default=None, became="not needed: data.controlnet_frames counts"),
    Key(name="ipadapter_images", kind="any", default=None),
    Key(name="ipadapter_scale", kind="any", default=None, became="not needed: there are no IP-Adapter pictures"),
    Key(name="progress_bar_cmd", kind="any", default=None, became="not needed: the program shows its own progress"),
    Key(name="progress_bar_st", kind="any", default=None, became="not needed: the program shows its own progress"),
)
MISPLACED = {
    "seed": "move it to pipeline.seed; 1.x refuses it here too",
    "smoother": "describe it in smoother_configs; 1.x refuses it here too",
}
SMOOTHER = (
    Key(name="processor_type", kind="text", words=SMOOTHERS),
    Key(name="config", kind="table", default={}),
)
SPEED_ONLY = "not needed: it changes nothing but the speed of CUDA code that is not used here"
FASTBLEND = (
    Key(name="inference_mode", kind="text", default="fast", words=("fast", "balanced", "accurate")),
    Key(name="window_size", kind="whole", default=60, low=0, high=1000),
    Key(name="minimum_patch_size", kind="whole", default=5, low=3, high=63),
    Key(name="num_iter", kind="whole", default=5, low=1, high=50),
    Key(name="guide_weight", kind="number", default=10.0, low=0, high=1e6),
    Key(name="initialize", kind="text", default="identity", words=("identity", "random")),
    Key(name="tracking_window_size", kind="whole", default=0, low=0, high=1000),
    Key(name="batch_size", kind="whole", default=8, low=1, high=10_000),
    Key(name="threads_per_block", kind="whole", default=8, low=1, high=1024, became=SPEED_ONLY),
    Key(name="gpu_id", kind="whole", default=0, low=0, high=1000, became="not needed: it runs where the job does"),
)
RATE = (Key(name="rate", kind="number", default=1.5, low=0, high=20),)
SMOOTHER_KEYS: dict[str, tuple[Key, ...]] = {"FastBlend": FASTBLEND, "Contrast": RATE, "Sharpness": RATE}
# The option of our own smoother that a key becomes, by its kind there.
OPTIONS = {
    "inference_mode": "mode",
    "window_size": "window",
    "batch_size": "batch",
    "minimum_patch_size": "patch",
    "num_iter": "iterations",
    "guide_weight": "guide_weight",
    "initialize": "initialize",
    "tracking_window_size": "tracking",
    "rate": "rate",
}
