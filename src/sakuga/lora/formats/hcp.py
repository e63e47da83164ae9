"""HCP-Diffusion's layout: ``down_blocks.0.….to_q.___.layer.W_down``. Plain LoRA; the names are diffusers'."""

from __future__ import annotations

import re
from dataclasses import replace

from sakuga.lora.formats.dotted import find_dotted, without_component
from sakuga.lora.formats.layout import Finder, Format, Header, Key, Reading, collect, first_key, gather
from sakuga.tensors.names import NameMap

_FACTOR = re.compile(r"(.+?)(?:\.?___)?\.layer\.W_(down|up)")
_ALPHA = re.compile(r"(.+?)\.?___\.(alpha)")


class _Hcp:
    name = "HCP-Diffusion"

    def recognise(self, file: Header) -> str | None:
        """A key that ends with ``.layer.W_down``."""
        return first_key(file, lambda key: ".layer.W_" in key and _FACTOR.fullmatch(key))

    def read(self, file: Header) -> Reading:
        """Groups by path."""
        keys, rest = gather(file, _taken_apart, "HCP-Diffusion's")
        return replace(rest, groups=collect(keys))

    def finder(self, names: NameMap, reading: Reading, file: Header) -> Finder:
        """By dotted path."""
        return lambda group: find_dotted(group.component, group.path, names)


def _taken_apart(key: str) -> Key | None:
    found = _FACTOR.fullmatch(key) or _ALPHA.fullmatch(key)
    if found is None:
        return None
    component, path = without_component(found[1])
    stem = f"{component}.{path}" if component else path
    return Key(key=key, stem=stem, component=component, path=path, leaf=found[2])


HCP: Format = _Hcp()
