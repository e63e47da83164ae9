"""Adapter: one adapter file, parsed. A Patch is one algorithm's factors for one module; a Leftover is a key that was
not used, with the reason. Plain records: nothing here reads a file or touches a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sakuga.lora.algorithms.record import Algorithm


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """The change of one module: ``component`` ("unet"), dotted ``module`` path, the record, the file's keys it used."""

    component: str
    module: str
    record: Algorithm
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A key of the file that was not used. ``refused``: it would have had an effect; otherwise it has none."""

    key: str
    reason: str
    refused: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """One adapter file. ``sha256`` names the records: two Adapters with one ``sha256`` hold the same numbers.

    ``total_keys`` equals the keys used by ``patches`` plus ``leftovers``. ``notes`` are remarks for the Report: legal,
    but worth a word (a negative alpha, a scale that came from a config beside the file).
    """

    name: str
    path: Path
    sha256: str
    family: str | None
    layout: str
    metadata: Mapping[str, str]
    patches: tuple[Patch, ...]
    leftovers: tuple[Leftover, ...]
    total_keys: int
    notes: tuple[str, ...] = ()

    @property
    def used_keys(self) -> int:
        """How many keys of the file went into patches."""
        return sum(len(patch.keys) for patch in self.patches)

    @property
    def refused(self) -> tuple[Leftover, ...]:
        """The keys that would have had an effect and have none: never empty in silence."""
        return tuple(leftover for leftover in self.leftovers if leftover.refused)

    @property
    def ignored(self) -> tuple[Leftover, ...]:
        """The keys that have no effect on the picture."""
        return tuple(leftover for leftover in self.leftovers if not leftover.refused)
