"""Annotators with networks in whole jobs: found, told in the Report, loaded once, missing with advice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.annotator_layouts import small, weights

from sakuga.errors import FileProblem, Several
from sakuga.models.library import STARTER
from sakuga.render.annotators.lineart import ALONE
from sakuga.render.studio import Studio
from sakuga.spec.job import Job


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model folder with a ControlNet of somebody else's, called stranger, and an empty folder for annotators."""
    folder = tmp_path / "models"
    (folder / "Annotators").mkdir(parents=True)
    shutil.copytree(STARTER / "controls" / "lineart", folder / "stranger")
    return folder


def job(sources: Mapping[str, Path], models: Path, kind: str, file: str | None = "stranger") -> Job:
    control = {"kind": kind} | ({"file": file} if file else {})
    stage = {"controls": [control], "steps": 1, "motion": "none"}
    return Job(source=sources["picture"], stages=[stage], output=models.parent / "o.png", models=[models])


def test_the_report_says_which_file_drew_the_picture(sources: Mapping[str, Path], models: Path) -> None:
    torch.save(weights(small("hed")), models / "Annotators" / "ControlNetHED.pth")
    studio = Studio(reuse=False)
    report = studio.render(job(sources, models, "softedge"))
    assert report.stages[0]["drawn_by"] == ["ControlNetHED.pth"]
    (told,) = [model for model in report.models if model["role"] == "annotator softedge"]
    assert told["path"] == str(models / "Annotators" / "ControlNetHED.pth") and told["family"] == "HED"
    assert told["used"] == 37 and not told["left_out"]
    assert "annotator   ControlNetHED (HED)" in report.text()
    assert not [note for note in report.notes if note.what.startswith("control")]


def test_another_file_is_another_result(sources: Mapping[str, Path], models: Path) -> None:
    path = models / "Annotators" / "ControlNetHED.pth"
    keys = []
    for seed in (None, 1, 2):
        if seed is not None:
            torch.save(weights(small("hed"), seed), path)
        asked = job(sources, models, "softedge").model_copy(update={"overwrite": True})
        report = Studio(reuse=False).render(asked)
        keys.append((report.key, report.output_sha256))
    assert len({key for key, _ in keys}) == 3 and len({sha for _, sha in keys}) == 3


def test_without_a_network_it_draws_alone_and_says_so(
    studio: Studio, sources: Mapping[str, Path], models: Path
) -> None:
    report = studio.check(job(sources, models, "lineart"))
    assert report.stages[0]["drawn_by"] == [ALONE]
    (note,) = [note for note in report.notes if note.what == "control lineart"]
    assert "sk_model.pth (lineart) is neither in" in note.reason and str(models / "Annotators") in note.reason


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("depth", "dpt_hybrid-midas-501f0c75.pt"),
        ("normal", "scannet.pt"),
        ("openpose", "body_pose_model.pth"),
    ],
)
def test_what_nothing_draws_without_its_network_names_the_file_and_the_folders(
    studio: Studio, sources: Mapping[str, Path], models: Path, kind: str, file: str
) -> None:
    with pytest.raises(FileProblem) as caught:
        studio.check(job(sources, models, kind))
    error = caught.value
    assert error.place == "stages.0.controls.0" and file in str(error.expected)
    assert file in str(error.given) and str(models / "Annotators") in str(error.given)
    assert "models/Annotators" in str(error.do)


def test_network_and_controlnet_that_are_both_missing_are_told_together(
    studio: Studio, sources: Mapping[str, Path], models: Path
) -> None:
    with pytest.raises(Several) as caught:
        studio.check(job(sources, models, "depth", file=None))
    assert [error.place for error in caught.value.findings] == ["stages.0.controls.0"] * 2


def test_openpose_goes_without_hands_and_faces_and_says_so(
    studio: Studio, sources: Mapping[str, Path], models: Path
) -> None:
    torch.save(weights(small("body")), models / "Annotators" / "body_pose_model.pth")
    report = studio.check(job(sources, models, "openpose"))
    assert report.stages[0]["drawn_by"] == ["body_pose_model.pth"]
    reasons = [note.reason for note in report.notes if note.what == "control openpose"]
    assert [reason.split(":")[0] for reason in reasons] == ["hands are not drawn", "faces are not drawn"]


def test_the_starter_s_own_lineart_gets_the_lines_that_it_was_trained_on(
    studio: Studio, sources: Mapping[str, Path], models: Path
) -> None:
    torch.save(weights(small("lineart")), models / "Annotators" / "sk_model.pth")
    assert studio.check(job(sources, models, "lineart", file=None)).stages[0]["drawn_by"] == [ALONE]
    assert studio.check(job(sources, models, "lineart")).stages[0]["drawn_by"] == ["sk_model.pth"]


def test_a_network_is_loaded_once_for_all_jobs_that_want_it(
    sources: Mapping[str, Path], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(weights(small("hed")), models / "Annotators" / "ControlNetHED.pth")
    loaded: list[Any] = []

    def counted(*given: Any) -> Any:
        loaded.append(given)
        return load(*given)

    from sakuga.render import parts

    load = parts.load_network
    monkeypatch.setattr(parts, "load_network", counted)
    studio = Studio(reuse=False)
    for seed in (1, 2):
        studio.render(job(sources, models, "softedge").model_copy(update={"seed": seed, "overwrite": True}))
    assert len(loaded) == 1


def test_a_file_of_an_annotator_where_a_controlnet_belongs_is_called_what_it_is(
    studio: Studio, sources: Mapping[str, Path], models: Path
) -> None:
    path = models / "Annotators" / "netG.pth"
    torch.save(weights(small("lineart_anime")), path)
    with pytest.raises(FileProblem) as caught:
        studio.check(job(sources, models, "lineart_anime", file=str(path)))
    assert "a network of an annotator" in str(caught.value.given)
