"""NameMap: from the name that a file uses for a module to the module's place in the real model.

It is a dictionary, built once from the module trees of the models that are loaded and from the naming tables; a name is
looked up whole and never taken apart, because ``to_out_0`` and ``to_out.0`` look alike only to a program that guesses.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sakuga.tensors.tables.clip_text import clip_text_names
from sakuga.tensors.tables.ldm_unet import ldm_unet_names

# How kohya's trainers (and all that followed them) begin the names of each component.
FLAT_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "unet": ("lora_unet_",),
    "text_encoder": ("lora_te_", "lora_te1_"),
    "text_encoder_2": ("lora_te2_",),
}
OTHER_NAMES: Mapping[str, Callable[[Iterable[str]], dict[str, str]]] = {
    "unet": ldm_unet_names,
    "text_encoder": clip_text_names,
    "text_encoder_2": clip_text_names,
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a module is: the ``component`` ("unet", "text_encoder") and its dotted path in that component's tree."""

    component: str
    module: str


@dataclass(frozen=True, kw_only=True)
class NameMap:
    """Outside name → Place. ``flat`` has names with underscores and prefix, ``dotted`` names per component."""

    flat: Mapping[str, Place]
    dotted: Mapping[tuple[str, str], Place]

    @classmethod
    def of(cls, components: Mapping[str, Iterable[str]]) -> NameMap:
        """The map for real module trees: component → dotted names of its modules (as ``named_modules`` gives them)."""
        flat: dict[str, Place] = {}
        dotted: dict[tuple[str, str], Place] = {}
        for component, modules in components.items():
            own = {name: Place(component=component, module=name) for name in modules if name}
            others = OTHER_NAMES[component](own) if component in OTHER_NAMES else {}
            for name, place in own.items():
                dotted[component, name] = place
                _add_flat(flat, component, name, place)
            for name, other in others.items():
                if (component, other) not in dotted:
                    dotted[component, other] = own[name]
                    _add_flat(flat, component, other, own[name])
        return cls(flat=flat, dotted=dotted)

    def find(self, name: str) -> Place | None:
        """The place of an underscore name with its prefix and without its suffix: ``lora_unet_mid_block_…``."""
        return self.flat.get(name)

    def find_dotted(self, component: str, name: str) -> Place | None:
        """The place of a dotted name inside ``component``, in diffusers' or LDM naming, with ``text_model`` or not."""
        return self.dotted.get((component, name))

    def nearest(self, name: str) -> str | None:
        """The known outside name that is spelt most like ``name`` (underscored or dotted, as it is), or None."""
        known = list(dict.fromkeys(own for _, own in self.dotted)) if "." in name else list(self.flat)
        matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        return matches[0] if matches else None


def _add_flat(flat: dict[str, Place], component: str, name: str, place: Place) -> None:
    for prefix in FLAT_PREFIXES.get(component, (f"lora_{component}_",)):
        taken = flat.setdefault(prefix + name.replace(".", "_"), place)
        assert taken == place, f"{taken.module} and {place.module} of {component} flatten to one name"
