"""Large pictures in overlapping tiles, for machines with little memory: the layers of a network, or a whole codec.

The last tile of a row ends at the border, so every pixel is covered whatever the size is; where one tile covers all,
nothing changes. What tiles say is averaged, the less the nearer to a tile's edge. Normalisation sees a tile at a time,
so the picture is not exactly that of the whole. The layout of tiles is that of DiffSynth 1.x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


def starts(length: int, tile: int, stride: int) -> tuple[int, ...]:
    """Where tiles begin on a side of ``length``: every ``stride``, the last one moved so that it ends at the border.

    >>> starts(72, 64, 32), starts(96, 64, 32), starts(48, 64, 32)
    ((0, 8), (0, 32), (0,))
    """
    last = max(0, length - tile)
    return (*range(0, last, min(stride, tile)), last)


def mask(height: int, width: int, border: float) -> Tensor:
    """The say of a tile's pixels: the distance to its nearest edge (1 at the edge) over ``border``, at most 1."""
    down, across = (torch.minimum(side, side.flip(0)) for side in map(_counted, (height, width)))
    return (torch.minimum(down[:, None], across[None]) / border).clamp(max=1)


def _counted(length: int) -> Tensor:
    return torch.arange(1, length + 1, dtype=torch.float32)


def in_tiles(
    run: Callable[[Tensor], Tensor], x: Tensor, tile: int, stride: int, *, given: int = 1, gives: int = 1
) -> Tensor:
    """``run`` on every tile of x [B, C, H, W], averaged. ``tile`` and ``stride`` count squares of the grid that input
    and output share: a square is ``given`` pixels wide in x, ``gives`` in the output.
    """
    height, width = x.shape[-2] // given, x.shape[-1] // given
    tall, wide = min(tile, height), min(tile, width)
    rows, columns = starts(height, tall, stride), starts(width, wide, stride)
    if len(rows) == len(columns) == 1:
        return run(x)
    say = mask(tall * gives, wide * gives, max(1.0, min(stride, tile) * gives / 2)).to(x.device)
    exact = torch.promote_types(x.dtype, torch.float32)  # sums of halves lose too much
    total: Tensor | None = None
    weights = torch.zeros(height * gives, width * gives, device=x.device, dtype=exact)
    for top in rows:
        for left in columns:
            there = slice(top * given, (top + tall) * given), slice(left * given, (left + wide) * given)
            here = slice(top * gives, (top + tall) * gives), slice(left * gives, (left + wide) * gives)
            answer = run(x[..., there[0], there[1]])
            if total is None:
                total = answer.new_zeros((*answer.shape[:2], height * gives, width * gives), dtype=exact)
            total[..., here[0], here[1]] += answer * say
            weights[here[0], here[1]] += say
    assert total is not None
    return (total / weights).to(answer.dtype)


@contextmanager
def tiled_attention(unet: nn.Module, tile: int, stride: int) -> Iterator[None]:
    """While inside, every attention block of ``unet`` works in tiles of at most ``tile`` pixels of its own level."""
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    with _changed(unet, {Transformer2DModel: _attention}, lambda _: (tile, stride)):
        yield


@contextmanager
def tiled_blocks(net: nn.Module, tile: int, stride: int) -> Iterator[None]:
    """While inside, every block of a ControlNet works in tiles: ``tile`` latents, fewer pixels at the deeper levels."""
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    width = 0

    def see(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal width
        width = (given[0] if given else named["sample"]).shape[-1]

    def at_level(x: Tensor) -> tuple[int, int]:
        level = max(1, round(width / x.shape[-1]))
        return max(2, tile // level), max(1, stride // level)

    handle = net.register_forward_pre_hook(see, with_kwargs=True)
    every = {Transformer2DModel: _attention, ResnetBlock2D: _resnet, Downsample2D: _downsampler}
    try:
        with _changed(net, every, at_level):
            yield
    finally:
        handle.remove()


Sized = Callable[[Tensor], tuple[int, int]]
"""x → (tile, stride) in pixels of x."""


@contextmanager
def _changed(net: nn.Module, around: Mapping[Any, Callable[[Any, Sized], Any]], size: Sized) -> Iterator[None]:
    """Put what ``around`` has for its kind around the forward of every module, for as long as this lasts."""
    with ExitStack() as stack:
        for module in list(net.modules()):
            for kind, wrap in around.items():
                if isinstance(module, kind):
                    own, before = module.__dict__, module.__dict__.get("forward")
                    stack.callback(own.pop, "forward") if before is None else stack.callback(own.update, forward=before)
                    own["forward"] = wrap(module.forward, size)
        yield


def _attention(forward: Any, size: Sized) -> Callable[..., tuple[Tensor]]:
    def run(
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        attention_mask: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        return_dict: bool = True,
    ) -> tuple[Tensor]:
        assert not return_dict, "blocks of a UNet ask for tuples"

        def one(x: Tensor) -> Tensor:
            answer: Tensor = forward(
                x,
                encoder_hidden_states=encoder_hidden_states,
                cross_attention_kwargs=cross_attention_kwargs,
                attention_mask=attention_mask,
                encoder_attention_mask=encoder_attention_mask,
                return_dict=False,
            )[0]
            return answer

        return (in_tiles(one, hidden_states, *size(hidden_states)),)

    return run


def _resnet(forward: Any, size: Sized) -> Callable[..., Tensor]:
    def run(input_tensor: Tensor, temb: Tensor) -> Tensor:
        return in_tiles(lambda x: forward(x, temb), input_tensor, *size(input_tensor))

    return run


def _downsampler(forward: Any, size: Sized) -> Callable[..., Tensor]:
    def run(hidden_states: Tensor) -> Tensor:
        tile, stride = size(hidden_states)  # the grid is that of its output
        return in_tiles(forward, hidden_states, max(1, tile // 2), max(1, stride // 2), given=2)

    return run


class AnyCodec(Protocol):
    """What is needed of a ``Codec``."""

    @property
    def channels(self) -> int: ...
    @property
    def factor(self) -> int: ...
    def encode(self, pixels: Tensor) -> Tensor: ...
    def decode(self, latents: Tensor) -> Tensor: ...
    def unclamped(self, latents: Tensor) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class TiledCodec:
    """A codec that encodes and decodes in tiles. ``tile`` and ``stride`` are latents in both directions."""

    codec: AnyCodec
    tile: int
    stride: int

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return self.codec.channels

    @property
    def factor(self) -> int:
        """Pixels along a side of one latent."""
        return self.codec.factor

    def encode(self, pixels: Tensor) -> Tensor:
        """As ``Codec.encode``."""
        return in_tiles(self.codec.encode, pixels, self.tile, self.stride, given=self.factor)

    def decode(self, latents: Tensor) -> Tensor:
        """As ``Codec.decode``."""
        return self.unclamped(latents).clamp(-1, 1)

    def unclamped(self, latents: Tensor) -> Tensor:
        """As ``Codec.unclamped``: tiles are averaged before what is beyond black and white is cut off."""
        return in_tiles(self.codec.unclamped, latents, self.tile, self.stride, gives=self.factor)
