"""What a Stage comes to on a base, and what is said about it."""

from __future__ import annotations

import pytest

from sakuga.errors import JobError
from sakuga.models.families.sd15 import SD15
from sakuga.render.settings import Settings, settle
from sakuga.spec.job import Stage


def settled(**fields: object) -> Settings:
    return settle(Stage(**fields), SD15.defaults)


def noted(settings: Settings) -> dict[str, str]:
    return {note.what: note.reason for note in settings.notes if "left open" not in note.reason}


def test_adapters_know_whether_a_list_or_the_prompt_asked_for_them() -> None:
    found = settled(adapters=["a", "b"], prompt="<lora:c:0.5> x <lyco:d>")
    assert [use.file for use in found.adapters] == ["a", "b", "c", "d"]
    assert found.places == ("stages.0.adapters.0", "stages.0.adapters.1", "stages.0.prompt", "stages.0.prompt")
    assert found.prompt == "x" and noted(found) == {}


def test_a_weight_of_a_tag_that_cannot_be_is_told_of_the_prompt() -> None:
    with pytest.raises(JobError, match="automatic weights") as caught:
        settled(prompt="<lora:c:auto>")
    assert caught.value.given == "stages.0.prompt: auto"


@pytest.mark.parametrize("tag", ["<lora:ink:0.8>", "<lyco:ink>", "<lora:ink:1:lbw=ALL>"])
def test_a_lora_tag_in_the_negative_prompt_is_told_of_the_negative_prompt(tag: str) -> None:
    found = settled(negative_prompt=f"blurred {tag}", guidance=5)
    assert found.adapters == () and found.negative_prompt == f"blurred {tag}"
    reason = f"{tag} counts in the prompt alone; the model reads it as words"
    assert noted(found) == {"stages.0.negative_prompt": reason}


def test_tags_of_other_kinds_are_told_where_they_stand() -> None:
    found = noted(settled(prompt="<hypernet:x:1>", negative_prompt="<LORA:y>", guidance=5))
    assert found == {
        "stages.0.prompt": "<hypernet:x:1> is no tag that is known here; the model reads it as words",
        "stages.0.negative_prompt": "<LORA:y> is no tag that is known here; the model reads it as words",
    }


def test_a_lora_given_many_times_is_told_once() -> None:
    found = settled(adapters=["ink:0.1"] * 300)
    assert noted(found) == {"stages.0.adapters": "ink is there 300 times; the weights add up"}


def test_a_step_behind_the_last_one_is_told_with_the_count_from_0() -> None:
    found = settled(adapters=[{"file": "a", "steps": [4, 8]}], steps=4)
    assert noted(found)["stages.0.adapters.0"] == (
        "it acts from step 4 on, and the last is 3, because steps count from 0: without effect"
    )
