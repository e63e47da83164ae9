"""Naming: the same modules under the names of two programs, written as rules, read in whichever direction is needed.

A rule says what one module of the other naming is in diffusers naming: ``a`` a whole module; ``a + b + c`` modules
whose rows lie one after another in it; ``~a`` one whose two halves (shift and scale) lie the other way round. ``#``
stands for the number of a block. Row counts come from the tree at hand, never from a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

from sakuga.tensors.seat import Aliases, Rows, Seat, Shape, Tree

Rules = Mapping[str, str]
Named = tuple[str, tuple[Seat, ...]]


@dataclass(frozen=True, kw_only=True)
class Naming:
    """``rules`` run from the other naming to diffusers'. A tree is known by a module that only it has: ``own`` in
    diffusers naming (None: no model is built so), ``other`` in the other one.
    """

    own: str | None
    other: str
    rules: Rules

    def aliases(self, tree: Tree) -> Aliases:
        """What the modules of the tree are called in the naming that it does not have itself; {} for other trees."""
        if self.own not in tree and self.other not in tree:
            return {}
        split = self.own in tree
        shaped, numbers = any(tree.values()), _numbers(tree)
        found: dict[str, tuple[Seat, ...]] = {}
        for rule in self.rules.items():
            at_hand = rule[1] if split else rule[0]
            for number in numbers.get(at_hand.lstrip("~").partition(".#")[0], ()) if "#" in at_hand else ("",):
                other, own = (side.replace("#", number) for side in rule)
                swapped, parts = own.startswith("~"), own.removeprefix("~").split(" + ")
                if all(tree.get(name) if shaped else name in tree for name in (parts if split else (other,))):
                    found.update((_into_parts if split else _of_parts)(tree, other, parts, swapped))
        return found


def within(other: str, own: str, rules: Rules) -> Rules:
    """Rules inside a block: ``other.`` before the names of the one side, ``own.`` before those of the other."""
    return {
        f"{other}.{name}": ("~" if meant.startswith("~") else "")
        + " + ".join(f"{own}.{part}" for part in meant.removeprefix("~").split(" + "))
        for name, meant in rules.items()
    }


def _into_parts(tree: Tree, other: str, parts: list[str], swapped: bool) -> Iterator[Named]:
    """Seats in a tree that has the parts: a fused weight of a file falls apart, its slices are called ``other.0`` …"""
    if len(parts) == 1:
        yield from _whole(other, parts[0], _shape(tree, parts[0]), swapped)
        return
    for index, part in enumerate(parts):
        yield f"{other}.{index}", (Seat(module=part),)
    sizes = [shape[0] if (shape := _shape(tree, part)) else 0 for part in parts]
    if all(sizes):
        yield (
            other,
            tuple(
                Seat(module=part, take=(rows,), total=sum(sizes))
                for part, rows in zip(parts, _rows(sizes), strict=True)
            ),
        )


def _of_parts(tree: Tree, other: str, parts: list[str], swapped: bool) -> Iterator[Named]:
    """Seats in a tree that has the fused weight: a part of a file goes into some of its rows. All parts but the last
    have as many rows as the layer has inputs.
    """
    shape = _shape(tree, other)
    if len(parts) == 1:
        yield from _whole(parts[0], other, shape, swapped)
    elif shape and len(shape) > 1:
        sizes = [shape[1]] * (len(parts) - 1)
        for index, (part, rows) in enumerate(zip(parts, _rows([*sizes, shape[0] - sum(sizes)]), strict=True)):
            seats = (Seat(module=other, into=rows),)
            yield part, seats
            yield f"{other}.{index}", seats


def _whole(name: str, module: str, shape: Shape | None, swapped: bool) -> Iterator[Named]:
    """One whole module; its halves swapped if the rule says so and there are just two of them."""
    if not swapped or (shape and shape[0] != 2 * shape[1]):
        yield name, (Seat(module=module),)
    elif shape:
        half = shape[0] // 2
        yield name, (Seat(module=module, take=((half, 2 * half), (0, half)), total=2 * half),)


def _rows(sizes: list[int]) -> Rows:
    return tuple(pairwise(accumulate(sizes, initial=0)))


def _shape(tree: Tree, module: str) -> Shape | None:
    return tree[module].get("weight")


def _numbers(tree: Tree) -> Mapping[str, tuple[str, ...]]:
    """Where lists of blocks are → the numbers of the blocks, by the first number in each name."""
    found: dict[str, dict[str, None]] = {}
    for name in tree:
        parts = name.split(".")
        first = next((at for at, part in enumerate(parts) if part.isdigit()), 0)
        if first:
            found.setdefault(".".join(parts[:first]), {})[parts[first]] = None
    return {place: tuple(numbers) for place, numbers in found.items()}
