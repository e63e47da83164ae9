"""The dotted layouts of diffusers and PEFT, ``unet.….lora_A.weight`` and ``base_model.model.….lora_B.default.weight``,
and diffusers' older spellings: ``….processor.to_q_lora.down.weight``, ``….lora_linear_layer.up…``, ``….lora.down…``.

Prefixes are compared whole, with their dot, so that ``text_encoder`` never swallows ``text_encoder_2``.
"""

from __future__ import annotations

import re
from dataclasses import replace

from sakuga.lora.adapter import Leftover
from sakuga.lora.formats.kohya import KOHYA
from sakuga.lora.formats.layout import Format, Group, Header, Key, Reading, collect, refuse_all
from sakuga.lora.formats.leaves import LEAVES, aside, canonical, without_containers
from sakuga.lora.formats.peft_config import config_of
from sakuga.tensors.names import NameMap, Place

COMPONENTS = ("unet", "text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "transformer_2")
# diffusers before 0.22 kept the factors in the attention processor; "to_out" was a list there and is one now.
_PROCESSOR = re.compile(r"(.*?)\.?processor\.(to_[qkv]|to_out)_lora\.(down\.weight|up\.weight|alpha)")
# XLabs' Flux adapters: not read here, but grouped so that the refusal counts modules and not keys.
_XLABS = re.compile(r"(.*\.processor\.(?:qkv|proj)_lora[12]?)\.((?:down|up)\.weight)")
# Where the leaf begins, for names whose last parts are not just the last one.
_LEAF = re.compile(
    r"lora_|lora$|hada_|lokr_|oft_|boft_|glora_|ia3_l|on_input$|ranknum$|dora_scale$|magnitude$|diff(_b)?$|[wb]_norm$"
    r"|(set|reshape)_weight$|bias_(indices|values|size)$|lambda_layer$|[pq]_layer$|alpha$"
)


class _Peft:
    name = "PEFT"

    def recognise(self, file: Header) -> str | None:
        """A dotted key with an adapter's leaf, and none with kohya's prefix."""
        if KOHYA.recognise(file):
            return None
        key = next((key for key in file.names if _is_adapter_key(key)), None)
        return f"keys such as {key}" if key else None

    def read(self, file: Header) -> Reading:
        """Groups by component and path, with the alphas of a PEFT config where there is one."""
        keys: list[Key] = []
        leftovers: list[Leftover] = []
        for name in (*file.names, *file.extras):
            beside = aside(name)
            if beside:
                leftovers.append(Leftover(key=name, reason=beside[0], refused=beside[1]))
            elif name in file.extras and not (_is_adapter_key(name) and _split(name).leaf in LEAVES.values()):
                leftovers.append(Leftover(key=name, reason="not a tensor", refused=False))
            else:
                keys.append(_split(name))
        groups = collect(keys)
        adapters = sorted({key.adapter for key in keys if key.adapter})
        if len(adapters) > 1:
            several = f"the file holds several adapters ({', '.join(adapters)}), and one is applied at a time"
            return Reading(groups=refuse_all(groups, several), leftovers=tuple(leftovers))
        return _with_config(file, groups, tuple(leftovers))

    def find(self, group: Group, names: NameMap, components: tuple[str, ...]) -> Place | None:
        """By component and dotted path; a name without a component must be in exactly one."""
        among = (group.component,) if group.component else components
        found = [place for component in among if (place := names.find_dotted(component, group.path))]
        return found[0] if len(found) == 1 else None


def _is_adapter_key(key: str) -> bool:
    plain = without_containers(key)
    return bool(_PROCESSOR.fullmatch(plain) or _XLABS.fullmatch(plain)) or _leaf_start(plain) is not None


def _leaf_start(plain: str) -> int | None:
    """Where among the dotted parts an adapter's leaf begins; the first part is always a name."""
    parts = plain.split(".")
    return next((at for at in range(1, len(parts)) if _LEAF.match(parts[at])), None)


def _split(key: str) -> Key:
    """The key taken apart. A key without an adapter's leaf counts its last part as one, to be refused by that name."""
    plain, component = without_containers(key), None
    for name in COMPONENTS:
        if plain.startswith(name + "."):
            plain, component = without_containers(plain[len(name) + 1 :]), name
            break
    processor, xlabs = _PROCESSOR.fullmatch(plain), _XLABS.fullmatch(plain)
    adapter: str | None = None
    if processor:
        layer = "to_out.0" if processor[2] == "to_out" else processor[2]
        path, leaf = f"{processor[1]}.{layer}".lstrip("."), processor[3].removesuffix(".weight")
    elif xlabs:
        path, leaf = xlabs[1], xlabs[2].removesuffix(".weight")
    else:
        parts = plain.split(".")
        at = _leaf_start(plain) or max(1, len(parts) - 1)
        path = ".".join(parts[:at])
        leaf, adapter = canonical(".".join(parts[at:]))
    stem = f"{component}.{path}" if component else path
    return Key(key=key, stem=stem, component=component, path=path, leaf=leaf, adapter=adapter)


def _with_config(file: Header, groups: tuple[Group, ...], leftovers: tuple[Leftover, ...]) -> Reading:
    """The scale is not in PEFT's tensors: it stands in a config beside the file or in diffusers' header."""
    config = config_of(file)
    if config is None:
        wrapped = any(name.startswith("base_model.model.") for name in file.names)
        bare = wrapped and not any("alpha" in group.leaves for group in groups)
        note = ("no adapter_config.json is beside it: alpha is taken to be the rank",) if bare else ()
        return Reading(groups=groups, leftovers=leftovers, notes=note)
    scaled = []
    for group in groups:
        down = group.leaves.get("down")
        rank = (file.shape(down) or (0,))[0] if down in file.names else 0
        alpha, problem = config.alpha(group.component, group.path, rank)
        scaled.append(replace(group, alpha=alpha, problem=group.problem or problem))
    return Reading(groups=tuple(scaled), leftovers=leftovers, notes=(config.note,), config=config.text)


PEFT: Format = _Peft()
