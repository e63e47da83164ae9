"""Spelling: what a module and its leaves are called in the layouts that tools write: kohya's, diffusers', PEFT's.

A Label is a module by its dotted name; kohya's stem is made of it, unless the file that it comes from had one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sakuga.lora.formats.kohya import STEM
from sakuga.lora.formats.layout import Group
from sakuga.tensors.names import FLAT_PREFIXES, T5, T5_PREFIX, NameMap, Seat, Tree
from sakuga.tensors.tables.clip_text import FIRST, LEVEL

Layout = Literal["kohya", "diffusers", "peft"]
LAYOUTS: tuple[Layout, ...] = ("kohya", "diffusers", "peft")
WEIGHTED = ("a1", "a2", "b1", "b2", "bm", "oft_R", "q_layer", "p_layer")  # leaves that files write with .weight
_DOTTED = {
    "down": "lora_A.weight",
    "up": "lora_B.weight",
    "up_bias": "lora_B.bias",
    "magnitude": "lora_magnitude_vector",
    "lora_embedding_A": "lora_embedding_A",
    "lora_embedding_B": "lora_embedding_B",
}
LEAF_KEYS: Mapping[Layout, Mapping[str, str]] = {
    "kohya": {
        "down": "lora_down.weight",
        "up": "lora_up.weight",
        "mid": "lora_mid.weight",
        "up_bias": "lora_up.bias",
        "magnitude": "dora_scale",
        "scaled_oft": "oft_R.scaled_oft",
        **{leaf: f"{leaf}.weight" for leaf in WEIGHTED},
    },
    "diffusers": _DOTTED,
    "peft": _DOTTED,
}
DENOISER = "transformer"


@dataclass(frozen=True, kw_only=True)
class Label:
    """A module: its component and dotted name, empty where they are not known, and kohya's stem where a file had it."""

    component: str = ""
    path: str = ""
    stem: str = ""

    @property
    def name(self) -> str:
        """For people and for records: the dotted name with its component, or else the stem."""
        return f"{self.component}.{self.path}" if self.path else self.stem


class Spelling:
    """The names that modules are written by, for one model or family."""

    def __init__(self, names: NameMap) -> None:
        self._names = names
        self._known: dict[tuple[Seat, ...], list[str]] = {}
        for (_, name), seats in names.dotted.items():
            self._known.setdefault(seats, []).append(name)

    def label(self, seats: tuple[Seat, ...]) -> Label:
        """The label of what lies on these seats: the model's own name, or that of the whole that has these parts."""
        component = seats[0].component
        tree = self._names.trees[component]
        if len(seats) == 1 and seats[0].take is None and seats[0].into is None:
            return Label(component=component, path=usual_name(component, seats[0].module, tree))
        return Label(component=component, path=self._known[seats][0])

    def label_of(self, group: Group, seats: tuple[Seat, ...]) -> Label:
        """The label of a module of a file, with the stem that the file has for it."""
        return replace(self.label(seats), stem=stem_of(group))

    def with_stems(self, labels: Collection[Label]) -> dict[Label, Label]:
        """Each label with its stem in kohya's layout; those that have one keep it."""
        native = {component: self._native(component, labels) for component in {one.component for one in labels}}
        return {
            label: label if label.stem else replace(label, stem=self._stem(label, native[label.component]))
            for label in labels
        }

    def _native(self, component: str, labels: Iterable[Label]) -> Mapping[str, str] | None:
        """Path → the name that kohya's trainers use for a module of a transformer, where all the labels have one."""
        if not component.startswith(DENOISER):
            return None
        found: dict[str, str] = {}
        for label in labels:
            if label.component == component:
                seats = self._names.find_dotted(component, label.path)
                other = [name for name in self._known.get(seats, ()) if name != seats[0].module]
                whole = [name for name in other if not self._is_slice(component, name)]
                if not whole:
                    return None
                found[label.path] = whole[0]
        return found

    def _is_slice(self, component: str, name: str) -> bool:
        parent, _, last = name.rpartition(".")
        return last.isdigit() and len(self._names.find_dotted(component, parent)) > 1

    def _stem(self, label: Label, native: Mapping[str, str] | None) -> str:
        tree = self._names.trees[label.component]
        usual = FLAT_PREFIXES.get(label.component, (f"lora_{label.component}_",))
        prefix, path = usual[0], label.path
        if native is not None:
            path = native[label.path]
        elif label.component == DENOISER and any(name not in tree for _, name in self._names.dotted):
            prefix = f"lora_{DENOISER}_"  # diffusers' names where kohya's trainers use others
        elif T5 in tree:
            prefix = T5_PREFIX
        elif label.component == "text_encoder" and "text_encoder_2" in self._names.components:
            prefix = "lora_te1_"
        return prefix + path.replace(".", "_")


def usual_name(component: str, module: str, tree: Tree) -> str:
    """A module's name as files write it: CLIP's have the level ``text_model``, whether the class has it or not."""
    if component.startswith("text_encoder") and FIRST in tree and module != "text_projection":
        return LEVEL + module
    return module


def stem_of(group: Group) -> str:
    """kohya's stem of a module, or empty if its file is of another layout."""
    return group.path if group.component is None and STEM.match(group.path) else ""


def plain_stem(label: Label) -> str:
    """kohya's stem by the simplest rule: the usual prefix, and underscores for dots."""
    return FLAT_PREFIXES.get(label.component, (f"lora_{label.component}_",))[0] + label.path.replace(".", "_")


def key_of(label: Label, leaf: str, layout: Layout) -> str:
    """The key of a leaf. A leaf that the layout's table does not have keeps its name.

    >>> key_of(Label(component="unet", path="conv_in"), "up", "diffusers")
    'unet.conv_in.lora_B.weight'
    """
    written = LEAF_KEYS[layout].get(leaf, leaf)
    if layout == "kohya":
        return f"{label.stem}.{written}"
    return f"base_model.model.{label.path}.{written}" if layout == "peft" else f"{label.name}.{written}"
