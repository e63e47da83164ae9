"""The commands of ``sakuga lora``: what they print, as text and as JSON, and the errors that they end with."""

from __future__ import annotations

import json
import platform
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sakuga.cli.main import main

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
STARTER_LORAS = {"celcomic", "ink"}


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of its own, a terminal of 80 columns, no folders but the starter's."""
    monkeypatch.setenv("SAKUGA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAKUGA_MODELS", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    folder = tmp_path / "loras"
    for number, name in enumerate(("wash", "墨絵 thin")):
        adapter(folder / f"{name}.safetensors", 4 + number, {"ss_output_name": f"alias{number}"})
    (folder / "wash.json").write_text(json.dumps({"activation text": "watercolour\x1b[31m", "sd version": "SD1"}))
    (folder / "cut.safetensors").write_bytes((folder / "wash.safetensors").read_bytes()[:-9])
    return folder


def adapter(path: Path, rank: int, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(rank)
    tensors = {f"{STEM}.lora_down.weight": torch.randn(rank, 768), f"{STEM}.lora_up.weight": torch.randn(320, rank)}
    save_file(tensors, path, metadata)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["lora", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["lora", *words]) == 2
    return capsys.readouterr().err


def test_list_has_a_line_for_each_adapter_and_a_reason_for_each_broken_file(
    loras: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "list", "--models", str(loras))
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["wash"].split() == ["wash", "sd15", "LoRA", "4", "watercolour", "[31m"]
    assert "墨絵 thin" in text
    assert f"  {loras / 'cut.safetensors'}: cut.safetensors is not a sound safetensors file: cut off" in text
    assert "4 adapters, 1 broken" in text
    assert "\x1b" not in text


def test_list_as_json_has_all_of_them(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(said(capsys, "list", "--json", "--all", "--models", str(loras)))
    assert told["schema"] == 1
    assert {row["name"] for row in told["adapters"]} == STARTER_LORAS | {"wash", "墨絵 thin"}
    assert [row["name"] for row in told["broken"]] == ["cut"]
    assert "flatpaint" in {row["name"] for row in told["other"]}
    assert all(row["error"] for row in told["broken"] + told["other"])


def test_find_by_word_and_by_hash(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "find", "WATERcolour", "--models", str(loras)).splitlines()[0] == "wash"
    shown = json.loads(said(capsys, "show", str(loras / "wash.safetensors"), "--json"))["hashes"]
    for word in (shown["sha256"], shown["autov2"], shown["autov3"]):
        (row,) = json.loads(said(capsys, "find", word, "--json", "--models", str(loras)))["adapters"]
        assert (row["name"], row["sha256"], row["autov3"]) == ("wash", shown["sha256"], shown["autov3"])
    assert "nothing is found for xyzzy" in said(capsys, "find", "xyzzy", "--models", str(loras))


def test_where_says_the_path_and_nothing_else(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "where", "alias1", "--models", str(loras)) == f"{loras / '墨絵 thin.safetensors'}\n"
    assert "nearest   wash" in refused(capsys, "where", "wsh", "--models", str(loras))
    adapter(loras / "more" / "wash.safetensors", 2, {})
    told = refused(capsys, "where", "wash", "--models", str(loras))
    assert "2 files are called wash" in told
    assert str(loras / "wash.safetensors") in told
    assert str(loras / "more" / "wash.safetensors") in told


def test_two_copies_are_told_and_the_first_is_used(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (loras / "more").mkdir()
    copy = loras / "more" / "wash.safetensors"
    copy.write_bytes((loras / "wash.safetensors").read_bytes())
    assert main(["lora", "where", "wash", "--models", str(loras)]) == 0
    out, told = capsys.readouterr()
    assert out == f"{copy}\n" and f"wash: 2 copies of it are there, {copy} is used" in told


def test_where_gives_a_row_of_a_path_too(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = [
        json.loads(said(capsys, "where", name, "--json", "--models", str(folder)))
        for name, folder in (("wash", loras), (str(loras / "wash.safetensors"), loras.parent / "cache"))
    ]
    assert told[0] == told[1] and told[0]["alias"] == "alias0"


def test_gc_says_what_it_forgot(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "list", "--models", str(loras))
    (loras / "wash.safetensors").unlink()
    machine = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())[:40]
    left, foreign = (loras / f".wash.{host}-{2**22 + 7}.partial" for host in (machine, "elsewhere"))
    left.write_text("half")
    foreign.write_text("half")
    told = json.loads(said(capsys, "gc", "--json", "--models", str(loras)))
    assert (told["forgotten"], told["removed"]) == (1, [str(left)])
    assert foreign.exists() and not left.exists()
    assert said(capsys, "gc").startswith("0 files that are gone were forgotten")


def test_show_of_one_file_is_one_object_and_of_several_a_list(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = json.loads(said(capsys, "show", "wash", "--json", "--models", str(loras)))
    assert (one["schema"], one["name"], one["alias"], one["family"]) == (1, "wash", "alias0", "sd15")
    (loras / "again.safetensors").write_bytes((loras / "wash.safetensors").read_bytes())
    many = json.loads(said(capsys, "show", "wash", "again", "ink", "--json", "--models", str(loras)))
    assert [told["name"] for told in many["adapters"]] == ["wash", "again", "ink"]
    assert [pair["same_payload"] for pair in many["twins"]] == [True]


def test_show_fits_in_eighty_columns_and_says_the_words_of_the_files_beside(
    loras: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "show", "wash", "ink", "--base", "starter", "--models", str(loras))
    long = [line for line in text.splitlines() if len(line) > 80]
    assert [line for line in long if " " in line[14:].strip()] == []  # but for a path that cannot be folded
    assert "words       watercolour [31m  (a file beside it)" in text
    assert "fit         it fits this base: 156 modules have their place" in text
    assert "fit         no: wash.safetensors" in text


def test_show_without_a_base_says_that_the_fit_was_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert "  fit         not asked (give --base)\n" in said(capsys, "show", "ink")
    assert json.loads(said(capsys, "show", "ink", "--json"))["fit"] is None


@pytest.mark.parametrize(
    ("key", "shape", "what"),
    [
        ("lora_controlnet", (0,), "a Control-LoRA"),
        (
            "lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight",
            (64, 640),
            "a ControlNet-LLLite",
        ),
    ],
)
def test_show_calls_a_control_file_what_it_is(
    key: str, shape: tuple[int, ...], what: str, loras: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({key: torch.zeros(shape)}, loras / "lines.safetensors")
    for name in ("lines", str(loras / "lines.safetensors")):
        told = refused(capsys, "show", name, "--models", str(loras))
        assert f"lines.safetensors is {what}" in told
        assert "\n  do        take a whole ControlNet" in told


def test_show_deep_measures_against_the_base(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(said(capsys, "show", "ink", "--base", "starter", "--deep", "--json"))
    deep = told["deep"]
    assert (deep["finite"], deep["unmeasured"], deep["effect"]["modules"]) == (True, {}, 156)
    assert 0.01 < deep["effect"]["ratio"] < 1
    assert {"BASE", "IN00", "M00"} <= set(deep["blocks"])
    assert told["hashes"]["crc32"] is not None
    assert "‖ΔW‖/‖W‖" in said(capsys, "show", "ink", "--base", "starter", "--deep")


def test_show_tells_of_the_good_files_and_then_of_the_others(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lora", "show", "wash", str(loras / "cut.safetensors"), "nosuch", "--models", str(loras)]) == 2
    out, told = capsys.readouterr()
    assert out.startswith("wash\n")
    assert "UnreadableFile: cut.safetensors" in told
    assert "FileProblem: nothing of that name" in told


def test_museum_writes_a_fixture_and_never_over_another(
    loras: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["museum", "wash", "-o", str(tmp_path / "wash.json"), "--models", str(loras)]
    assert said(capsys, *words).startswith(f"{tmp_path / 'wash.json'}: 2 names")
    assert json.loads((tmp_path / "wash.json").read_text())["expected"]["family"] == "sd15"
    assert "is there already" in refused(capsys, *words)
    assert said(capsys, *words, "--overwrite")
    assert "cannot be written" in refused(capsys, *words[:3], str(tmp_path / "no" / "a.json"), *words[4:])


def test_list_all_names_the_file_itself_where_many_have_one_list_of_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        save_file({"decoder.w": torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    text = said(capsys, "list", "--all", "--models", str(tmp_path))
    for name in ("one", "two"):
        assert f"  {tmp_path / name}.safetensors: {name}.safetensors is no adapter that is known here" in text


@pytest.mark.parametrize("columns", [40, 80])
def test_list_on_a_narrow_terminal_cuts_nothing_and_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    long, words = "a_name_that_is_longer_than_its_column_is_wide", "thin watercolour, wide brush, soft paper, evening"
    adapter(tmp_path / f"{long}.safetensors", 4, {"modelspec.trigger_phrase": words})
    lines = said(capsys, "list", "--models", str(tmp_path)).splitlines()
    at = lines.index(long)
    assert lines[at + 1].split()[:3] == ["sd15", "LoRA", "4"]
    below = lines[at + 1 : lines.index("", at)]
    assert words in " ".join(" ".join(below).split())
    assert all(len(line) <= columns for line in below)


def test_list_says_the_folder_of_files_with_one_name(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter(loras / "more" / "wash.safetensors", 2, {})
    lines = said(capsys, "list", "--models", str(loras)).splitlines()
    places = [below.strip() for line, below in pairwise(lines) if line.split()[:1] == ["wash"]]
    assert set(places) == {f"in {loras}", f"in {loras / 'more'}"}
    assert not any(below.startswith("    in") for line, below in pairwise(lines) if line.split()[:1] == ["ink"])


def test_an_adapter_of_which_a_part_is_not_used_says_so_in_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = {f"{STEM}.lora_down.weight": torch.ones(2, 768), f"{STEM}.lora_up.weight": torch.ones(320, 2)}
    half["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"] = torch.ones(2, 1280)
    save_file(half, tmp_path / "half.safetensors")
    assert "    not used: " in said(capsys, "list", "--models", str(tmp_path))


def test_show_says_whether_the_stated_hashes_are_those_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ink.safetensors"
    adapter(file, 4, {})
    payload = json.loads(said(capsys, "show", str(file), "--json"))["hashes"]["sshs"]
    for stated, word in ((payload, "is that of the tensors in this file"), ("a" * 64, "is not that of the tensors")):
        adapter(file, 4, {"sshs_model_hash": stated, "sshs_legacy_hash": "12345678"})
        text = " ".join(said(capsys, "show", str(file)).split())
        assert f"stated sshs_model_hash {stated} {word}" in text
        assert "stated sshs_legacy_hash 12345678 cannot be compared with autov1" in text
        assert "autov1 none (the file ends before the piece that it is over)" in text
