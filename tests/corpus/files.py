"""The generated files of the corpus: every layout with every algorithm that it may hold, each with one oddity.

A file is a header in memory; one of its modules is odd and the rest are as trained, and the case says what each has to
be told to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

from tests.corpus.layouts import LAYOUTS, Layout, Place
from tests.corpus.recipes import RECIPES, Leaves, Recipe

from sakuga.lora.museum import Exhibit

FORMATS = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")
RANKS = (4, 8, 5, 16, 7)
TRAINED = "trained"
# Factors whose rank can be changed without another's noticing at once.
RANKED = ("up", "hada_w2_b", "lokr_w2_b", "b2.weight", "lambda_layer")


@dataclass(frozen=True, kw_only=True)
class Odd:
    """One module as it is about to be written. ``alpha`` None: none is written; ``dtype`` is that of its factors."""

    stem: str
    leaves: Leaves
    alpha: float | None
    dtype: str
    verdict: tuple[str, ...] = ("fits",)
    alpha_shape: tuple[int, ...] = ()
    alpha_dtype: str = "F32"
    beside: Mapping[str, tuple[str, tuple[int, ...]]] = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file and what has to be said of it. ``verdicts``: key → the verdicts that are right for its module."""

    name: str
    layout: Layout
    recipe: Recipe
    file: Exhibit
    verdicts: Mapping[str, tuple[str, ...]]


Twist = Callable[[Odd, Recipe, Place, int], Odd | None]  # None: the oddity means nothing for this algorithm


def _alpha(value: float | None, **more: Any) -> Twist:
    return lambda odd, recipe, place, rank: replace(odd, alpha=value, **more)


def _zero(odd: Odd, recipe: Recipe, place: Place, rank: int) -> Odd:
    silent = ("ignored", "fits") if recipe.called == "LoKr" else ("ignored",)  # two whole factors have no alpha
    return replace(odd, alpha=0.0, verdict=silent if recipe.alpha == "scale" else ("fits",))


def _dtype(dtype: str) -> Twist:
    return lambda odd, recipe, place, rank: replace(odd, dtype=dtype, verdict=("broken",))


def _half(odd: Odd, recipe: Recipe, place: Place, rank: int) -> Odd | None:
    """One factor of several is missing."""
    lost = next((leaf for leaf in RANKED if leaf in odd.leaves), None)
    if lost is None:
        return None
    return replace(odd, leaves={k: v for k, v in odd.leaves.items() if k != lost}, verdict=("algorithm", "broken"))


def _unmet(odd: Odd, recipe: Recipe, place: Place, rank: int) -> Odd | None:
    """One factor is of another rank than the rest."""
    other = recipe.make(place.shape, rank + 1)
    leaf = next((leaf for leaf in RANKED if leaf in other), None)
    if leaf is None:
        return None
    return replace(odd, leaves={**odd.leaves, leaf: other[leaf]}, verdict=("broken", "shape"))


def _other_layer(odd: Odd, recipe: Recipe, place: Place, rank: int) -> Odd:
    doubled = (*(2 * size for size in place.shape[:2]), *place.shape[2:])
    return replace(odd, leaves=recipe.make(doubled, rank), verdict=("shape",))


def _renamed(odd: Odd, recipe: Recipe, place: Place, rank: int) -> Odd:
    return replace(odd, stem=f"{odd.stem}x", verdict=("name",))


def _unknown_leaf(odd: Odd, recipe: Recipe, place: Place, rank: int) -> Odd:
    return replace(odd, leaves={**odd.leaves, "surprise": (1,)}, verdict=("algorithm",))


def _twice(odd: Odd, recipe: Recipe, place: Place, rank: int) -> Odd | None:
    if "down" not in odd.leaves:
        return None
    size = odd.leaves["down"]
    return replace(odd, leaves={**odd.leaves, "lora_A": size, "lora.down": size}, verdict=("broken",))


TWISTS: Mapping[str, Twist] = {
    TRAINED: lambda odd, recipe, place, rank: odd,
    "no alpha": _alpha(None),
    "alpha is 0": _zero,
    "alpha is -1": _alpha(-1.0),
    "alpha is 1e30": _alpha(1e30),
    "alpha is NaN": _alpha(math.nan, verdict=("numbers",)),
    "alpha is infinite": _alpha(math.inf, verdict=("numbers",)),
    "alpha is a list of one": _alpha(2.0, alpha_shape=(1,)),
    "alpha is a list of three": _alpha(2.0, alpha_shape=(3,), verdict=("broken",)),
    "alpha is a whole number": _alpha(3.0, alpha_dtype="I64"),
    "alpha in bf16": _alpha(0.5, alpha_dtype="BF16"),
    "int8": _dtype("I8"),
    "uint8": _dtype("U8"),
    "bool": _dtype("BOOL"),
    "complex": _dtype("C64"),
    "half a pair": _half,
    "ranks that do not meet": _unmet,
    "the shape of another layer": _other_layer,
    "a name of no module": _renamed,
    "an unknown leaf": _unknown_leaf,
    "written twice": _twice,
}


def cases() -> Iterator[Case]:
    """Every layout with every recipe: as trained, and with the oddity whose turn it is."""
    ranks, dtypes, twists = cycle(RANKS), cycle(FORMATS), cycle([name for name in TWISTS if name != TRAINED])
    for layout_name, layout in LAYOUTS.items():
        for recipe_name, recipe in RECIPES.items():
            places = [place for place in layout.places() if holds(layout, recipe, place)]
            if not places:
                continue
            odd = (_case(layout, recipe, places, twist, next(ranks), next(dtypes)) for twist in twists)
            for made in (_case(layout, recipe, places, TRAINED, next(ranks), next(dtypes)), next(filter(None, odd))):
                assert made is not None
                yield replace(made, name=f"{layout_name}: {recipe_name}, {made.name}")


def case(layout: str, recipe: str, twist: str = TRAINED) -> Case:
    """One file that is asked for by name."""
    places = [place for place in LAYOUTS[layout].places() if holds(LAYOUTS[layout], RECIPES[recipe], place)]
    made = _case(LAYOUTS[layout], RECIPES[recipe], places, twist, RANKS[0], FORMATS[0])
    assert made is not None
    return replace(made, name=f"{layout}: {recipe}, {made.name}")


def holds(layout: Layout, recipe: Recipe, place: Place) -> bool:
    """Whether such a module may be in such a file."""
    spelt = recipe.spelt == "both" or (recipe.spelt == "peft") == (layout.leaves in ("peft", "named"))
    named = layout.leaves != "dot" or "down" in recipe.make((8, 8), 2)
    apart = place.whole or recipe.called in BY_ROWS
    scaled = recipe.make is not RECIPES["lokr"].make or not layout.stem(place).startswith("base_model.")  # by a config
    biased = place.biased or not {"diff_b", "up_bias", "b_norm"} & recipe.make((8, 8), 2).keys()
    return spelt and named and apart and biased and scaled and recipe.suits(place.shape)


# Algorithms whose change of some rows of a fused weight can be told without the others.
BY_ROWS = frozenset(
    {"LoRA", "LoRA + bias of a LoRA", "LoRA + difference of biases", "LoRA + sparse residual", "LoHa", "LoKr"}
    | {
        "Full (difference of weights)",
        "Full (difference of weights) + difference of biases",
        "GLoRA",
        "IA3",
        "IA3 + IA3 of the bias",
    }
)


def _case(layout: Layout, recipe: Recipe, places: list[Place], twist: str, rank: int, dtype: str) -> Case | None:
    odds = []
    for number, place in enumerate(places):
        plain = Odd(stem=layout.stem(place), leaves=recipe.make(place.shape, rank), alpha=rank / 2, dtype=dtype)
        odd = TWISTS[twist if number == 0 else TRAINED](plain, recipe, place, rank)
        if odd is None:
            return None
        odds.append((place, odd))
    tensors: dict[str, list[Any]] = {}
    numbers: dict[str, float] = {}
    for place, odd in odds:
        for leaf, shape in odd.leaves.items():
            tensors[_key(layout, place, odd, leaf)] = [recipe.whole.get(leaf, odd.dtype), list(shape)]
        for leaf, number in recipe.numbers.items():
            numbers[f"{odd.stem}.{leaf}"] = number
            tensors[f"{odd.stem}.{leaf}"] = ["F32", []]
        if odd.alpha is not None:
            numbers[f"{odd.stem}.alpha"] = odd.alpha
            tensors[f"{odd.stem}.alpha"] = [odd.alpha_dtype, list(odd.alpha_shape)]
    told = {"file": "style.safetensors", "tensors": tensors, "numbers": numbers, "metadata": {}, "extras": {}}
    file = Exhibit(told, Path("corpus"))
    right = {key: odd.verdict for _, odd in odds for key in tensors if key.startswith(f"{odd.stem}.")}
    return Case(name=twist, layout=layout, recipe=recipe, file=file, verdicts=right)


def _key(layout: Layout, place: Place, odd: Odd, leaf: str) -> str:
    return layout.key(place, leaf).replace(layout.stem(place), odd.stem, 1)
