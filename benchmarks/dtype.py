"""bfloat16 against float32 on this CPU: how much faster or slower, and how far the picture is from the exact one.

bf16 is worth choosing on a CPU only where it is faster and close enough. The two take turns on the same frames, the
same noise and, but for their number format, the same weights; text encoder and codec compute in float32 in both.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from render import CASES, HEIGHT, WIDTH, draw, loaded, scene
from sakuga.render.stage import StageParts
from sakuga.video.colour import to_uint8

FORMATS = ("fp32", "bf16")
FASTER, CLOSE = 1.1, 1.0  # times, and mean grey levels: what would speak for bf16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run (default: 3)")
    parser.add_argument("--frames", type=int, default=8, help="frames (default: 8)")
    options = parser.parse_args()
    pictures = [scene(index) for index in range(options.frames)]
    print(f"{WIDTH}x{HEIGHT}, {options.frames} frames; torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"CPU capability {torch.backends.cpu.get_cpu_capability()}, bf16 arithmetic in hardware: {in_hardware()}")
    print(f"{'':22}{'fp32':>9}{'bf16':>9}{'speed-up':>10}{'mean':>8}{'max':>6}{'  grey levels apart':20}")
    for name in ("1 step", "4 steps", "4 steps, strength 0.8"):
        stages = {dtype: loaded(CASES[name], pictures, dtype) for dtype in FORMATS}
        seconds, frames = compare(stages, pictures, options.rounds)
        apart = np.abs(frames["fp32"].astype(np.int16) - frames["bf16"])
        ratio = seconds["fp32"] / seconds["bf16"]
        verdict = "worth it" if ratio >= FASTER and apart.mean() <= CLOSE else "not worth it"
        times = "".join(f"{seconds[dtype]:>8.2f}s" for dtype in FORMATS)
        print(f"{name:22}{times}{ratio:>9.2f}x{apart.mean():>8.2f}{apart.max():>6}  {verdict}")


def compare(
    stages: dict[str, StageParts], pictures: list[np.ndarray], rounds: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Median seconds and the frames of each number format; the first run of each is not timed."""
    taken: dict[str, list[float]] = {dtype: [] for dtype in stages}
    frames = {dtype: to_uint8(torch.stack(draw(stage, pictures))) for dtype, stage in stages.items()}
    for _ in range(rounds):
        for dtype, stage in stages.items():
            started = time.perf_counter()
            draw(stage, pictures)
            taken[dtype].append(time.perf_counter() - started)
    return {dtype: statistics.median(own) for dtype, own in taken.items()}, frames


def in_hardware() -> bool | str:
    """Whether the CPU multiplies bfloat16 by itself, as far as torch tells."""
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(asked()) if asked else "not told"


if __name__ == "__main__":
    main()
