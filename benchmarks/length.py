"""Does memory grow with the clip? Renders clips of the same kind and of several lengths, each in a process of its own.

Prints the peak resident memory and the seconds a frame for each length, and their ratio to the shortest; the goal is a
peak within 10 %. The frames are generated: moving shapes, with a cut every 200 frames. One step of the starter.

    python benchmarks/length.py                    200, 2,000 and 20,000 frames of 64 px
    python benchmarks/length.py --size 512 --frames 200 2000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CUT = 200  # frames of a shot, so that the spans of all lengths are alike
RATE = 24


def clip(path: Path, frames: int, side: int) -> Path:
    """A video of moving shapes; the shots differ in all colours."""
    down, across = np.mgrid[0:side, 0:side].astype(np.float32) / side
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=RATE)
        stream.codec_context.width = stream.codec_context.height = side
        stream.codec_context.pix_fmt, stream.codec_context.bit_rate = "yuv420p", 4_000_000
        stream.codec_context.time_base = stream.time_base = Fraction(1, RATE)
        for number in range(frames):
            shot, step = divmod(number, CUT)
            disc = (across - 0.5 - 0.3 * np.sin(step / 40)) ** 2 + (down - 0.5) ** 2 < 0.04
            ramps = np.stack([across, down, 1 - across], -1) * (0.9 if shot % 2 else 0.4)
            pixels = np.where(disc[..., None], 0.2 if shot % 2 else 0.9, np.roll(ramps, shot, -1))
            picture = av.VideoFrame.from_ndarray((pixels * 255).astype(np.uint8), format="rgb24")
            picture.pts = number
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def render(source: Path, folder: Path) -> dict[str, float]:
    """Render in a new process; the peak in bytes, and seconds."""
    words = [
        *(sys.executable, "-m", "sakuga", "render", str(source), "-o", str(folder / "toon.mp4"), "--json", "--fresh"),
        *("--overwrite", "--steps", "1", "--strength", "0.3", "--guidance", "1", "--motion", "none"),
        *("--set", "stages.0.controls=[]", "--noise", "zero"),
    ]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(run.stderr[-2000:])
    report = json.loads(run.stdout)
    return {"peak": report["memory"]["peak"], **report["seconds"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 2_000, 20_000], help="lengths of the clips")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, first = Path(name), None
        for frames in options.frames:
            told = render(clip(folder / f"{frames}.mp4", frames, options.size), folder)
            first = first or told
            print(
                f"{frames:>7} frames of {options.size} px: peak {told['peak'] / 2**20:7.1f} MiB "
                f"({told['peak'] / first['peak']:.3f} x), cuts {told['cuts']:.1f} s, render {told['render']:.1f} s, "
                f"{1000 * told['render'] / frames:.1f} ms a frame",
                flush=True,
            )


if __name__ == "__main__":
    main()
