"""kohya's layout: the module's name with underscores behind a prefix, ``lora_unet_…`` or ``lora_te_…``, then one dot
and the leaf. Names are never taken apart: the NameMap knows each as a whole, in diffusers' and in native naming.

LyCORIS, OneTrainer and SimpleTuner write the same with prefixes of their own.
"""

from __future__ import annotations

import re
from dataclasses import replace

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
    one_adapter,
)
from sakuga.lora.formats.leaves import canonical, without_containers
from sakuga.tensors.names import NameMap

STEM = re.compile(r"(?:lora_(?:unet|te\d?|transformer|prior_unet|prior_te)|oft_unet|lycoris)_\w")
_DENOISER = re.compile(r"(?:lora_unet_{1,2}|lora_transformer_|oft_unet_|lycoris_)")


class _Kohya:
    name = "kohya"

    def recognise(self, file: Header) -> str | None:
        """A key such as ``lora_unet_mid_block_attentions_0_proj_in.lora_down.weight``."""
        return first_key(file, _split)

    def read(self, file: Header) -> Reading:
        """Groups by stem; keys without kohya's prefix are refused."""
        keys, rest = gather(file, _split, "kohya's")
        groups = tuple(_dialect(group) for group in collect(keys))
        return replace(rest, groups=one_adapter(keys, groups))

    def finder(self, names: NameMap, reading: Reading, file: Header) -> Finder:
        """The whole stem, prefix and all, in the map."""
        return lambda group: _find(group.path, names)


def _find(stem: str, names: NameMap) -> Spot:
    """Where a stem is. A prefix of denoisers does not say which of several (the experts of Wan 2.2) is meant; LyCORIS'
    own prefix says no component at all.
    """
    prefix = _DENOISER.match(stem)
    if prefix:
        plain = stem[prefix.end() :]
        found = {one: there for one, known in names.stems.items() if (there := known.get(plain, ()))}
        if len(found) > 1 or prefix[0] == "lycoris_":
            return Spot.among(found)
    return Spot(seats=names.find(stem))


def _split(key: str) -> Key | None:
    stem, dot, leaf = key.partition(".")
    if dot and not STEM.match(stem):  # perhaps behind a container
        stem, dot, leaf = without_containers(key).partition(".")
    if not dot or not STEM.match(stem):
        return None
    leaf, adapter = canonical(leaf)
    return Key(key=key, stem=stem, path=stem, leaf=leaf, adapter=adapter)


def _dialect(group: Group) -> Group:
    """Whose reading of OFT holds: kohya's own by the prefix; PEFT's leaf under an underscore name is OneTrainer's."""
    if group.path.startswith("oft_unet_"):
        return replace(group, facts=replace(group.facts, dialect="kohya"))
    if "oft_R" in group.leaves:
        return replace(group, facts=replace(group.facts, dialect="onetrainer"))
    return group


KOHYA: Format = _Kohya()
