"""The dotted layouts: the module's own name, then the leaf. ``unet.….lora_A.weight``, ``….lora_B.default.weight`` after
``base_model.model``, ``diffusion_model.….lora_down.weight``, ``….lora_linear_layer.up.weight``, or no prefix at all.

Prefixes are compared whole, with their dot, so that ``text_encoder`` never swallows ``text_encoder_2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sakuga.lora.algorithms.lora import WIDENS
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
from sakuga.lora.formats.peft_config import PeftConfig, config_of
from sakuga.tensors.names import NameMap

# What a key may begin with → the component of the model; None: whichever has the module.
PREFIXES: tuple[tuple[str, str | None], ...] = (
    *((f"{name}.", name) for name in ("unet", "transformer", "transformer_2")),
    *((f"{name}.", name) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")),
    ("text_encoders.clip_l.transformer.", "text_encoder"),
    ("text_encoders.clip_h.transformer.", "text_encoder"),
    ("text_encoders.clip_g.transformer.", "text_encoder_2"),
    *((f"text_encoders.{name}.transformer.", None) for name in ("t5xxl", "umt5xxl", "qwen25_7b")),
    ("clip_l.", "text_encoder"),
    ("clip_g.", "text_encoder_2"),
    ("t5.", None),
)
# A model that has no such component may call it so: some trainers say "unet" of every network that denoises.
SYNONYMS = {"unet": "transformer", "transformer": "unet"}
# Where the leaf begins, for names whose last parts are not just the last one.
_LEAF = re.compile(
    r"lora_|lora$|hada_|lokr_|oft_|boft_|glora_|ia3_l|on_input$|ranknum$|dora_scale$|magnitude$|diff(_b)?$|[wb]_norm$"
    r"|(set|reshape)_weight$|bias_(indices|values|size)$|lambda_layer$|[pq]_layer$|alpha$|rescale$|scalar$|[ab][12]$"
)
SCALED = ("up", "hada_", "lokr_", "lora_embedding_")  # leaves of PEFT's algorithms that alpha multiplies
# Black Forest Labs' control adapters store these norms whole.
FIRST = "img_in"  # their name of the layer that the picture enters by
_STORED_WHOLE = re.compile(r"(?:.*\.)?norm\.(?:query|key)_norm")


class Dotted:
    """The layout of all dotted names that none of ``others`` knows as its own."""

    name = "dotted"

    def __init__(self, others: tuple[Format, ...]) -> None:
        self.others = others

    def recognise(self, file: Header) -> str | None:
        """A dotted key with an adapter's leaf."""
        reason = first_key(file, _is_adapter_key)
        return None if reason is None or any(other.recognise(file) for other in self.others) else reason

    def read(self, file: Header) -> Reading:
        """Groups by component and path, with what a PEFT config says where there is one."""
        config = config_of(file)
        keys, rest = gather(file, lambda key: split_dotted(key, config), "a dotted")
        groups = one_adapter(keys, collect(keys))
        wrapped = any(name.startswith("base_model.model.") for name in file.names)
        if config is None:
            peft = wrapped or any(key.adapter for key in keys)
            bare = wrapped and _scaled(groups) and not any("alpha" in group.leaves for group in groups)
            note = ("no adapter_config.json is beside it: alpha is taken to be the rank",) if bare else ()
            told = tuple(_control(_dialect(group, peft=peft), keys) for group in groups)
            return replace(rest, groups=told, notes=note)
        told = tuple(_control(_configured(group, config, file), keys) for group in groups)
        open_ones = [group for group in told if "alpha" not in group.leaves and group.facts.alpha is not None]
        notes = (config.note,) if _scaled(open_ones) else ()
        return replace(rest, groups=told, notes=notes, config=config.text, stated=config.base)

    def finder(self, names: NameMap, reading: Reading, file: Header) -> Finder:
        """By component and dotted path."""
        return lambda group: find_dotted(group.component, group.path, names)


def find_dotted(component: str | None, path: str, names: NameMap) -> Spot:
    """Where a dotted path is; without a component it must be in exactly one."""
    if component is not None and component not in names.components:
        component = SYNONYMS.get(component, component)
    among = names.components if component is None else (component,)
    return Spot.among({one: seats for one in among if (seats := names.find_dotted(one, path))})


def split_dotted(key: str, config: PeftConfig | None = None) -> Key | None:
    """The key taken apart. One without an adapter's leaf counts its last part as one, to be refused by that name."""
    component, plain = without_component(key)
    parts = plain.split(".")
    at = _leaf_start(parts) or max(1, len(parts) - 1)
    path, (leaf, adapter) = ".".join(parts[:at]), canonical(".".join(parts[at:]))
    if leaf == "scale" and _STORED_WHOLE.fullmatch(path):
        leaf = "set_weight"
    elif leaf in ("weight", "bias") and config is not None:
        path, leaf = config.replaced(component, path, leaf)
    stem = f"{component}.{path}" if component else path
    return Key(key=key, stem=stem, component=component, path=path, leaf=leaf, adapter=adapter)


def without_component(key: str) -> tuple[str | None, str]:
    """(component or None, the rest of the key), without the prefixes of wrappers before and behind it."""
    plain = without_containers(key)
    for prefix, component in PREFIXES:
        if plain.startswith(prefix):
            return component, without_containers(plain[len(prefix) :])
    return None, plain


def _is_adapter_key(key: str) -> bool:
    return _leaf_start(without_component(key)[1].split(".")) is not None


def _leaf_start(parts: list[str]) -> int | None:
    """Where among the dotted parts an adapter's leaf begins; the first part is always a name."""
    return next((at for at in range(1, len(parts)) if _LEAF.match(parts[at])), None)


def _dialect(group: Group, *, peft: bool) -> Group:
    """PEFT's rules hold where PEFT wrote the keys; its leaves are no one else's in dotted names."""
    own = peft or not {"oft_R", "ia3_l", "boft_R"}.isdisjoint(group.leaves)
    own = own and "scaled_oft" not in group.leaves
    return replace(group, facts=replace(group.facts, dialect="peft")) if own else group


def _scaled(groups: Iterable[Group]) -> bool:
    """Whether any of them is of an algorithm that is multiplied by alpha; rotations and IA3 are not."""
    return any(leaf.startswith(SCALED) for group in groups for leaf in group.leaves)


def _control(group: Group, keys: Sequence[Key]) -> Group:
    """The first layer of a control adapter, which takes the picture to be followed beside the noise."""
    if group.path != FIRST or not group.leaves.keys() <= {"up", "down", "up_bias", "alpha"}:
        return group
    if not any(key.leaf == "set_weight" and _STORED_WHOLE.fullmatch(key.path) for key in keys):
        return group
    return replace(group, facts=replace(group.facts, options={**group.facts.options, WIDENS: True}))


def _configured(group: Group, config: PeftConfig, file: Header) -> Group:
    down = group.leaves.get("down")
    rank = (file.shape(down) or (0,))[0] if down is not None and down not in file.extras else 0
    facts, problem = config.facts(group.component, group.path, rank, group.leaves)
    return replace(group, facts=facts, problem=group.problem or problem)
