"""Every layout in the keys of its producers, held against the published trees of its family: called by its name, given
to one reader, every key accounted for, and each module in its place. Headers only: no model and no file is needed.
"""

from __future__ import annotations

import pytest
from tests.unit.lora_catalogue import ELSEWHERE, ROWS, UNTREED
from tests.unit.lora_listed import Listed

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.against import against_family
from sakuga.lora.formats import FORMATS, recognise
from sakuga.lora.formats.titles import TITLES
from sakuga.lora.survey import survey

each = pytest.mark.parametrize("name", ROWS)


def test_every_row_of_the_catalogue_has_keys_here() -> None:
    assert {name for rows in TITLES.values() for name, _, _ in rows} == ROWS.keys() | UNTREED.keys() | ELSEWHERE


@each
def test_a_layout_is_called_by_its_name_and_claimed_by_one_reader(name: str) -> None:
    file = ROWS[name].listed()
    found = survey(file)
    assert [layout.name for layout in FORMATS if layout.recognise(file)] == [found.format.name]
    assert found.layout_id == name
    assert found.family.possible == tuple(ROWS[name].families.split()), found.family


@each
def test_every_module_is_in_its_place_in_the_published_tree(name: str) -> None:
    row = ROWS[name]
    best = against_family(row.listed())[0]
    wrong = [(module.group.stem, module.verdict, module.reason) for module in best.found.modules if module.refused]
    assert wrong == []
    places = [[f"{seat.component}.{seat.module}" for seat in module.seats] for module in best.found.modules]
    assert places == row.places()
    assert (best.modules, best.keys) == (len(row.modules), len(row.listed().names))


@each
def test_every_key_is_used_or_left_over_once(name: str) -> None:
    file = ROWS[name].listed()
    stray = {"_aux.seed": (1,), "bundle_emb.ink.clip_l": (2, 768), "a.stray.key": (1,)}
    stem = next(iter(file.names)).partition(".lora_")[0]
    stray[f"{stem}.lora_sideways.weight"] = (1,)
    for best in against_family(Listed({**file.shapes, **stray}, file.metadata)):
        keys = [left.key for left in best.found.leftovers()]
        assert len(set(keys)) == len(keys)
        assert best.keys + len(keys) == len(file.names) + len(stray) == best.found.total_keys


@pytest.mark.parametrize("name", UNTREED)
def test_families_without_a_tree_are_still_recognised(name: str) -> None:
    found = survey(UNTREED[name].listed())
    assert (found.layout_id, found.family.family) == (name, UNTREED[name].families)
    assert against_family(UNTREED[name].listed(), found) == ()


def test_row_48_an_attention_only_file_is_held_against_every_family_that_it_may_be_for() -> None:
    """What fits Flux.1, Chroma and HunyuanVideo alike is told, not guessed."""
    file = Listed(
        {
            f"lora_unet_double_blocks_{n}_img_attn_qkv.lora_{leaf}.weight": shape
            for n in range(19)
            for leaf, shape in (("down", (2, 3072)), ("up", (9216, 2)))
        }
    )
    found = survey(file)
    assert found.family.family is None
    assert set(found.family.alternatives) == {"flux", "chroma", "hunyuan-video"}
    assert "it may be a Flux.1, Chroma or HunyuanVideo adapter: nothing in it tells which" in found.remarks()
    held = against_family(file, found)
    assert {one.table.name for one in held} == {"flux", "chroma", "hunyuan-video"}
    assert {one.modules for one in held} == {19}


def test_the_member_of_a_family_that_fits_best_is_told() -> None:
    stem = "transformer.transformer_blocks.{}.attn2.to_q"
    shapes = {
        f"{stem.format(n)}.lora_{leaf}.weight": shape
        for n in range(13)
        for leaf, shape in (("A", (2, 1536)), ("B", (1536, 2)))
    }
    assert against_family(Listed(shapes))[0].table.variant == "3.5-medium"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight", "ControlNet-LLLite"),
        ("lora_controlnet", "Control-LoRA, which is a ControlNet"),
    ],
)
def test_control_files_are_refused_for_what_they_are(key: str, said: str) -> None:
    with pytest.raises(AdapterDoesNotFit, match=said):
        recognise(Listed({key: (2, 2)}))
