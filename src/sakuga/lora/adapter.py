"""Adapter: one adapter file, parsed. A Patch is one algorithm's factors for one module; a Leftover is a key that was
not used, with the reason. Plain records: nothing here reads a file or touches a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sakuga.lora.algorithms.record import Algorithm, Parameter


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """The change of one parameter: ``component`` ("unet"), dotted ``module`` path, the record, the file's keys it used.

    ``into``: the rows of the parameter that the record changes; None: all.
    """

    component: str
    module: str
    record: Algorithm
    keys: tuple[str, ...]
    parameter: Parameter = "weight"
    into: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A key of the file that was not used. ``refused``: it would have had an effect; otherwise it has none."""

    key: str
    reason: str
    refused: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """One adapter file. ``sha256`` names the records: two Adapters with one ``sha256`` hold the same numbers.

    ``total_keys`` equals the keys used by ``patches`` and ``embeddings`` plus ``leftovers``. ``notes`` are remarks for
    the Report: legal, but worth a word (a negative alpha, a scale that came from a config beside the file).
    ``embeddings`` are textual inversions that the file carries: the word for the prompt → the embedding's own key → the
    file's key.
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
    embeddings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def used_keys(self) -> int:
        """How many keys of the file went into patches and embeddings; a key that feeds several counts once."""
        patched = {key for patch in self.patches for key in patch.keys}
        return len(patched) + sum(len(keys) for keys in self.embeddings.values())

    @property
    def refused(self) -> tuple[Leftover, ...]:
        """The keys that would have had an effect and have none: never empty in silence."""
        return tuple(leftover for leftover in self.leftovers if leftover.refused)

    @property
    def ignored(self) -> tuple[Leftover, ...]:
        """The keys that have no effect on the picture."""
        return tuple(leftover for leftover in self.leftovers if not leftover.refused)
