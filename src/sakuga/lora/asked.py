"""Asked: what a caller asks of the weights of a stack, by name or in order, as plain numbers for each entry. Refuses
names that are not in the stack or twice in it, and lists of another length.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from sakuga.errors import SakugaError, nearest_name
from sakuga.lora.adapter import Adapter
from sakuga.lora.blocks import blocks_of
from sakuga.lora.rows import Table, Wanted
from sakuga.lora.weight import StackWeight

Given = TypeVar("Given")
Row = float | Sequence[Sequence[float]]  # one number, or one for each frame of each half


def with_weights(
    now: Wanted, adapters: Sequence[Adapter], weights: Mapping[str, StackWeight | float] | Sequence[StackWeight | float]
) -> Wanted:
    """``now`` with new weights. An adapter that is given one number has it for all rows from then on."""
    new = {entry: _weight(adapters[entry], given) for entry, given in _by_entry(adapters, weights).items()}
    kept = frozenset(entry for entry in now.varying if entry not in new)
    return Wanted(
        weights=tuple(new.get(entry, old) for entry, old in enumerate(now.weights)),
        varying=kept,
        tables={entry: table for entry, table in now.tables.items() if entry in kept},
    )


def with_rows(now: Wanted, adapters: Sequence[Adapter], rows: Mapping[str, Row] | Sequence[Row] | None) -> Wanted:
    """``now`` with the rows of one call; None: the call is over. Raises SakugaError for tables of different sizes."""
    if rows is None:
        return replace(now, tables={})
    new = _by_entry(adapters, rows)
    numbers = {entry: float(row) for entry, row in new.items() if isinstance(row, int | float)}
    tables = {entry: Table.of(row) for entry, row in new.items() if not isinstance(row, int | float)}
    if len({table.size for table in tables.values()}) > 1:
        sizes = ", ".join(f"{adapters[entry].name}: {table.size}" for entry, table in tables.items())
        raise SakugaError(
            "tables of one call have different sizes",
            given=sizes,
            expected="(halves, frames) for all",
            do="give tables of one size, or plain numbers",
        )
    return Wanted(
        weights=tuple(
            replace(old, unet=numbers[entry]) if entry in numbers else old for entry, old in enumerate(now.weights)
        ),
        varying=(now.varying | tables.keys()) - numbers.keys(),
        tables=tables,
    )


def check_components(wanted: Wanted, adapters: Sequence[Adapter], components: Sequence[str]) -> None:
    """Raise SakugaError where a weight is turned up from 0 and there is no part for it to act on."""
    for entry, (adapter, weight) in enumerate(zip(adapters, wanted.weights, strict=True)):
        missing = {patch.component for patch in adapter.patches} - set(components)
        varying = entry in wanted.varying  # of which text encoders keep their own weight
        asked = sorted(one for one in missing if acts(adapter, weight, one) or (varying and not _reads_text(one)))
        if asked:
            raise SakugaError(
                f"{adapter.name} is to act on a part that was not given",
                given=", ".join(asked),
                expected=", ".join(components),
                do="give these parts to applied too, or a StackWeight that is 0 on them",
            )


def _reads_text(component: str) -> bool:
    return component.startswith("text_encoder")


def acts(adapter: Adapter, weight: StackWeight, component: str) -> bool:
    """Whether an adapter has an effect on any layer of a component at this weight."""
    patches = (patch for patch in adapter.patches if patch.component == component)
    return any(weight.on(component, blocks_of(component, patch.module)) != 0 for patch in patches)


def _weight(adapter: Adapter, given: StackWeight | float) -> StackWeight:
    try:
        return StackWeight.of(given)
    except SakugaError as problem:
        raise problem.at(adapter.name) from None


def _by_entry(adapters: Sequence[Adapter], given: Mapping[str, Given] | Sequence[Given]) -> dict[int, Given]:
    names = [adapter.name for adapter in adapters]
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise SakugaError(
            "these are no weights of the adapters in a stack",
            given=reprlib.repr(given),
            expected=f"a mapping of name to weight ({', '.join(names)}), or a list of {len(names)}",
            do=f"give {{{names[0]!r}: 0.8}}" if names else "leave it empty: the stack is",
        )
    if not isinstance(given, Mapping):
        if len(given) != len(names):
            raise SakugaError(
                "the number of weights is not the number of adapters",
                given=f"{len(given)} weights",
                expected=f"{len(names)}",
                do="give one for each, or a mapping of name to weight",
            )
        return dict(enumerate(given))
    for name in given:
        if names.count(name) != 1:
            raise SakugaError(
                "no such adapter is in the stack" if name not in names else "this adapter is in the stack twice",
                given=str(name),
                expected=", ".join(names),
                nearest=nearest_name(str(name), set(names) - {name}),
                do="give one weight for each adapter, in the stack's order"
                if name in names
                else "name one of the stack",
            )
    return {entry: given[name] for entry, name in enumerate(names) if name in given}
