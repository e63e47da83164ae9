"""Made: the account of what a tool wrote: from what, how many modules, of which ranks, and how far from the original.

Plain data for people and programs; nothing is computed here but the sum of the errors.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SCHEMA = 1
LARGEST = 5  # modules that the short text names


@dataclass(kw_only=True)
class Errors:
    """How far the written changes are from those that were meant: ‖written − meant‖ and ‖meant‖ for each module."""

    of_modules: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, module: str, missing: float, meant: float) -> None:
        """One module."""
        self.of_modules[module] = (missing, meant)

    @property
    def meant(self) -> float:
        """‖meant‖ of all modules together."""
        return math.hypot(*(one for _, one in self.of_modules.values()))

    @property
    def overall(self) -> float:
        """The relative error of all modules together."""
        missing = math.hypot(*(one for one, _ in self.of_modules.values()))
        return missing / self.meant if self.meant else 0.0

    def relative(self) -> dict[str, float]:
        """Module → relative error, in the order in which they were written."""
        return {name: missing / meant if meant else 0.0 for name, (missing, meant) in self.of_modules.items()}


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was written. ``error`` None: nothing was computed that could be wrong."""

    output: Path
    size_bytes: int
    modules: int
    layout: str = ""
    numbers: str = ""
    ranks: Mapping[int, int] = field(default_factory=dict)
    sources: Sequence[Mapping[str, object]] = ()
    errors: Errors | None = None
    notes: tuple[str, ...] = ()

    def told(self) -> dict[str, object]:
        """Plain data for JSON; the errors are relative, in the Frobenius norm."""
        told: dict[str, object] = {
            "schema": SCHEMA,
            "output": str(self.output),
            "size_bytes": self.size_bytes,
            "layout": self.layout or None,
            "numbers": self.numbers or None,
            "modules": self.modules,
            "ranks": {str(rank): count for rank, count in sorted(self.ranks.items())},
            "adapters": [dict(source) for source in self.sources],
            "notes": list(self.notes),
        }
        if self.errors is not None:
            told["error"] = _short(self.errors.overall)
            told["errors"] = {name: _short(error) for name, error in self.errors.relative().items()}
        return told

    def lines(self) -> list[str]:
        """A few lines for a terminal."""
        lines = [f"{self.output}: {self.modules} modules, {self.size_bytes / 1e6:.1f} MB"]
        about = ", ".join(filter(None, (self.layout and f"{self.layout}'s layout", self.numbers)))
        lines += [f"  {'written in':<10} {about}"] if about else []
        if self.ranks:
            spread = Counter(self.ranks).most_common()
            text = ", ".join(f"{rank} (×{count})" for rank, count in spread[:LARGEST])
            lines.append(f"  {'rank':<10} {text}{' …' if len(spread) > LARGEST else ''}")
        if self.errors is not None:
            lines.append(f"  {'error':<10} {self.errors.overall:.3g} of the whole change")
            worst = sorted(self.errors.relative().items(), key=lambda pair: -pair[1])[:LARGEST]
            lines += [f"  {'':<10} {error:.3g} {name}" for name, error in worst if error > 0]
        return [*lines, *(f"  {'note':<10} {note}" for note in self.notes)]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
