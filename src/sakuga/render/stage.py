"""One Stage over one Span: frames in, drawn frames out. The inner part of the walk, from annotators to the decoder.

Everything is loaded and decided before it comes here. Refuses to open files and to know of other Spans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sakuga.errors import FileProblem
from sakuga.lora.cache import Cache
from sakuga.lora.stack import Applied, Stack, StackWeight
from sakuga.models.bundle import Bundle
from sakuga.models.codec import Codec
from sakuga.models.motion import MotionModules, joined
from sakuga.models.schedule import Level, Schedule
from sakuga.progress import Progress
from sakuga.render import latents
from sakuga.render.annotators import Annotator
from sakuga.render.denoisers import Call, Denoiser, Texts
from sakuga.render.denoisers.controlled import Control, controlled, steady
from sakuga.render.denoisers.guided import guided
from sakuga.render.denoisers.predict import predict
from sakuga.render.denoisers.windowed import windowed
from sakuga.render.noise import span_noise, step_purpose
from sakuga.render.samplers import StepHooks
from sakuga.render.settings import Settings
from sakuga.render.weights import Moment, at, moves, rows, stack_weight
from sakuga.render.windows import batches, sliding
from sakuga.spec.uses import ControlUse
from sakuga.spec.vary import Curve
from sakuga.video.colour import Fit, to_float

Picture = NDArray[np.uint8]
FRAMES_AT_ONCE = 8  # through the UNet when no motion module asks for more


@dataclass(frozen=True, kw_only=True)
class ControlNet:
    """A control of the Stage, loaded: how it is used, what draws its pictures, and the network."""

    use: ControlUse
    annotator: Annotator
    net: nn.Module


@dataclass(frozen=True, kw_only=True)
class StageParts:
    """One Stage with all its parts in memory. ``read_prompts`` is called inside the applied stack."""

    settings: Settings
    bundle: Bundle
    codec: Codec
    schedule: Schedule
    stack: Stack
    cache: Cache
    controls: tuple[ControlNet, ...]
    motion: MotionModules | None
    read_prompts: Callable[[], Texts]

    def weights(self, step: int, steps: int) -> tuple[StackWeight, ...]:
        """The plain weights of the stack at a step. The text encoder keeps what it had when the prompt was read."""
        return tuple(stack_weight(use, Moment(step=step, steps=steps)) for use in self.settings.adapters)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The noise levels of its steps."""
        settings = self.settings
        return settings.sampler.levels(self.schedule, settings.steps, settings.strength)

    @property
    def varies(self) -> bool:
        """Whether any adapter's weight changes from step to step."""
        return any(isinstance(use.weight, Curve) or use.steps is not None for use in self.settings.adapters)

    @property
    def moves(self) -> bool:
        """Whether any adapter's weight differs between the frames of one call."""
        return any(map(moves, self.settings.adapters))


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What a Span is to its Stage: frame numbers in the clip, their times in seconds from the clip's first frame, the
    clip's length, the seed, and the fit to the model.
    """

    frames: range
    times: Sequence[float]
    clip_length: int
    seed: int
    fit: Fit

    def moment(self, position: int, step: int, steps: int) -> Moment:
        """Where the frame at a position of the Span is, in the clip and in the run."""
        return Moment(
            step=step,
            steps=steps,
            frame=self.frames[position],
            frames=self.clip_length,
            seconds=self.times[position],
        )


def render_span(
    stage: StageParts, applied: Applied, pictures: Sequence[Picture], shot: Shot, progress: Progress
) -> Iterator[Tensor]:
    """Draw the frames of a Span: RGB uint8 [H, W, 3] in, float32 [3, H, W] in −1 … 1 out, the same size, one by one.

    Must be called while ``stage.stack`` is applied. Advances ``progress`` by one unit for each frame and step.
    """
    settings = stage.settings
    levels = stage.levels
    count = len(levels)
    applied.set(stage.weights(0, count))
    texts = stage.read_prompts()
    padded = [shot.fit.pad(picture) for picture in pictures]
    controls = [_control(control, pictures, shot, count) for control in stage.controls if control.use.scale != 0]
    height, width = padded[0].shape[:2]
    shape = (stage.codec.channels, height // stage.codec.factor, width // stage.codec.factor)

    def noise(purpose: str) -> Tensor:
        return span_noise(settings.noise, shot.seed, shot.frames, shape, purpose)

    def before_step(step: int) -> None:
        progress.check()
        if stage.varies and not stage.moves:  # what moves is set for each call
            applied.set(stage.weights(step, count))

    def after_step(_step: int, _x: Tensor, _clean: Tensor) -> None:
        progress.advance(len(pictures))

    hooks = StepHooks(before_step=before_step, after_step=after_step, noise=lambda step: noise(step_purpose(step)))
    clean = None
    if settings.strength < 1:
        clean = latents.encode(stage.codec, to_float(np.stack(padded)))
    x = latents.start(clean, noise("start"), levels[0])
    with _denoiser(stage, texts, controls, before_call(stage, applied, shot, progress), len(pictures)) as denoise:
        x = settings.sampler.sample(denoise, x, levels, hooks)
    if stage.moves:
        applied.set_rows(None)
    if not bool(x.isfinite().all()):
        raise FileProblem(
            "the model gave numbers that are none, so there is no picture",
            given=f"NaN or infinity after {count} steps, from frame {shot.frames.start} on",
            expected="finite numbers",
            do="look for a broken base, ControlNet or adapter, or for weights that are far too large",
        )
    for frame in latents.decode(stage.codec, x):
        yield _cut(frame, shot.fit)


def before_call(stage: StageParts, applied: Applied, shot: Shot, progress: Progress) -> Callable[[Call], None]:
    """What is done before each call of the UNet: a stop is heard, since a step over a long Span may take minutes, and
    weights that differ between frames are set for the rows of the call.
    """
    count = len(stage.levels)

    def prepare(call: Call) -> None:
        progress.check()
        if stage.moves:
            applied.set_rows(
                rows(stage.settings.adapters, call, [shot.moment(n, call.step, count) for n in call.frames])
            )

    return prepare


@contextmanager
def _denoiser(
    stage: StageParts,
    texts: Texts,
    controls: Sequence[Control],
    prepare: Callable[[Call], None],
    frame_count: int,
) -> Iterator[Denoiser]:
    """The Denoiser of a Span, built from the inside out; the motion module is joined for as long as it lives."""
    settings = stage.settings
    with ExitStack() as stack:
        join = None
        windows = batches(frame_count, FRAMES_AT_ONCE)
        if stage.motion is not None:
            join = stack.enter_context(joined(stage.bundle.unet, stage.motion))
            windows = sliding(frame_count, settings.window, settings.stride)

        def tell(call: Call) -> None:
            prepare(call)
            if join is not None:
                join.frames = len(call.frames)

        innermost = predict(stage.bundle.unet, stage.schedule, texts, tell)
        yield windowed(guided(controlled(innermost, controls, texts), texts, settings.guidance), windows)


def _control(control: ControlNet, pictures: Sequence[Picture], shot: Shot, steps: int) -> Control:
    drawn = np.stack([shot.fit.pad(control.annotator.draw(picture)) for picture in pictures])
    use = control.use
    share = steady(1.0, steps, use.start, use.end)

    def scale(step: int, frame: int) -> float:
        return share(step, frame) * at(use.scale, shot.moment(frame, step, steps))

    return Control(net=control.net, pictures=(to_float(drawn) + 1) / 2, scale=scale)


def _cut(frame: Tensor, fit: Fit) -> Tensor:
    """[3, H, W] without the padding that ``fit`` added."""
    return frame[:, fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]
