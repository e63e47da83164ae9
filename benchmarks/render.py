"""Seconds for a frame and step on the starter, and what our loop adds to the networks themselves.

One Span is rendered as ``sakuga render`` does it. The time inside each network (UNet with its motion modules,
ControlNets, codec, text encoder) is taken in that very run, with the very same batches; what is left is our loop. The
annotators stand apart: they draw pictures, whatever the loop is. Cases take turns, so that a busy moment meets all.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from sakuga.models.library import Library
from sakuga.progress import Progress
from sakuga.render.check import examine
from sakuga.render.parts import PartsKeeper
from sakuga.render.stage import Shot, StageParts, render_span
from sakuga.report import Report
from sakuga.spec.job import Job
from sakuga.video.colour import fit
from sakuga.video.pictures import encode_picture

WIDTH, HEIGHT = 256, 192
CASES: dict[str, dict[str, Any]] = {
    "1 step": {"steps": 1, "guidance": 1.0},
    "4 steps": {"steps": 4, "guidance": 1.0},
    "4 steps, guidance 4": {"steps": 4, "guidance": 4.0, "negative_prompt": "photograph"},
    "4 steps, no motion": {"steps": 4, "guidance": 1.0, "motion": "none"},
    "4 steps, strength 0.8": {"steps": 4, "guidance": 1.0, "strength": 0.8, "noise": "frame"},
}
NETWORKS = ("UNet", "controls", "codec", "text")
Picture = np.ndarray


@dataclass(kw_only=True)
class Clock:
    """Seconds spent inside what was wrapped, by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    def around(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*words: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return act(*words, **named)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

        return timed

    @contextmanager
    def watching(self, stage: StageParts) -> Iterator[StageParts]:
        """Inside, every call of a network of ``stage`` is timed."""
        vae = stage.codec.vae
        inner = [("UNet", stage.bundle.unet, "forward"), ("codec", vae, "encode"), ("codec", vae, "decode")]
        inner += [("text", stage.bundle.text_encoder, "forward")]
        inner += [("controls", control.net, "forward") for control in stage.controls]
        drawn = [replace(one, annotator=_timed_annotator(self, one.annotator)) for one in stage.controls]
        with ExitStack() as patched:
            for name, owner, method in inner:
                patched.enter_context(patch.object(owner, method, self.around(name, getattr(owner, method))))
            yield replace(stage, controls=tuple(drawn))


def _timed_annotator(clock: Clock, annotator: Any) -> Any:
    return replace(annotator, draw=clock.around("annotators", annotator.draw))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each case is run (default: 3)")
    parser.add_argument("--frames", type=int, default=16, help="frames of the Span (default: 16)")
    options = parser.parse_args()
    pictures = [scene(index) for index in range(options.frames)]
    stages = {name: loaded(case, pictures) for name, case in CASES.items()}
    render(stages["1 step"], pictures)  # fills caches and lets the libraries choose their kernels
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    for _ in range(options.rounds):
        for name, stage in stages.items():
            runs[name].append(render(stage, pictures))
    print(
        f"{WIDTH}x{HEIGHT}, {options.frames} frames, {options.rounds} rounds, median; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}"
    )
    columns = ("s/frame/step", *NETWORKS, "annotators", "loop", "total", "loop/nets")
    print(f"{'':22}" + "".join(f"{column:>13}" for column in columns))
    for name, taken in runs.items():
        print(row(name, taken, options.frames * len(stages[name].levels)))


def row(name: str, runs: list[dict[str, float]], units: int) -> str:
    """The medians of one case. The share of the loop is taken within each run first."""
    middle = {key: statistics.median(run.get(key, 0.0) for run in runs) for key in (*NETWORKS, "annotators", "total")}
    rest = [run["total"] - run.get("annotators", 0.0) - nets(run) for run in runs]
    share = statistics.median(loop / nets(run) for loop, run in zip(rest, runs, strict=True))
    seconds = [middle[key] for key in (*NETWORKS, "annotators")] + [statistics.median(rest), middle["total"]]
    cells = "".join(f"{second:>12.2f}s" for second in seconds)
    return f"{name:22}{middle['total'] / units:>12.3f}s{cells}{share:>12.1%}"


def nets(run: dict[str, float]) -> float:
    """The bare sum of the networks in a run."""
    return sum(run.get(key, 0.0) for key in NETWORKS)


def loaded(case: dict[str, Any], pictures: list[Picture], dtype: str = "fp32") -> StageParts:
    """The parts of the one Stage of a Job on the starter."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "frame.png"
        source.write_bytes(encode_picture(pictures[0], ".png"))
        stage = {"prompt": "flat colours, clean ink lines"} | case
        job = Job(source=source, stages=[stage], output=Path(folder) / "toon.png", device="cpu", dtype=dtype)
        library, report = Library.usual(), Report()
        return KEEPER.stage(examine(job, library, report), 0, library, report)


def render(stage: StageParts, pictures: list[Picture]) -> dict[str, float]:
    """One Span; the seconds inside each network and in all."""
    clock = Clock()
    with clock.watching(stage) as watched:
        started = time.perf_counter()
        draw(watched, pictures)
        clock.seconds["total"] = time.perf_counter() - started
    return clock.seconds


def draw(stage: StageParts, pictures: list[Picture]) -> list[torch.Tensor]:
    """The frames of a Span, as the Studio has them drawn."""
    count = len(pictures)
    around = fit(WIDTH, HEIGHT, stage.bundle.multiple)
    times = [n / 25 for n in range(count)]
    shot = Shot(frames=range(count), times=times, clip_length=count, seed=0, fit=around, source=pictures, others={})
    with stage.stack.applied(stage.bundle.parts) as applied:
        return list(render_span(stage, applied, pictures, shot, Progress()))


def scene(index: int) -> Picture:
    """A picture with soft and hard parts, a little further on with each frame."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    waves = np.sin((across + 3 * index) / 17) + np.cos(down / 11) * np.sin(across / 29)
    colours = np.stack([waves, -waves, np.cos(waves * 3 + index / 5)], axis=-1) * 50 + 128
    inside = (across - 60 - 4 * index) ** 2 + (down - 96) ** 2 < 40**2
    colours[inside] = (235, 190, 150)
    return colours.clip(0, 255).astype(np.uint8)


KEEPER = PartsKeeper()

if __name__ == "__main__":
    main()
