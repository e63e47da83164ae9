"""What smoothing costs: milliseconds per frame at 256² and 512² in each mode, and how that grows with the window.

On noise that moves by a few pixels from frame to frame, with another light in each. "match" is one pair of frames
matched and moved, timed with several in a batch; "flow" is the same done by OpenCV's dense optical flow (DIS, preset
medium) and one remap, in the same run, so that their ratio tells more than either. The matches per frame are counted
in the middle of a long clip, where the window is full on both sides; ms per frame is measured for a few frames with a
small window, and for the larger windows it is matches × ms per match, since nothing else counts.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch

from sakuga.render.smoothers import fastblend, find_smoother
from sakuga.render.smoothers.patch_compiled import has_numba
from sakuga.render.smoothers.patch_match import Pair, Picture, Search, pyramid, remapped
from sakuga.spec.smoothing import FastBlendOptions

CPU = torch.device("cpu")
MODES = ("fast", "balanced", "accurate")
LARGE = (8, 16, 32)
BATCH = 4


def clip(count: int, side: int) -> list[Picture]:
    """Blotches of every size that move by 3 and 2 pixels a frame."""
    dice = np.random.default_rng(0)
    far = side + 3 * count
    whole = sum(cv2.GaussianBlur(dice.standard_normal((far, far, 3)), (0, 0), blur) * blur for blur in (1.5, 4, 12))
    levels = cv2.normalize(whole, None, 0, 255, cv2.NORM_MINMAX)
    return [levels[2 * n : 2 * n + side, 3 * n : 3 * n + side].astype(np.uint8) for n in range(count)]


def flickering(frames: Sequence[Picture]) -> list[Picture]:
    dice = np.random.default_rng(1)
    return [(frame * dice.uniform(0.85, 1.0) + dice.uniform(0, 12)).astype(np.uint8) for frame in frames]


def median_ms(act: Callable[[], object], rounds: int) -> float:
    act()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        act()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def match_ms(frames: Sequence[Picture], rounds: int, *, shared: bool) -> float:
    """Milliseconds for one pair, with ``BATCH`` of them together."""
    search = Search(shared=shared)
    levels = [pyramid(frame, search.largest_patch) for frame in frames[: BATCH + 1]]
    pairs = [Pair(levels[0], other, other, str(n)) for n, other in enumerate(levels[1:])]
    return median_ms(lambda: remapped(pairs, search, CPU), rounds) / BATCH


def flow_ms(frames: Sequence[Picture], rounds: int) -> float:
    """Milliseconds for dense optical flow of one pair, and the remap."""
    height, width = frames[0].shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    def move() -> None:
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[:2]]
        flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
        cv2.remap(frames[1], columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)

    return median_ms(move, 5 * rounds)


def smooth_ms(name: str, frames: Sequence[Picture], guides: Sequence[Picture], **options: object) -> float:
    """Milliseconds per frame of the whole smoother."""
    smoother = find_smoother(name)
    begin = time.perf_counter()
    for _ in smoother.smooth(frames, guides, smoother.options(**options), 0, CPU):
        pass
    return (time.perf_counter() - begin) * 1e3 / len(frames)


def matches(mode: str, window: int) -> float:
    """How many pairs are matched for a frame with a full window on both sides."""
    asked, seen = 0, list[int]()
    true = fastblend.remapped

    def counted(pairs: Sequence[Pair], _search: Search, _device: torch.device) -> list[Picture]:
        nonlocal asked
        asked += len(pairs)
        return [pair.source_style[-1].numpy() for pair in pairs]

    fastblend.remapped = counted
    try:
        frames = [np.zeros((2, 2, 3), np.uint8)] * (8 * window)
        for _ in fastblend.smooth(frames, frames, FastBlendOptions(mode=mode, window=window), 0, CPU):
            seen.append(asked)
    finally:
        fastblend.remapped = true
    return (seen[5 * window] - seen[3 * window]) / (2 * window)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=6, help="frames of the measured clip")
    parser.add_argument("--window", type=int, default=2, help="the small window that is measured whole")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    compiled = "numba" if has_numba() else "torch"
    print(f"{platform.machine()}, {given.threads} threads, torch {torch.__version__}, kernels by {compiled}")
    counts = {mode: {window: matches(mode, window) for window in LARGE} for mode in MODES}
    for side in given.sides:
        guides = clip(max(given.frames, BATCH + 1), side)
        frames = flickering(guides)
        flow = flow_ms(guides, given.rounds)
        for name in ("light", "contrast", "sharpness"):
            print(f"{side}²  {name:<22}{smooth_ms(name, frames, guides):9.1f} ms per frame")
        print(f"{side}²  {'flow and remap':<22}{flow:9.1f} ms per pair")
        for mode in MODES:
            match = match_ms(guides, given.rounds, shared=mode == "accurate")
            whole = smooth_ms("fastblend", frames[: given.frames], guides, mode=mode, window=given.window)
            print(f"{side}²  {'fastblend ' + mode:<22}{match:9.1f} ms per match, {match / flow:5.1f} × flow;", end=" ")
            print(f"window {given.window}: {whole / 1e3:.2f} s per frame;", end=" ")
            grown = (f"{n}: {count:.1f} matches, {count * match / 1e3:.1f} s" for n, count in counts[mode].items())
            print("window", "; ".join(grown), flush=True)


if __name__ == "__main__":
    main()
