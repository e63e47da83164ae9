"""From old configs to the plain data of a Job, with what became of every key. One config is a Job of one stage; the
pair of the two-stage script is one Job of two, the second drawing its colours from the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sakuga.errors import raise_all
from sakuga.report import Note
from sakuga.spec.diffutoon import Old
from sakuga.spec.diffutoon_found import Found, size_of
from sakuga.spec.diffutoon_stage import OldStage
from sakuga.spec.fields import Place


@dataclass(frozen=True, kw_only=True)
class Made:
    """The plain data of a Job, the old key that each place of it comes from, each key with what became of it, notes."""

    data: dict[str, Any]
    places: Mapping[Place, str]
    keys: tuple[dict[str, str], ...]
    notes: tuple[Note, ...]


def make_data(olds: Sequence[Old], found: Sequence[Found]) -> Made:
    """The Job of one config, or of a pair. Raises JobError or Several for what does not go together."""
    stages = [
        OldStage(old, here, number, len(olds)) for number, (old, here) in enumerate(zip(olds, found, strict=True))
    ]
    for stage in stages:
        stage.build()
    raise_all([error for old in olds for error in old.errors])
    first, last = stages[0], stages[-1]
    data, places = job_of(last, first), dict[Place, str]()
    data["stages"] = [stage.data for stage in stages]
    for stage in stages:
        places |= stage.places
    notes = tuple(note for old in olds for note in old.notes)
    return Made(data=data, places=places, keys=tuple(key for stage in stages for key in stage.told_keys()), notes=notes)


def job_of(last: OldStage, first: OldStage) -> dict[str, Any]:
    """The fields of the Job but ``stages``: the clip of the first stage, all else as the last one says."""
    old, data, main = last.old, last.old.data, last.old.data["input_frames"]
    agree(last, first)
    folder = Path(data["output_folder"])
    job: dict[str, Any] = {
        "source": last.path(first.old.data["input_frames"]),
        "base": last.base,
        "output": str(folder / "video.mp4"),
        "pictures": str(folder / "frames"),
        "held": "each",  # 1.x drew every frame
        "seed": old.values["pipeline"]["seed"],
        "device": last.found.device,
        "dtype": "fp16",
    }
    frames = last.range(first.old.data["input_frames"])
    if frames is not None:
        job["frames"] = frames
    if size := size_of(main):
        job |= {"size": size, "crop": True}
    if data["fps"] is not None:
        job["fps"] = float(data["fps"])
    clip = "video_file" if main["video_file"] is not None else "image_folder"
    of_job = {
        "source": f"data.input_frames.{clip}", "frames": "data.input_frames.end_frame_id", "fps": "data.fps",
        "size": "data.input_frames.width", "output": "data.output_folder", "pictures": "data.output_folder",
        "seed": "pipeline.seed", "base": "models.model_list", "device": "models.device",
    }  # fmt: skip
    last.places |= {(name,): old.prefix + path for name, path in of_job.items()}
    return job


def agree(last: OldStage, first: OldStage) -> None:
    """What the two configs of a pair have to agree in, or what is then taken from which."""
    if first is last:
        return
    mine, theirs = last.old.data, first.old.data
    for name in ("video_file", "image_folder", "start_frame_id", "end_frame_id"):
        here, there = mine["input_frames"][name], theirs["input_frames"][name]
        if (here or None) != (there or None):
            last.old.fail(
                f"data.input_frames.{name}", "the stages of a pair work on one clip", given=str(here),
                expected=f"{there}, as in {first.old.prefix}data.input_frames",
                do="render the two configs one after the other instead",
            )  # fmt: skip
    if last.base != first.base:
        last.old.fail(
            "models.model_list", "the stages of a pair have one checkpoint", given=last.base,
            expected=first.base, do="render the two configs one after the other instead",
        )  # fmt: skip
    raise_all(last.old.errors)
    if last.old.values["pipeline"]["seed"] != first.old.values["pipeline"]["seed"]:
        first.old.note("pipeline.seed", f"not used: a job has one seed, that of {last.old.prefix.rstrip('.')}")
        first.old.became["pipeline.seed"] = "not used: a job has one seed"
    first.old.became["data.output_folder"] = (
        "not used: the colour video goes straight into the second stage; render this config alone to have it"
    )
    for path in ("data.fps", "models.device"):
        first.old.became[path] = f"not used: {last.old.prefix}{path} counts for the job"
    mine_size, their_size = size_of(mine["input_frames"]), size_of(theirs["input_frames"])
    if their_size != mine_size and their_size:
        first.data["size"] = their_size
        for side in ("width", "height"):
            first.old.became[f"data.input_frames.{side}"] = f"stages.{first.number}.size"
