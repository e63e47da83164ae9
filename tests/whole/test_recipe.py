"""Every output carries what made it, and can be rendered once more from that, bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sakuga.cli.main import main
from sakuga.errors import FileProblem, SakugaError
from sakuga.render.again import SAME, again
from sakuga.render.recipe import Recipe
from sakuga.render.studio import Studio
from sakuga.spec.job import Job
from sakuga.video.comment import comment_of, with_comment
from sakuga.video.pictures import decode_picture, encode_picture, read_picture

STAGE: dict[str, Any] = {"prompt": "ink", "steps": 1, "motion": "none", "controls": ["tile"], "strength": 0.5}


@pytest.mark.parametrize("name", ["toon.mp4", "toon.mkv", "toon.mov", "toon.webm", "toon.png", "toon.jpg"])
def test_an_output_is_rendered_again_bit_for_bit(studio: Studio, sources: Any, tmp_path: Path, name: str) -> None:
    source = tmp_path / sources["uneven"].name
    shutil.copy(sources["uneven"], source)
    frames = (0, 1) if name.endswith(("png", "jpg")) else (0, 3)
    report = studio.render(
        Job(source=source, stages=[STAGE | {"adapters": ["ink"]}], frames=frames, output=tmp_path / name)
    )
    recipe = Recipe.read(tmp_path / name)
    assert str(tmp_path) not in json.dumps(recipe.told), "no folder of the maker's disk"
    assert recipe.told["job"]["seed"] == 0 and recipe.told["source"] == report.clip["content_key"]
    second = tmp_path / f"again{Path(name).suffix}"
    job = recipe.job([tmp_path], [], second, overwrite=False)
    done = again(studio, recipe, job)
    assert any(note.reason.startswith(SAME) for note in done.notes), [note.reason for note in done.notes]
    assert second.read_bytes() == (tmp_path / name).read_bytes()


def test_what_is_missing_or_changed_is_named(studio: Studio, made: Any, draw: Any, tmp_path: Path) -> None:
    source, adapter = made.picture("still.png"), tmp_path / "own.safetensors"
    from sakuga.models.library import STARTER

    shutil.copy(STARTER / "loras" / "ink.safetensors", adapter)
    output = tmp_path / "out" / "toon.png"
    output.parent.mkdir()
    studio.render(Job(source=source, stages=[STAGE | {"adapters": [str(adapter)]}], output=output))
    recipe = Recipe.read(output)
    (tmp_path / "out" / "toon.report.json").unlink()
    with pytest.raises(SakugaError, match=r"still\.png is missing") as caught:
        recipe.job([output.parent], [], tmp_path / "b.png", overwrite=False)
    assert "own.safetensors is missing" in str(caught.value)
    shutil.copy(STARTER / "loras" / "celcomic.safetensors", output.parent / "own.safetensors")
    with pytest.raises(FileProblem, match=r"own\.safetensors is another file"):
        recipe.job([output.parent], [source], tmp_path / "b.png", overwrite=False)
    job = recipe.job([output.parent], [source, adapter], tmp_path / "b.png", overwrite=False)
    assert any(note.reason.startswith(SAME) for note in again(studio, recipe, job).notes)
    source.write_bytes(made.picture("other.png", index=5).read_bytes())
    job = recipe.job([output.parent], [source, adapter], tmp_path / "c.png", overwrite=False)
    with pytest.raises(FileProblem, match="not the one that the recipe names"):
        again(studio, recipe, job)
    assert not (tmp_path / "c.png").exists()


def test_the_command(sources: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--steps", "1", "--motion", "none", "--control", "tile", "-o", "toon.mp4"]
    assert main(["render", str(sources["uneven"]), *words]) == 0
    assert main(["again", "toon.mp4", "--show"]) == 0
    assert '"seed": 0' in capsys.readouterr().out
    assert main(["again", "toon.mp4"]) == 0, "the report beside it says where the source is"
    assert SAME in capsys.readouterr().out
    assert Path("toon-again.mp4").read_bytes() == Path("toon.mp4").read_bytes()
    for wrong in (
        ["again", str(sources["uneven"])],
        ["again", "nothing.mp4"],
        ["again", "."],
        ["again", "toon.report.json"],
    ):
        assert main(wrong) == 2
        assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_comment_changes_no_pixel(made: Any, tmp_path: Path, suffix: str) -> None:
    pixels = read_picture(made.picture())
    data = encode_picture(pixels, suffix)
    told = with_comment(data, "sakuga 日本 " + "x" * 50_000)
    (tmp_path / f"a{suffix}").write_bytes(told)
    assert comment_of(tmp_path / f"a{suffix}") == "sakuga 日本 " + "x" * 50_000
    assert (decode_picture(told, tmp_path) == decode_picture(data, tmp_path)).all()
    (tmp_path / f"b{suffix}").write_bytes(data)
    assert comment_of(tmp_path / f"b{suffix}") is None and with_comment(data, "") == data
