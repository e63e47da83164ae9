"""NameMap: from the name that a file uses for a module to the module's place in the real model.

It is a dictionary, built once from the module trees of the models that are loaded and from the naming tables; a name is
looked up whole and never taken apart, because ``to_out_0`` and ``to_out.0`` look alike only to a program that guesses.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from sakuga.tensors.seat import Aliases, Place, Seat, Shape, Tree
from sakuga.tensors.tables.clip_text import OPEN_CLIP, OPEN_CLIP_LEVEL, clip_names
from sakuga.tensors.tables.flux2_names import FLUX2, FLUX2_PARTS, FLUX2_SLICES
from sakuga.tensors.tables.flux_names import FLUX, FLUX_OMI
from sakuga.tensors.tables.hunyuan_names import HUNYUAN_VIDEO, HUNYUAN_VIDEO_COMFY
from sakuga.tensors.tables.ldm_unet import ldm_unet_names
from sakuga.tensors.tables.motion_names import motion_names
from sakuga.tensors.tables.sd3_names import SD3
from sakuga.tensors.tables.wan_names import WAN
from sakuga.tensors.tables.z_image_names import Z_IMAGE

__all__ = ["NameMap", "Place", "Seat", "Shape", "Tree"]

# How trainers that write underscores begin the names of each component, the most usual one first: kohya's, Wan-Fun's
# (with two underscores), OneTrainer's, LyCORIS' own, kohya's OFT.
_DENOISER = ("lora_unet_", "lora_unet__", "lora_transformer_", "lycoris_", "oft_unet_")
FLAT_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "unet": _DENOISER,
    "transformer": _DENOISER,
    "motion": ("lora_unet_", "lora_motion_"),
    "prior": ("lora_prior_unet_",),
    "text_encoder": ("lora_te_", "lora_te1_", "lora_prior_te_"),
    "text_encoder_2": ("lora_te2_",),
    "text_encoder_3": ("lora_te3_",),
}
# kohya's trainers number T5 as the third encoder, also where there are two of them or just one.
T5, T5_PREFIX = "encoder.block.0.layer.0.SelfAttention.q", "lora_te3_"

Table = Callable[[Tree], Aliases]


def _ldm_unet(tree: Tree) -> Aliases:
    return {other: (Seat(module=own),) for own, other in ldm_unet_names(tree).items()}


# Every table looks at the tree itself and gives nothing for one that it does not know.
_UNET: tuple[Table, ...] = (_ldm_unet, motion_names)
_TEXT: tuple[Table, ...] = (clip_names, OPEN_CLIP.aliases, OPEN_CLIP_LEVEL.aliases)
_TRANSFORMER: tuple[Table, ...] = tuple(
    naming.aliases
    for naming in (
        *(FLUX, FLUX_OMI, HUNYUAN_VIDEO, HUNYUAN_VIDEO_COMFY),
        *(FLUX2, FLUX2_PARTS, FLUX2_SLICES, SD3, WAN, Z_IMAGE),
    )
)
OTHER_NAMES: Mapping[str, tuple[Table, ...]] = {
    "unet": _UNET,
    "motion": (motion_names,),
    "transformer": _TRANSFORMER,
    "transformer_2": _TRANSFORMER,
    "text_encoder": _TEXT,
    "text_encoder_2": _TEXT,
    "text_encoder_3": _TEXT,
}


@dataclass(frozen=True, kw_only=True)
class NameMap:
    """Outside name → Seats: ``dotted`` by (component, name), ``stems`` by component and name with underscores."""

    dotted: Mapping[tuple[str, str], tuple[Seat, ...]]
    trees: Mapping[str, Tree] = field(default_factory=dict)

    @classmethod
    def of(cls, components: Mapping[str, Tree | Iterable[str]]) -> NameMap:
        """The map for real module trees: component → its modules with the shapes of their parameters.

        The dotted names alone serve where no shape is asked for; a name that means rows of a weight needs the shapes.
        """
        trees = {
            component: given if isinstance(given, Mapping) else {name: {} for name in given}
            for component, given in components.items()
        }
        dotted = {
            (component, name): seats for component, tree in trees.items() for name, seats in _names(component, tree)
        }
        names = cls(dotted=dotted, trees=trees)
        assert names.stems.keys() == trees.keys()  # made here, so that a name of two modules is found out at once
        return names

    @property
    def components(self) -> tuple[str, ...]:
        """The components of the model, in the order given."""
        return tuple(self.trees)

    @cached_property
    def stems(self) -> Mapping[str, Mapping[str, tuple[Seat, ...]]]:
        """Component → its names with underscores, without a prefix. No two modules of a component share one."""
        stems: dict[str, dict[str, tuple[Seat, ...]]] = {component: {} for component in self.trees}
        for (component, name), seats in self.dotted.items():
            taken = stems[component].setdefault(name.replace(".", "_"), seats)
            assert taken == seats, f"{taken} and {seats} of {component} flatten to one name"
        return stems

    def find(self, name: str) -> tuple[Seat, ...]:
        """Where an underscore name with its prefix and without its suffix lies: ``lora_unet_mid_block_…``.

        A name that two components could mean by their prefixes (``lora_te2_`` is CLIP or T5) is that of the one that
        has such a module; nothing if both have.
        """
        found = {seats for _, component, stem in self._readings(name) if (seats := self.stems[component].get(stem))}
        return found.pop() if len(found) == 1 else ()

    def find_dotted(self, component: str, name: str) -> tuple[Seat, ...]:
        """Where a dotted name inside ``component`` lies, in any naming that is known for it."""
        return self.dotted.get((component, name), ())

    def shape(self, place: Place, parameter: str = "weight") -> Shape | None:
        """The shape of a module's parameter; None when it has none."""
        return self.trees.get(place.component, {}).get(place.module, {}).get(parameter)

    @property
    def has_shapes(self) -> bool:
        """Whether the map was made of trees with shapes."""
        return any(shapes for tree in self.trees.values() for shapes in tree.values())

    def nearest(self, name: str) -> str | None:
        """The known outside name that is spelt most like ``name`` (underscored or dotted, as it is), or None."""
        if "." in name:
            return _nearest(name, (own for _, own in self.dotted))
        for prefix, component, stem in self._readings(name):
            like = _nearest(stem, self.stems[component])
            if like:
                return prefix + like
        known = (_prefixes(component, self.trees[component])[0] + stem for component, stem in self._all_stems())
        return _nearest(name, known)

    def _all_stems(self) -> Iterator[tuple[str, str]]:
        return ((component, stem) for component, stems in self.stems.items() for stem in stems)

    def _readings(self, name: str) -> Iterator[tuple[str, str, str]]:
        """(prefix, component, the rest of the name) for every prefix that the name begins with."""
        for component, tree in self.trees.items():
            for prefix in _prefixes(component, tree):
                if name.startswith(prefix):
                    yield prefix, component, name[len(prefix) :]


def _names(component: str, tree: Tree) -> Iterator[tuple[str, tuple[Seat, ...]]]:
    """Every name of the component's modules: its own, then those of the tables for what is not taken.

    A module without parameters gives its name up to a table: Wan's ``norm3`` is empty in one naming, not in the other.
    """
    shaped = any(tree.values())
    own: dict[str, tuple[Seat, ...]] = {name: (Seat(component=component, module=name),) for name in tree if name}
    found = {name: seats for name, seats in own.items() if tree[name] or not shaped}
    for table in OTHER_NAMES.get(component, ()):
        for name, seats in table(tree).items():
            if name not in found:
                whole = len(seats) == 1 and seats[0].take is None and seats[0].into is None
                placed = own[seats[0].module] if whole else tuple(replace(one, component=component) for one in seats)
                found[name] = placed
    yield from (own | found).items()


def _prefixes(component: str, tree: Tree) -> tuple[str, ...]:
    usual = FLAT_PREFIXES.get(component, (f"lora_{component}_",))
    return (*usual, T5_PREFIX) if T5 in tree and T5_PREFIX not in usual else usual


def _nearest(name: str, known: Iterable[str]) -> str | None:
    matches = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=1, cutoff=0.5)
    return matches[0] if matches else None
