"""What a name for an output means: which kinds of files can be written, and whether this one may be. Writes nothing."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from pathlib import Path

from sakuga.errors import OutputError, nearest_name
from sakuga.whole import Ours, check_place

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".gif": "gif"}  # by FFmpeg's names
PROCESSOR = Path("/proc/cpuinfo")  # where Linux lists what the processor can do
PICTURES_OUT = (".png", ".jpg", ".jpeg")
MATROSKA_BASE = Fraction(1, 1000)  # as FFmpeg writes it
FINE_TICKS = 90_000  # a second
NUMBERED_PICTURE = re.compile(r"\d+\.png")
PATTERN = re.compile(r"%0?\d*d")  # as other tools name numbered pictures


@cache
def steady_x264() -> dict[str, str]:
    """Options with which x264 gives the same bytes every time, whatever the processor.

    With AVX-512 it weighs blocks by memory that nobody filled (its macroblock tree, at widths that are no multiple of
    128), so that is left out where there is any.
    """
    try:
        flags = PROCESSOR.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {"x264-params": "asm=avx2"} if "avx512" in flags else {}


def check_output(path: Path, *, frames: int | None = None, overwrite: bool = False) -> None:
    """Raise ``OutputError`` or ``OutputExists`` if ``path`` cannot or may not be written. Creates nothing.

    ``frames`` is how many will be written, where that is known: a picture holds one.
    """
    suffix = path.suffix.lower()
    if PATTERN.search(path.name):
        raise OutputError(
            "numbered pictures go into a folder",
            given=path.name,
            expected="a name without suffix; the pictures in it are called 000000.png, 000001.png …",
            do=f"name the folder, say {PATTERN.sub('', path.stem).strip('-_. ') or 'frames'}",
        )
    if path.name in ("", "-", "..") or (path.name.startswith(".") and not suffix):
        nearest = f"toon{path.name}" if path.name in (*CONTAINERS, *PICTURES_OUT) else None
        raise OutputError(
            "the output has no name of its own",
            given=str(path),
            expected=f"a file ({', '.join((*CONTAINERS, *PICTURES_OUT))}), or a folder of PNGs: a name without suffix",
            nearest=nearest,
            do=f"name it, say {nearest or 'toon.mp4'}; nothing is written to stdout or to hidden folders",
        )
    if suffix and suffix not in CONTAINERS and suffix not in PICTURES_OUT:
        near = nearest_name(suffix, (*CONTAINERS, *PICTURES_OUT))
        raise OutputError(
            f"the kind of {path.name} is not known",
            given=path.suffix,
            expected=", ".join((*CONTAINERS, *PICTURES_OUT)) + ", or no suffix: a folder of PNGs",
            nearest=near,
            do=f"name it {path.with_suffix(near or '.mp4').name}",
        )
    if suffix in PICTURES_OUT and frames is not None and frames > 1:
        raise one_frame_only(suffix, f"{frames} frames")
    check_place(path, overwrite=overwrite, ours=ours_in(path))


def ours_in(path: Path) -> Ours | None:
    """What may lie in a folder that an output of this name replaces: numbered pictures, if it is a folder itself."""
    return None if path.suffix else NUMBERED_PICTURE.fullmatch


def check_folder(path: Path, *, overwrite: bool) -> None:
    """Raise ``OutputError`` or ``OutputExists`` if ``path`` cannot or may not be a folder of numbered pictures.

    ``overwrite`` allows to replace one that is there. Creates nothing.
    """
    if path.suffix.lower() in (*CONTAINERS, *PICTURES_OUT):
        raise OutputError(
            "the pictures go into a folder", given=str(path), expected="a name without suffix", do="name it frames, say"
        )
    check_place(path, overwrite=overwrite, ours=NUMBERED_PICTURE.fullmatch)


def one_frame_only(suffix: str, given: str) -> OutputError:
    """The error for more than one frame on the way into a picture."""
    return OutputError(
        "a picture holds one frame",
        given=given,
        expected=f"one frame for a {suffix} file",
        do="name the output .mp4, or give a folder (a name without suffix), or choose one frame",
    )


def container_options(kind: str, time_base: Fraction) -> dict[str, str]:
    """What makes a container keep exact times, and MP4 and MOV playable before they are loaded to the end."""
    if kind not in ("mp4", "mov"):
        return {"avoid_negative_ts": "disabled"}
    ticks = time_base.denominator
    # where a track begins is counted in ticks of the whole file: exact for the video, and fine enough for the sound
    fine = ticks * max(1, -(-FINE_TICKS // ticks))
    return {"movflags": "+faststart", "video_track_timescale": str(ticks), "movie_timescale": str(fine)}
