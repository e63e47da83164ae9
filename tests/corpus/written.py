"""Real adapter files for the tiny models: every recipe in every layout that may hold it, with numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from tests.corpus.files import holds
from tests.corpus.layouts import Layout, Place
from tests.corpus.recipes import RECIPES, Recipe
from tests.corpus.tiny import TINY
from torch import Tensor

RANK = 2


@dataclass(frozen=True, kw_only=True)
class Written:
    """One adapter: its tensors by key, and the modules that it changes as (component, own name in the model)."""

    name: str
    layout: Layout
    recipe: Recipe
    tensors: Mapping[str, Tensor]
    changed: frozenset[tuple[str, str]]


def written() -> Iterator[Written]:
    """All of them, one after another, the same each time."""
    generator = torch.Generator().manual_seed(5)
    for layout_name, layout in TINY.items():
        for recipe_name, recipe in RECIPES.items():
            places = [place for place in layout.places() if holds(layout, recipe, place)]
            tensors: dict[str, Tensor] = {}
            for place in places:
                tensors.update(_module(layout, recipe, place, generator))
            if places:
                yield Written(
                    name=f"{layout_name}: {recipe_name}",
                    layout=layout,
                    recipe=recipe,
                    tensors=tensors,
                    changed=frozenset(
                        (place.component, own)
                        for place in places
                        for own in layout.names[place.component][place.path].split(" + ")
                    ),
                )


def _module(layout: Layout, recipe: Recipe, place: Place, generator: torch.Generator) -> dict[str, Tensor]:
    made = {}
    for leaf, shape in recipe.make(place.shape, RANK).items():
        made[layout.key(place, leaf)] = torch.randn(shape, generator=generator) * 0.3
    if "bias_indices" in recipe.whole:
        indices = torch.tensor([[0, 1, 2], [1, 0, 3]], dtype=torch.int16)
        columns = math.prod(place.shape[1:])
        made[f"{layout.stem(place)}.bias_indices"] = indices
        made[f"{layout.stem(place)}.bias_size"] = torch.tensor([place.shape[0], columns], dtype=torch.int16)
    for leaf, number in recipe.numbers.items():
        made[f"{layout.stem(place)}.{leaf}"] = torch.tensor(number)
    if layout.leaves == "lycoris":
        made[f"{layout.stem(place)}.alpha"] = torch.tensor(1.0)
    return made
