"""The corpus: files of every layout, algorithm and family with odd alphas, ranks and formats. Every key of each is
used, ignored or refused, and every module is told for what it is. Some are real files, applied to real modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.corpus.files import Case, cases
from tests.corpus.layouts import LAYOUTS
from tests.corpus.recipes import RECIPES
from tests.corpus.tiny import grown
from tests.corpus.written import Written, written
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.fit import judge
from sakuga.lora.formats import FORMATS
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack
from sakuga.lora.survey import hold, survey
from sakuga.lora.targets import names_of
from sakuga.tensors.file import TensorFile
from sakuga.tensors.tables.families import FAMILIES, FamilyTable

CASES = list(cases())
WRITTEN = list(written())
# Families with blocks of one name and size: an adapter may fit each of them.
ALIKE = {
    "flux": {"flux", "chroma", "hunyuan-video"},
    "hunyuan-video": {"flux", "chroma", "hunyuan-video"},
    "sd15": {"sd15", "animatediff"},
}


def test_the_corpus_is_large_and_whole() -> None:
    assert len(CASES) >= 500
    assert {name.partition(":")[0] for name in (case.name for case in CASES)} == set(LAYOUTS)
    assert {case.recipe.called for case in CASES} == {recipe.called for recipe in RECIPES.values()}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_key_is_accounted_for_and_every_module_told(case: Case) -> None:
    file = case.file
    assert [entry.name for entry in FORMATS if entry.recognise(file)] == [case.layout.reader]
    found = survey(file, case.layout.model())
    used = [key for module in found.modules if module.verdict == "fits" for key in module.group.keys]
    left = [leftover.key for leftover in found.leftovers()]
    assert sorted([*used, *left]) == sorted(file.names)
    assert case.layout.table.name in found.family.possible
    for number, module in enumerate(found.modules):
        assert module.algorithm == case.recipe.called or not number
        for key in module.group.keys:
            assert module.verdict in case.verdicts[key], f"{key}: {module.reason}"


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_adapter_fits_no_other_family(name: str) -> None:
    layout, file = LAYOUTS[name], next(case.file for case in CASES if case.name == f"{name}: lora, trained")
    found = survey(file, layout.model())
    judge(found)
    strangers = [table for table in FAMILIES if table.name not in ALIKE.get(layout.table.name, {layout.table.name})]
    for other in strangers:
        assert any(module.refused for module in hold(found, file, other.names()).modules), other.title
    with pytest.raises(AdapterDoesNotFit, match="was made for another family of models"):
        judge(hold(found, file, strangers[0].names()))


@pytest.mark.parametrize("sample", WRITTEN, ids=[sample.name for sample in WRITTEN])
def test_a_real_file_changes_its_modules_and_no_bit_stays(sample: Written, tmp_path: Path) -> None:
    parts = _parts(sample.layout.table)
    before = {component: _copies(part) for component, part in parts.items()}
    save_file(dict(sample.tensors), tmp_path / "a.safetensors")
    with TensorFile.open(tmp_path / "a.safetensors") as file:
        adapter = read_adapter(file, names_of(parts), "a")
    assert adapter.used_keys == adapter.total_keys == len(sample.tensors)
    with Stack([(adapter, 0.5)]).applied(parts):
        assert _changed(parts, before) == sample.changed
    assert _changed(parts, before) == set()


@cache
def _parts(table: FamilyTable) -> dict[str, nn.Module]:
    return grown(table)


def _copies(part: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in part.named_parameters()}


def _changed(parts: Mapping[str, nn.Module], before: Mapping[str, Mapping[str, Tensor]]) -> set[tuple[str, str]]:
    """The modules of which some parameter is not what it was, bit for bit."""
    return {
        (component, name.rpartition(".")[0])
        for component, part in parts.items()
        for name, tensor in part.named_parameters()
        if name not in before[component] or not torch.equal(tensor, before[component][name])
    }
