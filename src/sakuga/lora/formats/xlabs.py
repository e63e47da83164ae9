"""XLabs' Flux adapters (and USO's): the factors in a processor, ``double_blocks.0.processor.qkv_lora1.down.weight``.

In blocks of two streams 1 is the picture's and 2 the text's; in blocks of one stream ``qkv_lora`` changes only the
first three parts of ``linear1``. Scale 1.
"""

from __future__ import annotations

import re
from dataclasses import replace

from sakuga.lora.formats.dotted import find_dotted, split_dotted, without_component
from sakuga.lora.formats.layout import (
    Finder,
    Format,
    Group,
    Header,
    Key,
    Reading,
    Spot,
    collect,
    first_key,
    gather,
)
from sakuga.tensors.names import NameMap, Seat

_KEY = re.compile(r"((double|single)_blocks\.\d+)\.processor\.(qkv|proj)_lora([12]?)\.(down|up)\.weight")
# (stream, factor, number) → what Black Forest Labs call the layer
_LAYERS = {
    ("double", "qkv", "1"): "img_attn.qkv",
    ("double", "qkv", "2"): "txt_attn.qkv",
    ("double", "proj", "1"): "img_attn.proj",
    ("double", "proj", "2"): "txt_attn.proj",
    ("single", "qkv", ""): "linear1",
    ("single", "proj", ""): "linear2",
}


class _XLabs:
    name = "XLabs"

    def recognise(self, file: Header) -> str | None:
        """A key such as ``double_blocks.0.processor.qkv_lora1.down.weight``."""
        return first_key(file, _taken_apart)

    def read(self, file: Header) -> Reading:
        """Groups by layer; what else is in the file is no adapter of a layer and is refused by its name."""
        keys, rest = gather(file, lambda key: _taken_apart(key) or split_dotted(key), "XLabs'")
        return replace(rest, groups=collect(keys), stated="flux.1")

    def finder(self, names: NameMap, reading: Reading, file: Header) -> Finder:
        """By Black Forest Labs' names."""

        def find(group: Group) -> Spot:
            if not group.path.endswith(".linear1"):
                return find_dotted(None, group.path, names)
            up = group.leaves.get("up")
            rows = file.shape(up)[0] if up is not None and up not in file.extras and file.shape(up) else 0
            return Spot(seats=_thirds(group.path, rows, names))

        return find


def _thirds(linear1: str, rows: int, names: NameMap) -> tuple[Seat, ...]:
    """Where q, k and v of a fused layer are, each with its third of the adapter's rows."""
    third = rows // 3
    found = [
        replace(seat, take=((index * third, (index + 1) * third),), total=rows)
        for index in range(3)
        for seat in find_dotted(None, f"{linear1}.{index}", names).seats
    ]
    return tuple(found) if len(found) == 3 and rows == 3 * third else ()


def _taken_apart(key: str) -> Key | None:
    found = _KEY.fullmatch(without_component(key)[1]) if ".processor." in key else None
    layer = _LAYERS.get((found[2], found[3], found[4])) if found else None
    if found is None or layer is None:
        return None
    stem = f"{found[1]}.processor.{found[3]}_lora{found[4]}"
    return Key(key=key, stem=stem, path=f"{found[1]}.{layer}", leaf=found[5])


XLABS: Format = _XLabs()
