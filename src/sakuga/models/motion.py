"""AnimateDiff's motion modules: small temporal transformers that make a UNet of pictures one of video.

They are built from the shapes in a file and joined to a UNet for the length of a ``with`` block. Refuses modules that
do not fit the UNet place by place, and more frames at once than a module has positions for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sakuga.errors import FileProblem
from sakuga.models.frame_limit import check_frames
from sakuga.models.temporal import HEADS, POSITIONS, Shape, TemporalTransformer, sinusoids

MID = "mid_block.motion_modules.0"

# Where AnimateDiff and diffusers' MotionAdapter name the same layer of a transformer block differently.
_DIFFUSERS = {
    "norm1.": "norms.0.",
    "norm2.": "norms.1.",
    "norm3.": "ff_norm.",
    "attn1.": "attention_blocks.0.",
    "attn2.": "attention_blocks.1.",
}
_NAME = re.compile(
    r"(?:.*\.)?(?P<place>(?:(?:down|up)_blocks\.\d+|mid_block)\.motion_modules\.\d+)\."
    r"(?:temporal_transformer\.)?(?P<layer>.+)"
)
_INNER = re.compile(r"transformer_blocks\.(?P<block>\d+)\.(?:attention_blocks\.(?P<attention>\d+)\.)?(?P<rest>.+)")


class Place(nn.Module):
    """The level of AnimateDiff's names that holds one module."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(shape)


class Block(nn.Module):
    """The motion modules of one block of the UNet."""

    def __init__(self, shapes: Mapping[int, Shape]) -> None:
        super().__init__()
        self.motion_modules = nn.ModuleList([Place(shapes[i]) for i in sorted(shapes)])


class MotionModules(nn.Module):
    """All motion modules of a UNet. The names of its state dict are those of AnimateDiff's files.

    ``mid_block`` is None for versions without one (v1, v3). ``frame_limit`` is the most frames it can see at once.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        """``shapes`` by place: ``down_blocks.0.motion_modules.1``, ``mid_block.motion_modules.0``, ``up_blocks. …``."""
        super().__init__()
        sides: dict[str, dict[int, dict[int, Shape]]] = {"down_blocks": {}, "mid_block": {}, "up_blocks": {}}
        for place, shape in shapes.items():
            block, _, index = place.rpartition(".motion_modules.")
            side, _, number = block.partition(".")
            sides[side].setdefault(int(number or 0), {})[int(index)] = shape
        self.down_blocks, self.up_blocks = (
            nn.ModuleList([Block(sides[side][number]) for number in sorted(sides[side])])
            for side in ("down_blocks", "up_blocks")
        )
        self.mid_block = Block(sides["mid_block"][0]) if sides["mid_block"] else None
        self.frame_limit = min(shape.positions for shape in shapes.values())

    @classmethod
    def for_unet(cls, unet: nn.Module, positions: int = POSITIONS) -> MotionModules:
        """New modules for every place of a UNet; the last layer of each is zero, so they change nothing yet."""
        modules = cls({place: Shape(channels=c, positions=positions) for place, (_, c) in places(unet).items()})
        for transformer in modules.transformers().values():
            nn.init.zeros_(transformer.proj_out.weight)
            nn.init.zeros_(transformer.proj_out.bias)
        return modules

    @classmethod
    def from_state_dict(
        cls, tensors: Mapping[str, Tensor], *, source: str = "this file", unet: nn.Module | None = None
    ) -> MotionModules:
        """Build from the tensors of a file: AnimateDiff's own names (v1, v2, v3) or those of diffusers' MotionAdapter.

        Tensors are taken over as they are, in their own format. ``source`` names the file in errors; with ``unet`` it
        is checked at once that the modules fit. Raises ``FileProblem`` for names that are missing or not known.
        """
        named, positions = _animatediff_names(tensors, source)
        shapes = _shapes(named, positions, source)
        with torch.device("meta"):
            modules = cls(shapes)
        wanted = modules.state_dict()
        for name in wanted:
            if name.endswith(".pe"):  # not in diffusers' files, which have them computed, as here
                _, length, channels = wanted[name].shape
                named.setdefault(name, sinusoids(channels, length))
        _check_names(named, wanted, source)
        modules.load_state_dict(named, assign=True)
        if unet is not None:
            check_fits(unet, modules, source)
        return modules.eval().requires_grad_(False)

    def transformers(self) -> dict[str, TemporalTransformer]:
        """The modules by place."""
        named = ((name, module) for name, module in self.named_modules() if isinstance(module, TemporalTransformer))
        return {name.removesuffix(".temporal_transformer"): module for name, module in named}


class Join:
    """A motion module at work in a UNet. ``frames`` says how many frames the rows of the next call are.

    The UNet's rows must be [clips · frames], the frames of a clip one after another: guidance halves are such clips.
    """

    def __init__(self, frame_limit: int) -> None:
        self._limit, self._frames = frame_limit, 0

    @property
    def frames(self) -> int:
        return self._frames

    @frames.setter
    def frames(self, count: int) -> None:
        """Raises ``JobError`` beyond what the module has positions for."""
        check_frames(count, self._limit)
        self._frames = count


@contextmanager
def joined(unet: nn.Module, motion: MotionModules) -> Iterator[Join]:
    """Put each motion module behind its place in ``unet``; take all away again at the end, also after an exception.

    A module follows the attention of its layer, or the resnet where there is no attention, so that the skip connections
    carry its result too (as in AnimateDiff). Set ``frames`` of what this gives before each call of the UNet.
    """
    check_fits(unet, motion, "the motion module")
    join = Join(motion.frame_limit)
    behind = places(unet)
    with ExitStack() as stack:
        for place, transformer in motion.transformers().items():
            handle = behind[place][0].register_forward_hook(_hook(transformer, join))
            stack.callback(handle.remove)
        yield join


def _hook(transformer: TemporalTransformer, join: Join) -> Callable[[nn.Module, Any, Any], Any]:
    def along_time(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        assert join.frames > 0, "say how many frames there are before the UNet is called"
        if isinstance(output, Tensor):  # a resnet
            return transformer(output, join.frames)
        if isinstance(output, tuple):  # an attention with return_dict=False
            return (transformer(output[0], join.frames), *output[1:])
        return type(output)(sample=transformer(output.sample, join.frames))

    return along_time


def places(unet: nn.Module) -> dict[str, tuple[nn.Module, int]]:
    """Where motion modules go in a diffusers UNet2DConditionModel: place → (the layer they follow, its channels)."""
    found: dict[str, tuple[nn.Module, int]] = {}
    blocks: dict[str, Any] = {f"down_blocks.{n}": block for n, block in enumerate(_children(unet, "down_blocks"))}
    blocks |= {f"up_blocks.{n}": block for n, block in enumerate(_children(unet, "up_blocks"))}
    for name, block in blocks.items():
        for i, resnet in enumerate(block.resnets):
            found[f"{name}.motion_modules.{i}"] = (_last_layer(block, i), resnet.out_channels)
    middle = getattr(unet, "mid_block", None)
    if middle is not None:
        found[MID] = (_last_layer(middle, 0), middle.resnets[0].out_channels)
    return found


def check_fits(unet: nn.Module, motion: MotionModules, source: str) -> None:
    """Raise ``FileProblem`` unless each place of the UNet has a module of its width; the middle one may be missing."""
    wanted = {place: channels for place, (_, channels) in places(unet).items()}
    given = {place: transformer.norm.num_channels for place, transformer in motion.transformers().items()}
    faults = [f"{place} is missing" for place in wanted if place not in given and place != MID]
    faults += [f"{place} has no place in the model" for place in given if place not in wanted]
    faults += [
        f"{place} has {channels} channels, the model {wanted[place]}"
        for place, channels in given.items()
        if place in wanted and wanted[place] != channels
    ]
    if faults:
        raise FileProblem(
            f"{source} was made for another model",
            given=f"{len(given)} motion modules; {_some(faults)}",
            expected=f"{len(wanted)} modules, one for each layer of the UNet (the middle one may be missing)",
            do="choose a motion module for this base",
        )


def _children(unet: nn.Module, name: str) -> list[nn.Module]:
    return list(getattr(unet, name))


def _last_layer(block: Any, i: int) -> nn.Module:
    attentions = getattr(block, "attentions", None) or ()
    layer: nn.Module = attentions[i] if i < len(attentions) and attentions[i] is not None else block.resnets[i]
    return layer


def _animatediff_names(tensors: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], int]:
    """The tensors under AnimateDiff's names without prefixes, and the positions of encodings that must be computed."""
    named: dict[str, Tensor] = {}
    strange: list[str] = []
    positions = POSITIONS
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            strange.append(name)
        elif match["layer"].endswith(".pos_embed.pe"):
            positions = tensor.shape[1]
        else:
            named[f"{match['place']}.temporal_transformer.{_layer_name(match['layer'])}"] = tensor
    if strange or not named:
        raise FileProblem(
            f"{source} is no motion module",
            given=f"{len(tensors)} tensors; no place for {_some(strange)}" if strange else "a file without tensors",
            expected="names such as down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight",
            do="choose an AnimateDiff motion module or a diffusers motion adapter",
        )
    return named, positions


def _layer_name(layer: str) -> str:
    head, dot, inner = layer.partition("transformer_blocks.")
    number, _, rest = inner.partition(".")
    for theirs, ours in _DIFFUSERS.items():
        if dot and rest.startswith(theirs):
            return f"{head}transformer_blocks.{number}.{ours}{rest.removeprefix(theirs)}"
    return layer


def _shapes(named: Mapping[str, Tensor], positions: int, source: str) -> dict[str, Shape]:
    """The sizes of every module, from its names and shapes alone."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in named.items():
        place, _, layer = name.partition(".temporal_transformer.")
        layers.setdefault(place, {})[layer] = tensor
    shapes: dict[str, Shape] = {}
    for place, own in layers.items():
        inner = [match for match in map(_INNER.fullmatch, own) if match]
        first, width = own.get("proj_in.weight"), own.get("transformer_blocks.0.ff.net.2.weight")
        encoding = own.get("transformer_blocks.0.attention_blocks.0.pos_encoder.pe")
        if first is None or width is None or first.shape[-1] % HEADS:
            raise FileProblem(
                f"{source} holds a motion module that cannot be built",
                given=f"{place} with {len(own)} tensors"
                + ("" if first is None else f", proj_in.weight {list(first.shape)}"),
                expected=f"proj_in, ff and attentions, with a multiple of {HEADS} channels",
                do="fetch the file again",
            )
        shapes[place] = Shape(
            channels=first.shape[-1],
            blocks=1 + max((int(match["block"]) for match in inner), default=-1),
            attentions=1 + max((int(match["attention"]) for match in inner if match["attention"]), default=-1),
            inner=width.shape[1],
            positions=positions if encoding is None else encoding.shape[1],
        )
    return shapes


def _check_names(named: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    faults = [f"{name} is missing" for name in wanted if name not in named]
    faults += [f"{name} is not known" for name in named if name not in wanted]
    faults += [
        f"{name} is {list(tensor.shape)}, not {list(wanted[name].shape)}"
        for name, tensor in named.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    if faults:
        raise FileProblem(
            f"{source} is no whole motion module",
            given=f"{len(named)} tensors; {_some(faults)}",
            expected=f"{len(wanted)} tensors of matching shapes",
            do="fetch the file again, or choose another motion module",
        )


def _some(faults: list[str]) -> str:
    rest = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
    return "; ".join(faults[:3]) + rest
