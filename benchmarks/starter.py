"""What the starter's LoRA does to a clip: how far the picture moves from the source, and how calm it stays in time.

Prints for each weight the mean change against the source in grey levels (of 255), and the mean difference between
neighbouring frames, as a multiple of the source's own. A look that is drawn changes much and flickers little.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from sakuga import Job, LoraUse, Stage, Studio
from sakuga.models.library import STARTER
from sakuga.video.read import open_clip

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path, default=STARTER / "demo.mp4")
    parser.add_argument("--lora", default="celcomic")
    parser.add_argument("--frames", default="0:16", help="FIRST:END (default: 0:16)")
    parser.add_argument("--size", default="192", help="short side (default: 192)")
    parser.add_argument("--motion", default="auto", help="auto or none")
    options = parser.parse_args()
    print(f"{'weight':>8}{'change':>10}{'neighbours':>12}   {options.lora} on {options.clip.name}, {options.frames}")
    with tempfile.TemporaryDirectory() as folder, Studio() as studio:
        for weight in WEIGHTS:
            output = Path(folder) / f"frames-{round(100 * weight)}"
            stage = Stage(adapters=(LoraUse(file=options.lora, weight=weight),), motion=options.motion)
            studio.render(
                Job(source=options.clip, stages=(stage,), output=output, frames=options.frames, size=options.size)
            )
            drawn = pixels(output)
            source = resized(options.clip, options.frames, drawn.shape[2], drawn.shape[1])
            change = np.abs(drawn - source).mean()
            print(f"{weight:>8}{change:>10.2f}{unrest(drawn) / unrest(source):>11.2f}x")


def pixels(path: Path, first: int = 0, end: int | None = None) -> np.ndarray:
    """All frames of a clip as float32 [F, H, W, 3]."""
    with open_clip(path) as clip:
        return np.stack([frame.pixels for frame in clip.frames(first, end)]).astype(np.float32)


def resized(path: Path, frames: str, width: int, height: int) -> np.ndarray:
    """The source's frames at the size of the result."""
    from sakuga.video.colour import resize

    first, end = (int(text) for text in frames.split(":"))
    with open_clip(path) as clip:
        return np.stack([resize(f.pixels, width, height) for f in clip.frames(first, end)]).astype(np.float32)


def unrest(frames: np.ndarray) -> float:
    """Mean absolute difference between neighbouring frames, in grey levels."""
    return float(np.abs(np.diff(frames, axis=0)).mean())


if __name__ == "__main__":
    main()
