"""Against: an adapter held against what is known of its family, where no model is at hand: how much of it fits there.

The trees are those of the published models; they decide nothing about a model that somebody really has.
"""

from __future__ import annotations

from dataclasses import dataclass

from sakuga.lora.formats import Header
from sakuga.lora.survey import Survey, hold, survey
from sakuga.tensors.tables.families import FAMILIES, FamilyTable


@dataclass(frozen=True, kw_only=True, eq=False)
class Against:
    """The file held against one kind of model."""

    table: FamilyTable
    found: Survey

    @property
    def modules(self) -> int:
        """How many modules fit."""
        return sum(module.verdict == "fits" for module in self.found.modules)

    @property
    def keys(self) -> int:
        """How many keys fit, the embeddings that it carries among them."""
        return self.found.used_keys


def against_family(file: Header, found: Survey | None = None) -> tuple[Against, ...]:
    """For each family that the file may be for, the member of it that fits best; the best of all first.

    Empty where nothing tells the family or no tree is known of it. ``found`` is the file's survey, if it was made.
    Raises as ``survey`` does.
    """
    found = survey(file) if found is None else found
    best: dict[str, Against] = {}
    for table in FAMILIES:
        if table.name in found.family.possible:
            one = Against(table=table, found=hold(found, file, table.names()))
            if table.name not in best or one.modules > best[table.name].modules:
                best[table.name] = one
    return tuple(sorted(best.values(), key=lambda one: -one.modules))
