"""Blocks: the parts of an image model that an adapter's weight may differ between, and the ways in which people write
such weights. Plain data and pure functions: a mapping from block name to factor, nothing else.

Names are those of the block weights of AUTOMATIC1111: BASE (all text encoders), IN00 … IN11, M00, OUT00 … OUT11 of a
UNet of SD 1, SD 2 or SDXL; CLIP, T5, IN, D00 … D18, S00 … S37, OUT of Flux. Every layer of a block is meant,
convolutions included. A layer of no block (the time embedding, the last convolution) keeps the adapter's own weight.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from numbers import Real

from sakuga.errors import SakugaError, nearest_name

Levels = Mapping[str, object]


def _names(prefix: str, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{prefix}{number:02}" for number in numbers)


SD = ("BASE", *_names("IN", range(12)), "M00", *_names("OUT", range(12)))
FLUX = ("CLIP", "T5", "IN", *_names("D", range(19)), *_names("S", range(38)), "OUT")
BLOCKS = frozenset(SD + FLUX)
# What the numbers of a list mean, by how many there are. Blocks of a UNet that a shorter list leaves out get 0.
ORDERS: Mapping[int, tuple[str, ...]] = {
    12: ("BASE", *_names("IN", (4, 5, 7, 8)), "M00", *_names("OUT", range(6))),  # LoRA for SDXL
    17: ("BASE", *_names("IN", (1, 2, 4, 5, 7, 8)), "M00", *_names("OUT", range(3, 12))),  # LoRA for SD 1 and 2
    20: ("BASE", *_names("IN", range(9)), "M00", *_names("OUT", range(9))),  # every layer of SDXL
    26: SD,  # every layer of SD 1 and 2
    61: FLUX,
}
# Blocks that are on; between the blocks of the usual lists of 17 the presets go on without a gap.
_PRESETS: Mapping[str, tuple[str, ...]] = {
    "NONE": (),
    "INS": _names("IN", range(4)),
    "IND": _names("IN", range(5, 12)),
    "INALL": _names("IN", range(12)),
    "MIDD": (*_names("IN", range(5, 12)), "M00", *_names("OUT", range(7))),
    "OUTD": _names("OUT", range(7)),
    "OUTS": _names("OUT", range(7, 12)),
    "OUTALL": _names("OUT", range(12)),
}
PRESETS = ("ALL", "ALL0.5", *_PRESETS)

_LAYER = re.compile(r"(?:^|\.)(down|up)_blocks\.(\d+)\.([a-z_]+)\.(\d+)")
_LDM = re.compile(r"(?:^|\.)(input|output)_blocks\.(\d+)\.")
_FLUX = re.compile(r"(?:^|\.)(?:(transformer_blocks|double_blocks)|single_transformer_blocks|single_blocks)\.(\d+)\.")
_FLUX_IN = re.compile(r"(x_embedder|context_embedder|time_text_embed|(img|txt|time|vector|guidance)_in)(\.|$)")
_FLUX_OUT = re.compile(r"(norm_out|proj_out|final_layer)(\.|$)")
LAYERS = 3  # of a UNet's level: two resnets and what makes the picture smaller, or three resnets on the way up


@lru_cache(maxsize=16384)
def blocks_of(component: str, module: str) -> tuple[str, ...]:
    """The names of the block that a module is in, the closest first; none where it is in no block.

    >>> blocks_of("unet", "down_blocks.1.attentions.0.proj_in"), blocks_of("unet", "up_blocks.0.upsamplers.0.conv")
    (('IN04',), ('OUT02',))
    """
    if component.startswith("text_encoder"):
        return ("CLIP" if component == "text_encoder" else "T5", "BASE")
    block = _of_flux(module) if component.startswith("transformer") else _of_unet(module)
    return () if block is None else (block,)


def _of_unet(module: str) -> str | None:
    if module.startswith(("mid_block.", "middle_block.")):
        return "M00"
    if module.split(".")[0] == "conv_in":
        return "IN00"
    layer, outside = _LAYER.search(module), _LDM.search(module)
    if layer:
        side, kind = layer[1], layer[3]
        within = LAYERS - 1 if kind.endswith("samplers") else int(layer[4])
        number = LAYERS * int(layer[2]) + within + (side == "down")
        return f"{'IN' if side == 'down' else 'OUT'}{number:02}"
    return f"{'IN' if outside[1] == 'input' else 'OUT'}{int(outside[2]):02}" if outside else None


def _of_flux(module: str) -> str | None:
    block = _FLUX.search(module)
    if block:
        return f"{'D' if block[1] else 'S'}{int(block[2]):02}"
    return "IN" if _FLUX_IN.match(module) else "OUT" if _FLUX_OUT.match(module) else None


def listed(values: Sequence[float]) -> dict[str, float]:
    """The factors of a list of 12, 17, 20, 26 or 61 numbers. Raises SakugaError for another number of them."""
    order = ORDERS.get(len(values))
    if order is None:
        raise SakugaError(
            "this is no list of block weights",
            given=f"{len(values)} numbers",
            expected=", ".join(f"{count} ({names[0]} … {names[-1]})" for count, names in ORDERS.items()),
            do="give one number for each block",
        )
    rest = {} if order is FLUX else dict.fromkeys(SD, 0.0)
    return rest | {name: _number(value, name) for name, value in zip(order, values, strict=True)}


def preset(name: str) -> dict[str, float]:
    """The factors of a named list: ALL, NONE, INS, IND, INALL, MIDD, OUTD, OUTS, OUTALL, ALL0.5. The text encoder is on
    in all but NONE. Raises SakugaError for another name.
    """
    if name in ("ALL", "ALL0.5"):
        return dict.fromkeys(SD, 1.0 if name == "ALL" else 0.5)
    if name not in _PRESETS:
        raise SakugaError(
            "no such preset of block weights",
            given=name,
            expected=", ".join(PRESETS),
            nearest=nearest_name(name.upper(), PRESETS),
        )
    on = {"BASE", *_PRESETS[name]} if _PRESETS[name] else set()
    return {block: float(block in on) for block in SD}


def of_levels(levels: Levels) -> dict[str, float]:
    """The factors of diffusers' form: ``{"down": 0.5, "mid": 1, "up": {"block_0": [0.4, 0.8, 1.0]}}``.

    A list is for the layers of one level; what makes the picture smaller or larger goes with the last of them. What is
    not named keeps 1. Raises SakugaError for a name or a value of another form.
    """
    found: dict[str, float] = {}
    for side, given in levels.items():
        if side == "mid":
            found["M00"] = _number(given[0] if isinstance(given, list | tuple) and len(given) == 1 else given, side)
        elif side in ("down", "up"):
            found |= _of_side(side, given)
        else:
            raise SakugaError("no such part of a UNet", given=side, expected="down, mid, up", do="name one of these")
    return found


def _of_side(side: str, given: object) -> dict[str, float]:
    levels = given if isinstance(given, Mapping) else {f"block_{level}": given for level in range(4)}
    found: dict[str, float] = {}
    for name, value in levels.items():
        level = re.fullmatch(r"block_([0-3])", str(name))
        if level is None:
            title, expected = "no such level of a UNet", "block_0 … block_3"
            raise SakugaError(title, given=f"{side}: {name}", expected=expected, do="name one of these")
        layers = list(value) if isinstance(value, list | tuple) else [value]
        if len(layers) > LAYERS or not layers:
            raise SakugaError(
                "a level has up to three layers",
                given=f"{side}: {name}: {value}",
                expected="one number, or up to three",
                do="give one number for the whole level",
            )
        layers += layers[-1:] * (LAYERS - len(layers))
        first = LAYERS * int(level[1]) + (side == "down")
        prefix = "IN" if side == "down" else "OUT"
        for number, layer in enumerate(layers, first):
            if f"{prefix}{number:02}" in BLOCKS:
                found[f"{prefix}{number:02}"] = _number(layer, f"{side}: {name}")
    return found


def _number(given: object, where: str) -> float:
    if isinstance(given, bool) or not isinstance(given, Real) or not math.isfinite(given):
        raise SakugaError(
            "a block weight is not a finite number",
            given=f"{where}: {reprlib.repr(given)}",
            expected="a plain number, such as 0.5",
            do="give another one",
        )
    return float(given)
