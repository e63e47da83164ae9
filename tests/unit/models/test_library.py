"""Names lead to files by what the files are, never by where they lie or what they are called otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from sakuga.errors import FileProblem
from sakuga.models.library import BASE, STARTER, Library

Save = Callable[[str, Mapping[str, Any]], Path]
LORA = {"lora_unet_conv_in.lora_down.weight": torch.zeros(1, 2), "lora_unet_conv_in.lora_up.weight": torch.zeros(2, 1)}
VECTORS = {"emb_params": torch.zeros(1, 4)}


def test_names_are_per_role(save: Save, bundle_folder: Path) -> None:
    embedding = save("b/tile.safetensors", VECTORS)
    library = Library(folders=(embedding.parent, bundle_folder / "controls"))
    assert library.find("tile", "control") == bundle_folder / "controls" / "tile"
    assert library.find("tile", "embedding") == embedding
    assert library.names("control") == library.names("embedding") == ("tile",)


def test_the_first_folder_and_the_safer_file_win(save: Save, tmp_path: Path) -> None:
    late, pickled, safe = (save(name, VECTORS) for name in ("2/x.safetensors", "1/x.pt", "1/y/x.safetensors"))
    assert Library(folders=(tmp_path / "1", tmp_path / "2")).find("x", "embedding") == safe
    assert Library(folders=(tmp_path / "2", tmp_path / "1")).find("x", "embedding") == late
    assert Library(folders=(tmp_path / "2",)).including(tmp_path / "1").find("x", "embedding") == safe
    safe.unlink()
    assert Library(folders=(tmp_path / "1",)).find("x", "embedding") == pickled


def test_folders_are_models_too(bundle_folder: Path, save: Save, tmp_path: Path) -> None:
    library = Library(folders=(bundle_folder.parent,))
    assert library.find("tiny", BASE) == bundle_folder
    with pytest.raises(FileProblem):
        library.find("tile", "control")  # a bundle's controls are named when it is the base
    assert library.including(bundle_folder).find("tile", "control") == bundle_folder / "controls" / "tile"
    assert Library(folders=(bundle_folder,)).find("tiny", BASE) == bundle_folder


def test_a_path_is_taken_as_it_is(save: Save) -> None:
    path = save("flat.safetensors", VECTORS)
    library = Library(folders=())
    assert library.find(path, "embedding") == path and library.find(str(path), "embedding") == path
    with pytest.raises(FileProblem, match="no such file") as caught:
        library.find(str(path.with_name("flot.safetensors")), "embedding")
    assert caught.value.nearest == "flat.safetensors"


def test_an_unknown_name_has_its_nearest_of_the_same_role(save: Save, tmp_path: Path) -> None:
    save("flatpaints.safetensors", LORA)
    save("flatpaint.safetensors", VECTORS)
    library = Library(folders=(tmp_path,))
    with pytest.raises(FileProblem) as caught:
        library.find("flatpaind", "embedding")
    assert caught.value.nearest == "flatpaint" and caught.value.expected == "flatpaint"
    assert "an embedding" in caught.value.title


def test_the_advice_for_an_unknown_name_is_not_to_write_into_the_package() -> None:
    with pytest.raises(FileProblem) as caught:
        Library.usual().including(STARTER / "controls").find("nobody", "vae")
    assert caught.value.do and caught.value.do.endswith("put the file into a folder that is searched: models")


def test_a_name_alone_finds_whatever_has_it(save: Save, tmp_path: Path) -> None:
    adapter, vectors = save("a/ink.safetensors", LORA), save("b/flat.safetensors", VECTORS)
    library = Library(folders=(tmp_path / "a", tmp_path / "b"))
    assert (library.find_any("ink"), library.find_any("flat")) == (adapter, vectors)
    assert library.find_any(str(vectors)) == vectors
    both = save("b/ink.safetensors", VECTORS)
    with pytest.raises(FileProblem, match="several") as caught:
        library.find_any("ink")
    assert caught.value.expected == f"a LoRA: {adapter}; an embedding: {both}"
    both.unlink()
    second = save("b/ink.pt", LORA)
    with pytest.raises(FileProblem, match="several") as caught:
        library.find_any("ink")
    assert caught.value.expected == f"a LoRA: {adapter}; a LoRA: {second}"
    with pytest.raises(FileProblem) as caught:
        library.find_any("falt")
    assert caught.value.nearest == "flat"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(FileProblem, match=r"models\.1: no such file or folder") as caught:
        Library.usual((tmp_path, tmp_path / "model"))
    assert caught.value.nearest == "models"
    (tmp_path / "file").write_text("")
    with pytest.raises(FileProblem, match="is no folder"):
        Library.usual((tmp_path / "file",))


def test_what_cannot_be_read_hides_nothing(save: Save, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no model at all")
    save("b.safetensors", LORA)
    assert Library(folders=(tmp_path, tmp_path / "absent")).names("adapter") == ("b",)


def test_usual_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAKUGA_MODELS", f"{tmp_path}/one:{tmp_path}/two")
    (tmp_path / "own").mkdir()
    library = Library.usual((tmp_path / "own",))
    assert library.folders == (tmp_path / "own", tmp_path / "one", tmp_path / "two", Path("models"), STARTER)


def test_a_folder_that_may_not_be_read_is_told_and_no_traceback(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the tests as root may read everything, so the system's answer is put in its place."""
    shut = tmp_path / "shut"
    (shut / "deep").mkdir(parents=True)
    listed, access, stat = Path.iterdir, os.access, Path.stat

    def iterdir(path: Path) -> Iterator[Path]:
        if path == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    def stat_of(path: Path, **more: Any) -> os.stat_result:
        if path.parent == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **more)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(Path, "stat", stat_of)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != shut and access(path, mode))
    monkeypatch.setattr(os.path, "exists", lambda path: Path(path).parent != shut and os.path.lexists(path))
    with pytest.raises(FileProblem, match="nothing of that name") as told:
        Library(folders=(tmp_path,)).find("ink", BASE)
    assert f"no right to read {shut}" in told.value.told()
    with pytest.raises(FileProblem, match="cannot be looked at: Permission denied"):
        Library(folders=(tmp_path,)).find(str(shut / "deep"), BASE)


def test_a_name_that_no_file_system_takes_is_told(tmp_path: Path) -> None:
    for ref in ("x" * 300, f"./{'x' * 300}.safetensors"):
        with pytest.raises(FileProblem) as told:
            Library(folders=(tmp_path,)).find(ref, BASE)
        assert len(told.value.told()) < 1500
