"""Exhibits of layouts whose producers are no package: keys as those programs write them, shapes as of the models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.museum.makers.dotted_sheets import SHEETS as DOTTED
from tests.museum.makers.exhibit import Made
from tests.museum.makers.kohya_sheets import SHEETS as KOHYA

BY = "hand, after the documents of its producer"


def exhibits(folder: Path) -> Iterator[Made]:
    """All of them, written into ``folder`` one after another."""
    for name, sheet in {**KOHYA, **DOTTED}.items():
        path = folder / f"{name}.{'pt' if sheet.pickled else 'safetensors'}"
        if sheet.pickled:
            torch.save(sheet.tensors(), path)
        else:
            save_file(sheet.tensors(), path, dict(sheet.metadata))
        yield Made(
            path=path,
            by=BY,
            layout=sheet.layout,
            table=sheet.table,
            algorithms=sheet.algorithms,
            guess=sheet.guess,
            refused=sheet.refused,
            ignored=sheet.ignored,
        )
