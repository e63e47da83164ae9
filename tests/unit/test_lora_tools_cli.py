"""The tools on the command line, with the starter's own adapters: the guide runs, and mistakes are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from tests.unit.adapter_files import changes, relative

from sakuga.cli.main import main
from sakuga.models.library import STARTER

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "lora-tools.md"
LORAS = STARTER / "loras"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _run(words: str) -> int:
    return main(["lora", *words.split()])


def test_the_guide_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = re.findall(r"^sakuga lora (.+)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {line.split()[0] for line in lines} == {"merge", "resize", "convert", "diff", "bake", "extract"}
    for line in lines:
        assert _run(line) == 0, (line, capsys.readouterr().err)
    told = capsys.readouterr().out
    assert "they are one and the same adapter: every change is equal, to the bit" in told
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_merged_adapter_is_the_stack_within_rounding(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("merge celcomic:1 ink:0.2 -o out.safetensors --dtype fp32 --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["modules"], told["ranks"], told["numbers"]) == (156, {"16": 156}, "fp32")
    assert told["error"] < 1e-7
    cel, ink = changes(LORAS / "celcomic.safetensors"), changes(LORAS / "ink.safetensors")
    found = changes(Path("out.safetensors"))
    assert found.keys() == cel.keys()
    for name, change in found.items():
        assert relative(change, cel[name] + 0.2 * ink[name]) < 1e-6


def test_strengths_of_text_encoder_and_unet(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("merge ink:0.5:-2 -o out.safetensors --dtype fp32") == 0
    ink, found = changes(LORAS / "ink.safetensors"), changes(Path("out.safetensors"))
    for name, change in found.items():
        assert relative(change, ink[name] * (0.5 if name.startswith("lora_te") else -2)) < 1e-6


def test_weights_of_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("merge ink:2:lbw=MIDD celcomic:0 -o out.safetensors --dtype fp32 --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert next(one for one in told["adapters"] if one["name"] == "ink")["blocks"]["M00"] == 1
    ink, found = changes(LORAS / "ink.safetensors"), changes(Path("out.safetensors"))
    middle = {name for name in ink if name.startswith("lora_unet_mid_block_")}
    assert middle <= found.keys() and not any(name.startswith("lora_unet_up_blocks_3") for name in found)
    assert all(relative(found[name], 2 * ink[name]) < 1e-6 for name in middle)


def test_one_layout_after_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("merge celcomic:1 ink:0.2 -o out.safetensors --layout diffusers --dtype fp32") == 0
    assert _run("merge celcomic:1 ink:0.2 -o plain.safetensors --dtype fp32") == 0
    assert _run("diff out.safetensors plain.safetensors --json") == 0
    told = json.loads(capsys.readouterr().out.partition("\n{")[2].join(("{", "")))
    assert told["relative_difference"] == 0.0 and told["only_first"] == told["only_second"] == []


def test_extracting_gives_back_what_was_baked(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("bake --base starter celcomic:1 -o baked") == 0
    assert _run("extract --base starter --tuned baked --rank 8 -o out.safetensors --dtype fp32") == 0
    cel, found = changes(LORAS / "celcomic.safetensors"), changes(Path("out.safetensors"))
    gap = torch.tensor([float((found[name] - cel[name]).norm()) for name in found]).norm()
    assert gap / torch.tensor([float(change.norm()) for change in cel.values()]).norm() < 5e-3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("merge ink:0->1@frames -o out.safetensors", "what is written to a file has one weight"),
        ("merge ink:1:start=3 -o out.safetensors", "what is written to a file has one weight"),
        ("merge ink:1:lbw=OUTS2 -o out.safetensors", "OUTS"),
        ("merge nothing -o out.safetensors", "nothing of that name serves as a LoRA"),
        ("merge ink -o out.ckpt", "end its name in .safetensors"),
        ("merge ink -o out.safetensors --layout peft", "PEFT's layout is a folder"),
        ("merge ink -o nowhere/out.safetensors", "there is no folder"),
        ("merge ink -o there.safetensors", "allow it with --overwrite"),
        ("merge ink -o out.safetensors --dynamic sv_fro 0.9", "--dynamic needs"),
        ("merge ink -o out.safetensors --rank 4 --dynamic sv_for 0.9", "nearest   sv_fro"),
        ("merge ink -o out.safetensors --rank 4 --dynamic sv_fro 9", "sv_fro does not take this number"),
        ("merge ink -o out.safetensors --rank 0", "a rank is at least 1"),
        ("merge ink -o out.safetensors --rank few", "invalid int value"),
        ("merge ink -o out.safetensors --dtype fp8", "there is no number format 'fp8'"),
        ("resize ink -o out.safetensors", "--rank"),
        ("convert ink --to webui -o out.safetensors", "there is no layout 'webui'"),
        ("bake ink -o out", "--base"),
        ("bake --base ink ink -o out", "nothing of that name serves as a base"),
        ("extract --base starter --tuned starter --rank 4 -o out.safetensors", "nothing is left to write"),
        ("diff ink", "required: B"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(
    words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("there.safetensors").write_text("mine")
    assert _run(words) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.safetensors"]
    assert Path("there.safetensors").read_text() == "mine"
