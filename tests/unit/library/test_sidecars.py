"""What stands beside an adapter, and words about it: read from strangers' files, cleaned, never trusted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sakuga.lora.library.sidecars import CAP_BYTES, read_sidecars
from sakuga.lora.training import training
from sakuga.lora.words import TAG_CAP, alias, clean, prose, tag_counts


def beside(folder: Path, suffix: str, told: object) -> Path:
    """The adapter's path, after something was written beside it."""
    (folder / f"ink{suffix}").write_text(told if isinstance(told, str) else json.dumps(told), encoding="utf-8")
    return folder / "ink.safetensors"


def test_the_notes_of_a_web_ui_are_read(tmp_path: Path) -> None:
    told = {
        "description": "thin lines",
        "sd version": "SD1",
        "activation text": "ink style, lines",
        "preferred weight": 0.8,
        "negative text": "colour",
        "notes": "mine",
    }
    found = read_sidecars(beside(tmp_path, ".json", told))
    assert (found.description, found.base, found.words) == ("thin lines", "SD1", ("ink style, lines",))
    assert (found.weight, found.negative, found.remark) == (0.8, "colour", "mine")
    assert found.files == ("ink.json",)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("suffix", "told"),
    [
        (
            ".civitai.info",
            {
                "id": 1,
                "baseModel": "SD 1.5",
                "trainedWords": ["inkstyle", "ink, lines,"],
                "model": {"name": "Ink"},
                "files": [{"hashes": {"SHA256": "AB" * 32, "AutoV3": "0123456789AB", "CRC32": "12345678"}}],
            },
        ),
        (
            ".cm-info.json",
            {
                "ModelName": "Ink",
                "BaseModel": "SD 1.5",
                "TrainedWords": ["inkstyle", "ink, lines"],
                "Hashes": {"SHA256": "ab" * 32, "AutoV3": "0123456789ab"},
            },
        ),
        (
            ".metadata.json",
            {
                "model_name": "Ink",
                "base_model": "SD 1.5",
                "civitai": {
                    "trainedWords": ["inkstyle", "ink, lines"],
                    "files": [{"hashes": {"SHA256": "ab" * 32, "AutoV3": "0123456789AB"}}],
                },
            },
        ),
    ],
)
def test_what_managers_of_models_leave_is_read(tmp_path: Path, suffix: str, told: object) -> None:
    found = read_sidecars(beside(tmp_path, suffix, told))
    assert (found.title, found.base, found.words) == ("Ink", "SD 1.5", ("inkstyle", "ink, lines"))
    assert found.hashes == ("ab" * 32, "0123456789ab")


def test_pictures_are_named_and_not_opened(tmp_path: Path) -> None:
    path = beside(tmp_path, ".preview.png", "no picture at all")
    beside(tmp_path, ".png", "another")
    assert read_sidecars(path).preview == "ink.preview.png"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "\x00\xff", '{"a":' + "[" * 50_000, "null", '{"activation text": "' + "x" * CAP_BYTES + '"}'],
)
def test_a_sidecar_that_cannot_be_read_is_a_note(tmp_path: Path, text: str) -> None:
    found = read_sidecars(beside(tmp_path, ".civitai.info", text))
    assert len(found.notes) == 1
    assert found.notes[0].startswith("ink.civitai.info is not read: ")
    assert found.words == ()


def test_odd_values_of_a_sidecar_are_left_out(tmp_path: Path) -> None:
    told = {
        "trainedWords": [None, 5, ["a"], "ok"],
        "description": {"a": 1},
        "preferred weight": True,
        "base_model": 7,
        "files": [None, 3, {"hashes": {"SHA256": "../../etc/passwd"}}],
        "model": {"model": {"model": {"model": {"model": {"name": "too deep"}}}}},
    }
    found = read_sidecars(beside(tmp_path, ".json", told))
    assert found.words == ("ok",)
    assert (found.description, found.base, found.weight, found.hashes, found.title) == ("", "", None, (), "")


def test_hostile_text_becomes_one_plain_line(tmp_path: Path) -> None:
    told = {
        "activation text": "ink\x1b[2J\r\nstyle\u202egnp.exe",
        "description": "<script>alert(1)</script><p>Thin &lt;b&gt; lines\x07</p>" + "x" * 10_000,
        "notes": "\ud800 alone",
    }
    found = read_sidecars(beside(tmp_path, ".json", told))
    assert found.words == ("ink [2J style gnp.exe",)
    assert found.description.startswith("alert(1) Thin <b> lines xxx")
    assert len(found.description) <= 600
    for text in (*found.words, found.description, found.remark):
        assert text.isprintable()
        text.encode()


def test_a_pipe_beside_an_adapter_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ink.json")
    assert read_sidecars(tmp_path / "ink.safetensors").files == ()


def test_tags_are_counted_over_all_folders_whose_names_are_not_told() -> None:
    table = {
        "10_me/secret": {"ink": 3, "lines": 1, "/people/me": 9, "x" * (TAG_CAP + 1): 5, "bad": "7", "neg": -1},
        "5_b": {"ink": 2},
        "odd": ["ink"],
    }
    assert tag_counts({"ss_tag_frequency": json.dumps(table)}) == {"ink": 5, "lines": 1}


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "[" * 100_000])
def test_a_broken_table_of_tags_holds_none(text: str) -> None:
    assert tag_counts({"ss_tag_frequency": text}) == {}


@pytest.mark.parametrize(
    ("stated", "name"),
    [("ink_v2", "ink_v2"), ("/people/me/ink", "ink"), ("C:\\me\\ink", "ink"), ("None", ""), ("", "")],
)
def test_an_alias_is_a_name_and_no_path(stated: str, name: str) -> None:
    assert alias({"ss_output_name": stated}) == name


def test_metadata_are_shown_without_folders() -> None:
    given = {
        "ss_network_args": '{"preset": "/people/me/full.toml", "algo": "loha"}',
        "modelspec.license": "https://example.org/some/page",
        "ss_sd_model_name": "/people/me/base.safetensors",
    }
    assert training(given) == {
        "shown": {
            "ss_network_args": '{"preset": "…/full.toml", "algo": "loha"}',
            "modelspec.license": "https://example.org/some/page",
        },
        "withheld": ["ss_sd_model_name"],
    }


def test_clean_takes_any_value() -> None:
    assert [clean(value) for value in (None, 5, ["a"], " a \n b ")] == ["", "", "", "a b"]
    assert clean("x" * 1000, 10) == "x" * 9 + "…"
    assert prose(5) == ""
