"""What the keys of an old config say of one another: the rules that DiffSynth 1.x broke late, or in silence.

Each finding is about a key, with what to set. Rules that need a look at a file are in ``render/old_files.py``. Refuses
to look at kinds and ranges of single values; the table has done that, and a number that failed there is None here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sakuga.errors import nearest_name
from sakuga.spec.diffutoon_keys import MULTIPLE

if TYPE_CHECKING:
    from sakuga.spec.diffutoon import Old

EMPHASIS = re.compile(r"\([^()]*:\s*[\d.]+\s*\)")
TAG = re.compile(r"<(lora|lyco|hypernet):[^<>]*>")


def check_rules(old: Old) -> None:
    """All of them, into ``old.errors`` and ``old.notes``."""
    _units(old)
    _sources(old)
    _prompts(old)
    _numbers(old)
    _smoothers(old)


def glued(second: Old, first: Old) -> int | None:
    """Which source of a pair's second config is what the first one draws: the one that names its video, else the first,
    as the public two-stage script has it. None where there is no source.
    """
    sources, folder = second.data.get("controlnet_frames") or [], first.data.get("output_folder")
    if not sources or folder is None:
        return None
    video = Path(folder) / "video.mp4"
    files = [source["video_file"] if source else None for source in sources]
    return next((number for number, file in enumerate(files) if file and Path(file) == video), 0)


def _units(old: Old) -> None:
    models, sources = old.models, old.data.get("controlnet_frames") or []
    units, files = models.get("controlnet_units") or [], models.get("model_list") or []
    if not files and not old.failed("models.model_list"):
        old.fail("models.model_list", "there is no model", expected="a checkpoint, and what goes with it")
    for number, unit in enumerate(units):
        path = unit.get("model_path")
        if path is not None and path not in files:
            old.fail(
                f"models.controlnet_units.{number}.model_path",
                "a ControlNet is not in model_list",
                given=path,
                expected="the very same text as one entry of models.model_list",
                nearest=nearest_name(path, [file for file in files if isinstance(file, str)]),
                do="put it into models.model_list",
            )
    if len(units) != len(sources):
        fewer = "units without pictures were dropped in silence by 1.x" if len(sources) < len(units) else None
        old.fail(
            "data.controlnet_frames",
            "each ControlNet unit needs its source, in the same order",
            given=f"{len(sources)} sources for {len(units)} units" + (f" ({fewer})" if fewer else ""),
            expected=f"{len(units)} sources, as many as models.controlnet_units",
            do="add the missing source, mostly a copy of data.input_frames; or take a unit away",
        )


def _sources(old: Old) -> None:
    main = old.data.get("input_frames")
    if main is None and not old.failed("data.input_frames") and not old.failed("data"):
        old.fail(
            "data.input_frames",
            "there is no clip to work on",
            given="null",
            expected="a table with video_file or image_folder",
            do="name a clip: pictures from text alone are no part of this program",
        )
    named = [("data.input_frames", main)]
    sources = enumerate(old.data.get("controlnet_frames") or [])
    named += [(f"data.controlnet_frames.{n}", source) for n, source in sources if n != old.drawn]
    for path, source in named:
        if source is not None:
            _source(old, path, source)
    if main is not None:
        for path, source in named[1:]:
            if source is not None:
                _alike(old, path, source, main)


def _source(old: Old, path: str, source: Mapping[str, Any]) -> None:
    if source["video_file"] is None and source["image_folder"] is None:
        old.fail(
            path, "a source without frames", given="video_file and image_folder are both null", do="name one of them"
        )
    if source["video_file"] is not None and source["image_folder"] is not None:
        old.note(f"{path}.image_folder", "not used: video_file is given too, and it wins, as in 1.x")
    start, end = source["start_frame_id"], source["end_frame_id"]
    if end is not None and end <= (start or 0):
        old.fail(
            f"{path}.end_frame_id",
            "these are no frames",
            given=f"start_frame_id {start or 0}, end_frame_id {end}",
            expected="an end behind the start: the end itself is not among the frames",
            do="set a larger end_frame_id, or null for the clip's end",
        )
    sides = {name: source[name] for name in ("width", "height")}
    if None in sides.values() and any(sides.values()):
        given = next(name for name, side in sides.items() if side is not None)
        old.note(f"{path}.{given}", "not used: the frames are only brought to a size when both sides are given")
    odd = [f"{name} {side}" for name, side in sides.items() if side and side % MULTIPLE]
    if odd and None not in sides.values() and path == "data.input_frames":
        told = "is no multiple" if len(odd) == 1 else "are no multiples"
        old.note(
            f"{path}.{odd[0].split()[0]}",
            f"{' and '.join(odd)} {told} of {MULTIPLE}, on which 1.x fails: all sources are padded alike for the "
            "model, and the result has the size that was asked for",
        )


def _alike(old: Old, path: str, source: Mapping[str, Any], main: Mapping[str, Any]) -> None:
    for name in ("width", "height"):
        mine, wanted = source[name], main[name]
        if mine is not None and wanted is not None and mine != wanted:
            old.fail(
                f"{path}.{name}",
                "the sources of a job have one size",
                given=f"{mine}, and data.input_frames has {wanted}",
                expected=f"{wanted}",
                do=f"set {path}.{name} to {wanted}",
            )
    spans = [s["end_frame_id"] - (s["start_frame_id"] or 0) for s in (source, main) if s["end_frame_id"] is not None]
    if len(spans) == 2 and spans[0] != spans[1] and min(spans) > 0:
        old.fail(
            f"{path}.end_frame_id",
            "the sources of a job have one number of frames",
            given=f"{spans[0]} frames, and data.input_frames has {spans[1]}",
            expected=f"{spans[1]} frames",
            do=f"set {path}.end_frame_id to {(source['start_frame_id'] or 0) + spans[1]}",
        )


def _prompts(old: Old) -> None:
    for name in ("prompt", "negative_prompt"):
        text = old.inputs.get(name) or ""
        path = f"pipeline.pipeline_inputs.{name}"
        if tag := TAG.search(text):
            do = "; give the adapter in models.lora_units"
            old.note(
                path, f"{tag[0]} is read as words, as in 1.x, and loads nothing{do if tag[1] != 'hypernet' else ''}"
            )
        if found := EMPHASIS.search(text):
            old.note(
                path, f"{found[0]} is read as words, as in 1.x; with prompt_style: a1111 in the job it is emphasis"
            )


def _numbers(old: Old) -> None:
    inputs, path = old.inputs, "pipeline.pipeline_inputs"
    window, stride = inputs.get("animatediff_batch_size"), inputs.get("animatediff_stride")
    if window is not None and stride is not None and stride > window:
        old.fail(
            f"{path}.animatediff_stride",
            "windows would leave frames out: 1.x gives them no prediction at all, in silence",
            given=f"stride {stride}, window {window}",
            expected="a stride of at most animatediff_batch_size",
            do=f"set animatediff_stride to {max(1, window // 2)}",
        )
    if inputs.get("denoising_strength") == 0:
        old.fail(
            f"{path}.denoising_strength",
            "nothing would be drawn",
            given="0",
            expected="above 0 up to 1",
            do="set 1.0 for the toon pipeline, 0.9 for the editing branch",
        )
    if inputs.get("cross_frame_attention") and inputs.get("unet_batch_size") == 1:
        old.note(
            f"{path}.cross_frame_attention",
            "without effect, as in 1.x: frames look at each other within unet_batch_size, and that is 1",
        )
    tile, between = inputs.get("tile_size"), inputs.get("tile_stride")
    if inputs.get("tiled") and tile is not None and between is not None and between > tile:
        given = f"tile_stride {between}, tile_size {tile}"
        old.fail(f"{path}.tile_stride", "tiles would leave parts out", given=given, expected="at most tile_size")
    if inputs.get("ipadapter_images"):
        old.fail(
            f"{path}.ipadapter_images",
            "IP-Adapter is not part of this program",
            given="pictures",
            expected="null, or no such key",
            do="take the key out",
        )


def _smoothers(old: Old) -> None:
    path, ids = "pipeline.pipeline_inputs.smoother_progress_ids", old.inputs.get("smoother_progress_ids") or []
    smoothers, steps = old.values.get("smoother_configs") or [], old.inputs.get("num_inference_steps") or 0
    for number, smoother in enumerate(smoothers):
        if smoother["processor_type"] == "RIFE":
            old.fail(
                f"smoother_configs.{number}.processor_type",
                "RIFE is not part of this program; in the last version of 1.x it cannot run either",
                given="RIFE",
                expected="FastBlend, Contrast or Sharpness",
                do="take it out, or put FastBlend in its place",
            )
    if smoothers and not ids:
        old.note(path, "it is empty, so the smoothers do not run, as in 1.x; [-1] runs them on the finished frames")
    if ids and not smoothers:
        old.note(path, "without effect: there are no smoother_configs")
    for number, step in enumerate(ids):
        if step is not None and step > steps:
            old.note(f"{path}.{number}", f"there is no step {step}: num_inference_steps is {steps}")
