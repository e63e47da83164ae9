"""What it saves to compute nothing twice: rows and seconds of Diffutoon's schedule of calls, and of ours.

On the starter. The first way is that of DiffSynth 1.x, made with our own modules: the positive and the negative prompt
one after the other, and for each window of each of them every ControlNet again, one frame at a time. The others save
one thing each: "batched" puts the frames of a window together, "once, one by one" asks the ControlNets once for each
frame, step and prompt, which is all that arithmetic can save; "ours" is what a render does, with both prompts in one
batch. All give the same latents ("apart" is a share of the largest value). The seconds are those of the sampler's loop;
"cpu" counts all threads and is steadier where a machine has other work. The ways take turns.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from render import HEIGHT, WIDTH, loaded, scene
from sakuga.models.motion import joined
from sakuga.models.schedule import Level
from sakuga.render.denoisers import Call, Denoiser, Half, Texts
from sakuga.render.denoisers.controlled import Control, controlled, steady
from sakuga.render.denoisers.guided import guided
from sakuga.render.denoisers.predict import Predict, predict
from sakuga.render.denoisers.windowed import windowed
from sakuga.render.noise import draw_whole
from sakuga.render.stage import StageParts
from sakuga.render.windows import shares, sliding
from sakuga.video.colour import to_float

HALVES: tuple[Half, ...] = ("positive", "negative")
CASE = {"guidance": 7.0, "negative_prompt": "photograph", "controls": ["tile:0.5", "lineart:0.5"]}
SCALE = 0.5


@dataclass(frozen=True, kw_only=True)
class Work:
    """A Span to draw. ``window`` and ``stride`` in frames."""

    predict: Predict
    controls: list[Control]
    texts: Texts
    guidance: float
    frames: int
    window: int
    stride: int

    def apart(self, *, batch: int, once: bool) -> Denoiser:
        """Half by half, window by window; ``batch`` frames in a ControlNet; ``once``: none of them twice."""
        windows = sliding(self.frames, self.window, self.stride)
        weighted = [torch.tensor(share)[:, None, None, None] for share in shares(windows, self.frames)]
        kept = controlled(self.predict, self.controls, self.texts, batch)

        def denoise(x: Tensor, level: Level, step: int) -> Tensor:
            said = {}
            for half in HALVES:
                said[half] = torch.zeros_like(x)
                for window, share in zip(windows, weighted, strict=True):
                    ask = kept if once else controlled(self.predict, self.controls, self.texts, batch)
                    call = Call(level=level, step=step, frames=window.frames, halves=(half,))
                    said[half][window.start : window.stop] += share * ask(x[window.start : window.stop], call)
            return said["negative"] + self.guidance * (said["positive"] - said["negative"])

        return denoise

    def ours(self) -> Denoiser:
        """As a render has it."""
        whole = guided(controlled(self.predict, self.controls, self.texts), self.texts, self.guidance)
        return windowed(whole, sliding(self.frames, self.window, self.stride))


WAYS: dict[str, Callable[[Work], Denoiser]] = {
    "reference": lambda work: work.apart(batch=1, once=False),
    "batched": lambda work: work.apart(batch=work.window, once=False),
    "once, one by one": lambda work: work.apart(batch=1, once=True),
    "ours": lambda work: work.ours(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=30, help="frames of the clip (default: 30)")
    parser.add_argument("--steps", type=int, default=2, help="steps of the sampler (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is gone (default: 3)")
    parser.add_argument("--window", type=int, default=16, help="frames of a window; half of them to the next")
    options = parser.parse_args()
    pictures = [scene(index) for index in range(options.frames)]
    stage = loaded(CASE | {"steps": options.steps}, pictures)
    nets = {"UNet": stage.bundle.unet} | {f"control {n}": one.net for n, one in enumerate(stage.controls)}
    print(
        f"{WIDTH}x{HEIGHT}, {options.frames} frames, windows of {options.window} by {options.window // 2}, "
        f"{options.steps} steps, {options.rounds} rounds, median; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}"
    )
    with stage.stack.applied(stage.bundle.parts), working(stage, pictures, options.window) as work:
        go(stage, work, "ours")  # lets the libraries choose their kernels
        seconds, busy = ({name: list[float]() for name in WAYS} for _ in range(2))
        drawn, rows = {}, {}
        for _ in range(options.rounds):
            for name in WAYS:
                with counted(nets) as rows[name]:
                    wall, spent = time.perf_counter(), time.process_time()
                    drawn[name] = go(stage, work, name)
                    seconds[name].append(time.perf_counter() - wall)
                    busy[name].append(time.process_time() - spent)
    columns = ("UNet rows", "control rows", "calls", "seconds", "faster", "cpu", "less cpu", "apart")
    print(f"{'':18}" + "".join(f"{column:>13}" for column in columns))
    for name in WAYS:
        print(line(name, rows[name], (seconds, busy), drawn, options.steps))


def line(
    name: str, rows: Counter[str], times: Sequence[Mapping[str, list[float]]], drawn: Mapping[str, Tensor], steps: int
) -> str:
    """Rows in a step; seconds, and how many times as many the reference takes; how far from its latents."""
    controls = sum(count for net, count in rows.items() if net.startswith("control"))
    cells = [f"{rows['UNet'] // steps}", f"{controls // steps}", f"{rows['calls'] // steps}"]
    for taken in times:
        ratio = statistics.median(a / b for a, b in zip(taken["reference"], taken[name], strict=True))
        cells += [f"{statistics.median(taken[name]):.2f}s", f"{ratio:.2f}"]
    first = drawn["reference"]
    apart = float((drawn[name] - first).abs().max() / first.abs().max())
    return f"{name:18}" + "".join(f"{cell:>13}" for cell in (*cells, f"{apart:.0e}"))


@contextmanager
def working(stage: StageParts, pictures: list[np.ndarray], window: int) -> Iterator[Work]:
    """The networks of ``stage`` with its motion module joined, ready for ``pictures``."""
    assert stage.motion is not None, "the starter has a motion module"
    shown = [
        (to_float(np.stack([control.annotator.draw(picture) for picture in pictures])) + 1) / 2
        for control in stage.controls
    ]
    scale = steady(SCALE, len(stage.levels))
    controls = [
        Control(net=one.net, pictures=show, scale=scale) for one, show in zip(stage.controls, shown, strict=True)
    ]
    texts = stage.read_prompts()
    with joined(stage.bundle.unet, stage.motion) as join:

        def tell(call: Call) -> None:
            join.frames = len(call.frames)

        yield Work(
            predict=predict(stage.bundle.unet, stage.schedule, texts, tell),
            controls=controls,
            texts=texts,
            guidance=stage.settings.guidance,
            frames=len(pictures),
            window=window,
            stride=window // 2,
        )


def go(stage: StageParts, work: Work, name: str) -> Tensor:
    """The sampler's loop one way, from the noise to the clean latents [F, C, h, w]."""
    codec = stage.codec
    noise = draw_whole(0, work.frames, (codec.channels, HEIGHT // codec.factor, WIDTH // codec.factor), moving=True)
    return stage.settings.sampler.sample(WAYS[name](work), noise, stage.levels)


@contextmanager
def counted(nets: dict[str, nn.Module]) -> Iterator[Counter[str]]:
    """Rows that each network answers for while inside, and the "calls" of all."""
    rows = Counter[str]()

    def watch(name: str) -> Callable[..., None]:
        def see(_: nn.Module, given: tuple[Any, ...]) -> None:
            rows[name] += len(given[0])
            rows["calls"] += 1

        return see

    handles = [net.register_forward_pre_hook(watch(name)) for name, net in nets.items()]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


if __name__ == "__main__":
    main()
