"""One Stage over one Span: frames in, drawn frames out. The inner part of the walk, from annotators to the decoder.

Everything is loaded and decided before it comes here. Refuses to open files and to know of other Spans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from sakuga.models.cross_frame import CrossFrame, cross_framed
from sakuga.models.motion import Join, MotionModules, joined
from sakuga.models.schedule import Level, Schedule
from sakuga.models.tiles import AnyCodec, TiledCodec, tiled_attention, tiled_blocks
from sakuga.progress import Progress
from sakuga.render import latents
from sakuga.render.annotators import Annotator
from sakuga.render.denoisers import Call, Denoiser, Texts
from sakuga.render.denoisers.chunked import chunked
from sakuga.render.denoisers.controlled import Control, controlled, steady
from sakuga.render.denoisers.guided import guided
from sakuga.render.denoisers.predict import predict
from sakuga.render.denoisers.smoothed import smoothed
from sakuga.render.denoisers.windowed import windowed
from sakuga.render.noise import span_noise, step_purpose
from sakuga.render.plan import ControlClip
from sakuga.render.samplers import StepHooks
from sakuga.render.settings import FINISHED, Settings
from sakuga.render.smoothing import Smoothed, Smoothing
from sakuga.render.weights import Moment, at, moves, rows, stack_weight
from sakuga.render.windows import batches, sliding
from sakuga.spec.uses import ControlUse
from sakuga.spec.vary import Curve
from sakuga.video.colour import Fit, to_float, to_uint8

Picture = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ControlNet:
    """A control of the Stage, loaded: how it is used, what draws its pictures, the network, and a clip of its own."""

    use: ControlUse
    annotator: Annotator
    net: nn.Module
    clip: ControlClip | None = None


@dataclass(frozen=True, kw_only=True)
class StageParts:
    """One Stage with all its parts in memory. ``read_prompts`` is called inside the applied stack; ``hashes`` are the
    sha256 of every file that it was loaded from, adapters left out.
    """

    settings: Settings
    bundle: Bundle
    codec: Codec
    schedule: Schedule
    stack: Stack
    cache: Cache
    controls: tuple[ControlNet, ...]
    motion: MotionModules | None
    read_prompts: Callable[[], Texts]
    smoothings: tuple[Smoothing, ...] = ()
    hashes: tuple[str, ...] = ()

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
    """What a Span is to its Stages: frame numbers in the clip, their times in seconds from the clip's first frame, the
    clip's length, the seed, and the fit to the model; ``source`` and ``others`` are the frames of the job's own clip
    and of those that controls bring along, all of one size.
    """

    frames: Sequence[int]
    times: Sequence[float]
    clip_length: int
    seed: int
    fit: Fit
    source: Sequence[Picture]
    others: Mapping[ControlClip, Sequence[Picture]]

    def drawn_from(self, control: ControlNet, pictures: Sequence[Picture]) -> Sequence[Picture]:
        """The frames that a control is drawn from; ``pictures`` are those that the Stage works on."""
        if control.clip is not None:
            return self.others[control.clip]
        return self.source if control.use.source == "clip" else pictures

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
    stage: StageParts,
    applied: Applied,
    pictures: Sequence[Picture],
    shot: Shot,
    progress: Progress,
    *,
    after: Callable[[int], None] = lambda _step: None,
) -> Iterator[Tensor]:
    """Draw the frames of a Span: RGB uint8 [H, W, 3] in, float32 [3, H, W] in −1 … 1 out, the same size, one by one.

    Must be called while ``stage.stack`` is applied. Advances ``progress`` by one unit for each frame and step; calls
    ``after`` with the number of each step, while the weights are those of that step.
    """
    settings, levels = stage.settings, stage.levels
    count = len(levels)
    applied.set(stage.weights(0, count))
    texts = stage.read_prompts()
    codec = _codec(stage)
    padded = [shot.fit.pad(picture) for picture in pictures]
    controls = [_control(control, pictures, shot, count) for control in stage.controls if control.use.scale != 0]
    height, width = padded[0].shape[:2]
    shape = (codec.channels, height // codec.factor, width // codec.factor)
    device = stage.bundle.unet.device
    smoothers = Smoothed(smoothings=stage.smoothings, seed=shot.seed, device=device, check=progress.check)

    def noise(purpose: str) -> Tensor:
        moving = stage.motion is not None
        return span_noise(settings.noise, shot.seed, shot.frames, shape, purpose, moving=moving)

    def smooth(clean: Tensor) -> Tensor:
        return smoothers.clean(codec, clean, [shot.fit.pad(picture) for picture in shot.source])

    def before_step(step: int) -> None:
        progress.check()
        if stage.varies and not stage.moves:  # what moves is set for each call
            applied.set(stage.weights(step, count))

    def after_step(step: int, _x: Tensor, _clean: Tensor) -> None:
        after(step)
        progress.advance(len(pictures))

    hooks = StepHooks(before_step=before_step, after_step=after_step, noise=lambda step: noise(step_purpose(step)))
    clean = None
    if settings.strength < 1:
        clean = latents.encode(codec, to_float(np.stack(padded)))
    x = latents.start(clean, noise("start"), levels[0])
    with _denoiser(stage, texts, controls, before_call(stage, applied, shot, progress), len(pictures)) as denoise:
        at_steps = settings.smooth_at if stage.smoothings else ()
        x = settings.sampler.sample(smoothed(denoise, at_steps, smooth), x, levels, hooks)
    if stage.moves:
        applied.set_rows(None)
    _check_finite(x, count, shot)
    drawn = (_cut(frame, shot.fit) for frame in latents.decode(codec, x))
    if FINISHED not in settings.smooth_at or not stage.smoothings:
        yield from drawn
        return
    finished = [to_uint8(frame[None])[0] for frame in drawn]
    for picture in smoothers.pictures(finished, shot.source):
        yield to_float(picture[None])[0]


def _check_finite(x: Tensor, steps: int, shot: Shot) -> None:
    """Raise FileProblem for latents that are no picture."""
    if not bool(x.isfinite().all()):
        raise FileProblem(
            "the model gave numbers that are none, so there is no picture",
            given=f"NaN or infinity after {steps} steps, from frame {shot.frames[0]} on",
            expected="finite numbers",
            do="look for a broken base, ControlNet or adapter, or for weights that are far too large",
        )


def _codec(stage: StageParts) -> AnyCodec:
    """The codec of a Stage, in tiles where it says so."""
    tile, stride = stage.settings.tile, stage.settings.tile_stride
    return stage.codec if tile is None else TiledCodec(codec=stage.codec, tile=tile, stride=stride)


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
    """The Denoiser of a Span, built from the inside out. What it changes in the networks (motion modules, attention
    over frames, tiles) lasts for as long as it lives.
    """
    settings, unet = stage.settings, stage.bundle.unet
    with ExitStack() as stack:
        joins: list[Join | CrossFrame] = []
        if stage.motion is not None:
            joins.append(stack.enter_context(joined(unet, stage.motion)))
        if settings.cross_frame:
            joins.append(stack.enter_context(cross_framed(unet, settings.frames_at_once)))
        if settings.tile is not None:
            stack.enter_context(tiled_attention(unet, settings.tile, settings.tile_stride))
            for control in controls:
                stack.enter_context(tiled_blocks(control.net, settings.tile, settings.tile_stride))

        def tell(call: Call) -> None:
            prepare(call)
            for join in joins:
                join.frames = len(call.frames)

        innermost = predict(unet, stage.schedule, texts, tell)
        windows = batches(frame_count, settings.frames_at_once)
        if settings.looks_along_time:
            windows = sliding(frame_count, settings.window, settings.stride)
            if stage.motion is None:
                innermost = chunked(innermost, settings.frames_at_once)
        yield windowed(guided(controlled(innermost, controls, texts), texts, settings.guidance), windows)


def _control(control: ControlNet, pictures: Sequence[Picture], shot: Shot, steps: int) -> Control:
    frames = shot.drawn_from(control, pictures)
    drawn = np.stack([shot.fit.pad(control.annotator.draw(frame)) for frame in frames])
    use = control.use
    share = steady(1.0, steps, use.start, use.end)

    def scale(step: int, frame: int) -> float:
        return share(step, frame) * at(use.scale, shot.moment(frame, step, steps))

    return Control(net=control.net, pictures=(to_float(drawn) + 1) / 2, scale=scale)


def _cut(frame: Tensor, fit: Fit) -> Tensor:
    """[3, H, W] without the padding that ``fit`` added."""
    return frame[:, fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]
