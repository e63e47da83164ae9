"""kohya's layout: the module's name with underscores behind a prefix, ``lora_unet_…`` or ``lora_te_…``, then one dot
and the leaf. Names are never taken apart: the NameMap knows each as a whole, in diffusers' and in LDM naming.
"""

from __future__ import annotations

import re

from sakuga.lora.adapter import Leftover
from sakuga.lora.formats.layout import Format, Group, Header, Key, Reading, collect
from sakuga.lora.formats.leaves import LEAVES, aside, canonical, without_containers
from sakuga.tensors.names import NameMap, Place

STEM = re.compile(r"(lora_(unet|te\d?|transformer|prior_unet|prior_te)|oft_unet|lllite_unet|lycoris)_\w")


class _Kohya:
    name = "kohya"

    def recognise(self, file: Header) -> str | None:
        """A key such as ``lora_unet_mid_block_attentions_0_proj_in.lora_down.weight``."""
        key = next((key for key in file.names if _split(key)), None)
        return f"keys such as {key}" if key else None

    def read(self, file: Header) -> Reading:
        """Groups by stem; keys without kohya's prefix are refused."""
        keys: list[Key] = []
        leftovers: list[Leftover] = []
        for name in (*file.names, *file.extras):
            beside, key = aside(name), _split(name)
            if beside:
                leftovers.append(Leftover(key=name, reason=beside[0], refused=beside[1]))
            elif name in file.extras and (key is None or key.leaf not in LEAVES.values()):
                leftovers.append(Leftover(key=name, reason="not a tensor", refused=False))
            elif key is None:
                leftovers.append(Leftover(key=name, reason="not a key of kohya's layout", refused=True))
            else:
                keys.append(key)
        return Reading(groups=collect(keys), leftovers=tuple(leftovers))

    def find(self, group: Group, names: NameMap, components: tuple[str, ...]) -> Place | None:
        """The whole stem, prefix and all, in the map."""
        return names.find(group.path)


def _split(key: str) -> Key | None:
    plain = without_containers(key)
    stem, dot, leaf = plain.partition(".")
    if not dot or not STEM.match(stem):
        return None
    leaf, adapter = canonical(leaf)
    return Key(key=key, stem=stem, component=None, path=stem, leaf=leaf, adapter=adapter)


KOHYA: Format = _Kohya()
