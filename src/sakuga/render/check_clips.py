"""The clips of a Job, looked at before anything is read: its own source, and those that controls draw from.

Every frame of the job needs its frame in each of them, and they have to have one shape. Opens files, reads no frame.
"""

from __future__ import annotations

from pathlib import Path

from sakuga.errors import JobError
from sakuga.models.library import STARTER
from sakuga.render.plan import ControlClip, SourcePlan
from sakuga.report import Report
from sakuga.spec.beside import DEMO
from sakuga.spec.job import Job
from sakuga.spec.uses import ControlUse
from sakuga.video.clip import Clip
from sakuga.video.read import open_clip


def found(path: Path) -> Path:
    """The path of a clip; ``demo`` is the one in the package, unless there is a file of that name."""
    return STARTER / "demo.mp4" if str(path) == DEMO and not path.exists() else path


def examine_source(job: Job, report: Report) -> SourcePlan:
    """Open the clip of ``job``, choose the frames and the size, and say so in ``report``. Raises what is wrong."""
    path = found(job.source)
    with open_clip(path) as clip:
        frames = _frames_of(clip, job.frames, "frames")
        width, height = _size(job, clip, report)
        report.clip = {
            "path": str(path),
            "kind": clip.kind,
            "width": width,
            "height": height,
            "source_width": clip.width,
            "source_height": clip.height,
            "frames": len(frames),
            "first_frame": frames.start,
            "source_frames": clip.frame_count,
            "rate": str(clip.rate),
            "audio": clip.has_audio,
            "content_key": clip.content_key,
        }
        for note in clip.notes:
            report.note("source", note)
        return SourcePlan(
            path=path,
            frames=frames,
            size=(width, height),
            picture=clip.kind == "picture",
            content_key=clip.content_key,
        )


def _size(job: Job, clip: Clip, report: Report) -> tuple[int, int]:
    """(width, height) of the result; what was decided about it goes into ``report``."""
    if job.size is None:
        if job.crop:
            report.note("crop", "there is no size to fill, so it has no effect")
        return clip.width, clip.height
    width, height = job.size.fitted(clip.width, clip.height)
    if job.size.width is None or job.size.height is None:
        if job.crop:
            report.note("crop", "a size of the short side alone keeps the source's shape, so it has no effect")
        return width, height
    if job.crop:
        return job.size.width, job.size.height
    if str(job.size) != f"{width}x{height}":
        report.note("size", f"{width}x{height} is the largest in {job.size} that keeps the source's shape")
    return width, height


def examine_control(
    use: ControlUse, source: SourcePlan, report: Report, place: str, *, crop: bool = False
) -> ControlClip | None:
    """The clip that the control at ``place`` brings along, None if it has none of its own; it goes into ``report``.

    Raises ``JobError`` unless it has a frame for each of the job's, and the shape of the job's picture,
    unless the job crops.
    """
    if not isinstance(use.source, Path):
        return None
    path = found(use.source)
    with open_clip(path) as clip:
        frames = _frames_of(clip, use.frames, f"{place}.frames")
        if len(frames) != len(source.frames):
            chosen = source.frames
            fits = f"{chosen.start}:{chosen.stop}" if chosen.stop <= clip.frame_count else None
            raise JobError(
                "a control's clip is not as long as the job's",
                given=f"{len(frames)} frames of {path.name} (it has {clip.frame_count}), {len(chosen)} of the source",
                expected="the same number of frames",
                nearest=f"frames: {fits}" if fits else None,
                do="choose frames of both: frames of the control, and frames of the job",
            ).at(f"{place}.frames")
        if not crop:
            _check_shape(clip, path, source.size, f"{place}.source")
        told = {"path": str(path), "first_frame": frames.start, "content_key": clip.content_key}
        clips = report.clip.setdefault("controls", [])
        if told not in clips:
            clips.append(told)
        return ControlClip(path=path, frames=frames, content_key=clip.content_key)


def _frames_of(clip: Clip, chosen: tuple[int, int | None] | None, place: str) -> range:
    """The frames of a clip that are chosen, all by default. Raises JobError for those that it does not have."""
    first, end = chosen or (0, None)
    stop = clip.frame_count if end is None else end
    if not 0 <= first < stop <= clip.frame_count:
        raise JobError(
            "the clip does not have these frames",
            given=f"frames {first}:{'' if end is None else end}",
            expected=f"within 0:{clip.frame_count}",
            do="choose other frames, or leave them out for all",
        ).at(place)
    return range(first, stop)


def _check_shape(clip: Clip, path: Path, size: tuple[int, int], place: str) -> None:
    """Raise ``JobError`` where bringing a clip to the job's ``size`` would bend its picture by more than 2 pixels."""
    width, height = size
    if min(abs(clip.height * width / clip.width - height), abs(clip.width * height / clip.height - width)) > 2:
        raise JobError(
            "a control's clip has another shape than the job's picture",
            given=f"{path.name} is {clip.width}x{clip.height}, the job {width}x{height}",
            expected="both of one shape; their sizes may differ",
            do=f"say size {width}x{height} and crop, which cuts all clips to it, or bring them to one shape first",
        ).at(place)
