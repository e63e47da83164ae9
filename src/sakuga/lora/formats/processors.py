"""Attention processors: diffusers before 0.22 kept factors in them, as ``….processor.to_q_lora.down.weight``,
and AnimateDiff's MotionLoRA and domain adapter still do. ``to_out`` was a list there and is ``to_out.0`` now.
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
from sakuga.tensors.names import NameMap

_KEY = re.compile(r"(.*?)\.?processor\.(to_[qkv]|to_out)_lora\.(down|up|alpha)(?:\.weight)?")
_MOTION = ".motion_modules."
_MIDDLE = f"mid_block{_MOTION}"


class _Processors:
    name = "processors"

    def recognise(self, file: Header) -> str | None:
        """A key with ``processor.to_q_lora`` in it."""
        return first_key(file, _taken_apart)

    def read(self, file: Header) -> Reading:
        """Groups by component and path; the text encoder beside them is in the dotted layout."""
        keys, rest = gather(file, lambda key: _taken_apart(key) or split_dotted(key), "diffusers' processor")
        return replace(rest, groups=collect(keys))

    def finder(self, names: NameMap, reading: Reading, file: Header) -> Finder:
        """By dotted path. Motion modules of the middle block, which only their second version has, are no loss where
        the model has the others.
        """
        moving = {
            _MOTION in module and not module.startswith(_MIDDLE) for tree in names.trees.values() for module in tree
        }
        middle = any(module.startswith(_MIDDLE) for tree in names.trees.values() for module in tree)

        def find(group: Group) -> Spot:
            if group.path.startswith(_MIDDLE) and True in moving and not middle:
                return Spot(reason="the model's motion modules are of a version without a middle block", needless=True)
            return find_dotted(group.component, group.path, names)

        return find


def _taken_apart(key: str) -> Key | None:
    if "processor." not in key:
        return None
    component, plain = without_component(key)
    found = _KEY.fullmatch(plain)
    if found is None:
        return None
    layer = "to_out.0" if found[2] == "to_out" else found[2]
    path = f"{found[1]}.{layer}".lstrip(".")
    stem = f"{component}.{path}" if component else path
    return Key(key=key, stem=stem, component=component, path=path, leaf=found[3])


PROCESSORS: Format = _Processors()
