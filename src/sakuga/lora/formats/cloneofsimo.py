"""cloneofsimo's first layout: pairs without names, in the order in which the trainer met the layers of diffusers' UNet
of 2022: ``unet:0:up``, ``unet:0:down`` …, or a pickled list of up, down, up, down.

The order is rebuilt from the model's names. Nothing but the shapes can tell that a pair has its own layer, so the first
one that does not fit refuses the file. Scale 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from sakuga.lora.adapter import Leftover
from sakuga.lora.formats.layout import Finder, Format, Group, Header, Key, Reading, Spot, collect, first_key
from sakuga.tensors.names import NameMap, Seat, Tree

_KEY = re.compile(r"([a-z_]+):(\d+):(up|down)")
_LISTED = re.compile(r"\d+")
_EMBEDDING = "<embed>"
# Where a layer stands: blocks down, then up, then the middle; in each block attentions before resnets.
_SIDES = {"down_blocks": 0, "up_blocks": 1, "mid_block": 2}
_ATTENTION = re.compile(
    r"(down_blocks|up_blocks|mid_block)(?:\.(\d+))?\.attentions\.(\d+)\.transformer_blocks\.(\d+)\."
    r"(attn[12]\.to_(?:[qkv]|out\.0)|ff\.net\.0\.proj)"
)
# A transformer block of 2022: attn1, then the feed-forward net, then attn2.
_LAYERS = (
    "attn1.to_q attn1.to_k attn1.to_v attn1.to_out.0 ff.net.0.proj attn2.to_q attn2.to_k attn2.to_v attn2.to_out.0"
)
_RESNET = re.compile(
    r"(down_blocks|up_blocks|mid_block)(?:\.(\d+))?\.resnets\.(\d+)\.(conv1|time_emb_proj|conv2|conv_shortcut)"
)
_TEXT = re.compile(r"(?:text_model\.)?encoder\.layers\.(\d+)\.self_attn\.(k_proj|v_proj|q_proj|out_proj)")
_INNER = {name: at for at, name in enumerate([*_LAYERS.split(), "conv1", "time_emb_proj", "conv2", "conv_shortcut"])}
_INNER |= {name: at for at, name in enumerate(("k_proj", "v_proj", "q_proj", "out_proj"))}


class _Cloneofsimo:
    name = "cloneofsimo"

    def recognise(self, file: Header) -> str | None:
        """A key such as ``unet:0:up``, or nothing but the entries of a list."""
        reason = first_key(file, lambda key: ":" in key and _KEY.fullmatch(key))
        if reason or not file.names or not all(_LISTED.fullmatch(name) for name in file.names):
            return reason
        return f"a list of {len(file.names)} tensors without names"

    def read(self, file: Header) -> Reading:
        """Groups by component and number; tensors that the metadata calls embeddings are kept aside."""
        keys: list[Key] = []
        leftovers: list[Leftover] = []
        embeddings: dict[str, dict[str, str]] = {}
        listed = _component_of_list(file)
        for name in file.names:
            found = _KEY.fullmatch(name)
            if found:
                keys.append(_key(name, found[1], int(found[2]), found[3]))
            elif _LISTED.fullmatch(name):
                keys.append(_key(name, listed, int(name) // 2, "down" if int(name) % 2 else "up"))
            elif file.metadata.get(name) == _EMBEDDING:
                embeddings[name] = {"emb_params": name}
            else:
                leftovers.append(Leftover(key=name, reason="not a key of cloneofsimo's layout", refused=True))
        leftovers += [Leftover(key=name, reason="not a tensor", refused=False) for name in file.extras]
        return Reading(groups=collect(keys), leftovers=tuple(leftovers), embeddings=embeddings)

    def finder(self, names: NameMap, reading: Reading, file: Header) -> Finder:
        """The n-th pair on the n-th layer, when every pair fits the layer of its turn."""
        pairs: dict[str, dict[int, Group]] = {}
        for group in reading.groups:
            pairs.setdefault(group.component or "", {})[_number(group)] = group
        orders = {component: _order(names.trees.get(component, {}), found, file) for component, found in pairs.items()}
        problem = next((text for c, found in pairs.items() if (text := _problem(found, orders[c], c, names, file))), "")

        def find(group: Group) -> Spot:
            component = group.component or ""
            if problem:
                return Spot(reason=problem)
            return Spot(seats=(Seat(component=component, module=orders[component][_number(group)]),))

        return find


def _key(name: str, component: str, number: int, leaf: str) -> Key:
    return Key(key=name, stem=f"{component}:{number}", component=component, path=str(number), leaf=leaf)


def _number(group: Group) -> int:
    return int(group.path)


def _component_of_list(file: Header) -> str:
    """A list does not say whose it is; its trainer put the text encoder's into ``….text_encoder.pt``."""
    return "text_encoder" if file.path.stem.endswith("text_encoder") else "unet"


def _order(tree: Tree | Iterable[str], pairs: dict[int, Group], file: Header) -> list[str]:
    """The layers of a component in the trainer's order, with those of its resnets where the file has them."""
    extended = _has_resnets(pairs, file)
    found: list[tuple[tuple[int, ...], str]] = []
    for module in tree:
        text, attention = _TEXT.fullmatch(module), _ATTENTION.fullmatch(module)
        resnet = _RESNET.fullmatch(module) if extended else None
        if text:
            found.append(((int(text[1]), _INNER[text[2]]), module))
        elif attention:
            side, block, index, depth, layer = attention.groups()
            found.append(((_SIDES[side], int(block or 0), 0, int(index), int(depth), _INNER[layer]), module))
        elif resnet:
            side, block, index, layer = resnet.groups()
            found.append(((_SIDES[side], int(block or 0), 1, int(index), 0, _INNER[layer]), module))
    return [module for _, module in sorted(found)]


def _has_resnets(pairs: dict[int, Group], file: Header) -> bool:
    """Whether resnets were trained too: the file says so, or has factors of a kernel."""
    try:
        targets = json.loads(file.metadata.get("unet", "[]"))
    except (ValueError, RecursionError):
        targets = []
    if isinstance(targets, list) and "ResnetBlock2D" in targets:
        return True
    downs = (group.leaves["down"] for group in pairs.values() if "down" in group.leaves)
    return any(len(file.shape(down)) == 4 for down in downs)


def _problem(pairs: dict[int, Group], order: list[str], component: str, names: NameMap, file: Header) -> str:
    """Why the pairs are not those of these layers; empty when each fits."""
    if component not in names.components:
        return f"there is no {component} in the model"
    if sorted(pairs) != list(range(len(order))):
        return f"its {len(pairs)} pairs have only their order, and the model has {len(order)} layers for them"
    for number, module in enumerate(order):
        shape = names.trees[component].get(module, {}).get("weight")
        leaves = pairs[number].leaves
        if shape is None or not {"up", "down"} <= leaves.keys():
            continue
        up, down = file.shape(leaves["up"]), file.shape(leaves["down"])
        if not up or len(down) < 2 or (up[0], *down[1:]) != tuple(shape):
            own = [up[0] if up else 0, *down[1:]]
            return f"pair {number} changes a weight of {own}, but {module}, whose turn it is, has {list(shape)}"
    return ""


CLONEOFSIMO: Format = _Cloneofsimo()
