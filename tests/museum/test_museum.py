"""The museum: headers of files that other libraries wrote. Each is known to its own reader and to no other, is told for
what its maker knows it to be, and every key of it is used, ignored or refused on a model of its family.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.museum.makers.readers import READERS

from sakuga.lora.formats import FORMATS
from sakuga.lora.museum import Exhibit, check_exhibit
from sakuga.lora.survey import hold, survey
from sakuga.tensors.tables.families import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
EXHIBITS = sorted((Path(__file__).parent / "exhibits").glob("*.json"))
LARGEST_BYTES = 1_500_000
each = pytest.mark.parametrize("path", EXHIBITS, ids=[path.stem for path in EXHIBITS])


def _opened(path: Path, folder: Path) -> tuple[Exhibit, dict[str, Any]]:
    """The exhibit as if it lay in ``folder``, and what its maker says of it."""
    exhibit = Exhibit.open(path)
    return exhibit.lay_out(folder), dict(exhibit.told["made"])


def test_the_museum_is_large_in_number_only() -> None:
    makers = Counter(json.loads(path.read_text(encoding="utf-8"))["made"]["by"].split()[0] for path in EXHIBITS)
    assert makers.total() >= 60
    assert makers.total() - makers["hand,"] >= 40
    assert sum(path.stat().st_size for path in EXHIBITS) < LARGEST_BYTES


@each
def test_an_exhibit_is_read_as_it_says(path: Path, tmp_path: Path) -> None:
    exhibit, made = _opened(path, tmp_path)
    check_exhibit(exhibit)
    found = survey(exhibit)
    assert found.layout_id == made["layout"]
    assert sorted({module.algorithm for module in found.modules}) == made["algorithms"]
    if made["families"] is not None:
        assert sorted(found.family.possible) == made["families"]


@each
def test_it_is_known_to_its_own_reader_and_to_no_other(path: Path, tmp_path: Path) -> None:
    exhibit, made = _opened(path, tmp_path)
    assert [reader.name for reader in FORMATS if reader.recognise(exhibit)] == [READERS[made["layout"]]]


@each
def test_every_key_is_accounted_for_on_its_family(path: Path, tmp_path: Path) -> None:
    exhibit, made = _opened(path, tmp_path)
    name, _, variant = made["table"].partition(" ")
    table = next(table for table in FAMILIES if (table.name, table.variant) == (name, variant))
    found = hold(survey(exhibit), exhibit, table.names())
    left = found.leftovers()
    why = [f"{leftover.key}: {leftover.reason}" for leftover in left]
    refused = sum(leftover.refused for leftover in left)
    assert (refused, len(left) - refused) == (made["refused"], made["ignored"]), why
    used = [key for module in found.modules if module.verdict == "fits" for key in module.group.keys]
    embedded = [key for keys in found.embeddings.values() for key in keys.values()]
    assert Counter([*used, *embedded, *(leftover.key for leftover in left)]) == Counter(
        [*exhibit.names, *exhibit.extras]
    )


@pytest.mark.slow
def test_the_script_makes_these_very_exhibits(tmp_path: Path) -> None:
    for library in ("lycoris", "peft"):
        pytest.importorskip(library)
    script = [sys.executable, "-W", "ignore", "-m", "tests.museum.make", str(tmp_path / "made")]
    subprocess.run(script, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    made = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "made").iterdir()}
    assert made == {path.name: path.read_text(encoding="utf-8") for path in EXHIBITS}
