"""What people give by mistake: advice and status 2, nothing left behind, and a typed error in Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import sakuga
from sakuga.cli.main import main
from sakuga.errors import (
    AdapterDoesNotFit,
    ClipError,
    FileProblem,
    JobError,
    OutputError,
    SakugaError,
    Several,
    UnreadableFile,
)
from sakuga.render.studio import Studio
from sakuga.spec.job import Job
from sakuga.spec.load import make_job

SOURCE = Path(sakuga.__file__).parents[1]
Names = Callable[[Path], list[str]]


def lora(path: Path, layers: Mapping[str, tuple[int, int]]) -> Path:
    """An adapter in kohya's layout for layers of these (rows, columns)."""
    tensors = {}
    for name, (rows, columns) in layers.items():
        tensors |= {f"{name}.lora_down.weight": torch.zeros(4, columns), f"{name}.lora_up.weight": torch.zeros(rows, 4)}
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, adapters: Mapping[str, Path]) -> Path:
    """A folder with one of each kind of bad file."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "folder").mkdir()
    (folder / "text.safetensors").write_text("You have to be logged in to download this model.\n" * 20)
    (folder / "empty.safetensors").write_bytes(b"")
    whole = adapters["kohya"].read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    block = "lora_unet_input_blocks_4_1_transformer_blocks_1"
    lora(
        folder / "sdxl.safetensors",
        {f"{block}_attn2_to_k": (640, 2048), "lora_te2_text_model_encoder_layers_0_mlp_fc1": (5120, 1280)},
    )
    lora(
        folder / "flux.safetensors",
        {"lora_unet_double_blocks_0_img_attn_qkv": (9216, 3072), "lora_unet_single_blocks_0_linear2": (3072, 15360)},
    )
    lora(folder / "stranger.safetensors", {"lora_unet_somewhere_else_to_q": (64, 64)})
    (folder / "words.mp4").write_text("not a video\n" * 100)
    return folder


CASES: dict[str, tuple[list[str], type[SakugaError], str]] = {
    "a missing clip": (["{bad}/nowhere.mp4"], ClipError, "nowhere.mp4"),
    "a folder without pictures": (["{bad}/folder"], ClipError, "there are no pictures"),
    "text as a clip": (["{bad}/words.mp4"], ClipError, "words.mp4"),
    "a clip without frames": (["{made}/none.mp4"], ClipError, "none.mp4"),
    "sound alone": (["{made}/sound.mp4"], ClipError, "sound.mp4"),
    "a missing lora": (["{clip}", "--lora", "{bad}/nowhere.safetensors"], FileProblem, "no such file"),
    "an unknown name": (["{clip}", "--lora", "celcomc"], FileProblem, "nothing of that name"),
    "a folder as a lora": (["{clip}", "--lora", "{bad}/folder"], FileProblem, "folder"),
    "text as a lora": (["{clip}", "--lora", "{bad}/text.safetensors"], UnreadableFile, "text.safetensors"),
    "an empty lora": (["{clip}", "--lora", "{bad}/empty.safetensors"], UnreadableFile, "empty.safetensors"),
    "a lora cut off": (["{clip}", "--lora", "{bad}/truncated.safetensors"], UnreadableFile, "truncated.safetensors"),
    "an SDXL lora": (["{clip}", "--lora", "{bad}/sdxl.safetensors"], AdapterDoesNotFit, "an SDXL adapter"),
    "a Flux lora": (["{clip}", "--lora", "{bad}/flux.safetensors"], AdapterDoesNotFit, "a Flux.1"),
    "a stranger": (["{clip}", "--lora", "{bad}/stranger.safetensors"], AdapterDoesNotFit, "fits nothing"),
    "a lora as a control": (
        ["{clip}", "--set", "stages.0.controls=[{{kind: tile, file: {lora}}}]"],
        FileProblem,
        "tile",
    ),
    "a lora as a base": (["{clip}", "--base", "{lora}"], FileProblem, "no base model"),
    "an unknown control": (["{clip}", "--control", "linart"], SakugaError, "lineart"),
    "an unknown sampler": (["{clip}", "--sampler", "dimm"], JobError, "ddim"),
    "a weight of 50": (["{clip}", "--lora", "{lora}:50"], JobError, "50"),
    "a strength of 50": (["{clip}", "--strength", "50"], JobError, "50"),
    "a size of 0": (["{clip}", "--size", "0"], JobError, "size"),
    "frames that are not there": (["{clip}", "--frames", "7:9"], JobError, "does not have these frames"),
    "a device that is not there": (["{clip}", "--device", "cuda:77"], SakugaError, "cuda:77"),
    "a folder that is not there": (["{clip}", "-o", "{out}/no/toon.png"], OutputError, "there is no folder"),
    "an output that is an ending alone": (["{clip}", "-o", "{out}/.mp4"], OutputError, "toon.mp4"),
    "an output that is a dash": (["{clip}", "-o", "-"], OutputError, "folder of PNGs"),
    "models that are not there": (["{clip}", "--models", "{bad}/nowhere"], FileProblem, "(--models "),
    "an output of no kind": (["{clip}", "-o", "{out}/toon.avi"], OutputError, ".mp4"),
}


@pytest.fixture
def filled(
    bad: Path, made: Any, sources: Mapping[str, Path], adapters: Mapping[str, Path], tmp_path: Path
) -> Callable[[list[str]], list[str]]:
    """The words of a case with its paths; everything else in them is as a person would type it."""
    out = tmp_path / "out"
    out.mkdir()
    clips = tmp_path
    made.film("none.mp4", times=(), sound=False)
    made.sound("sound.mp4")

    def fill(words: list[str]) -> list[str]:
        named = {"bad": bad, "made": clips, "clip": sources["picture"], "lora": adapters["kohya"], "out": out}
        given = [word.format(**named) for word in words]
        return given if "-o" in given else [*given, "-o", str(out / "toon.mp4")]

    return fill


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_told_with_advice(
    case: str, filled: Callable[[list[str]], list[str]], tmp_path: Path, left_in: Names,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words, kind, told_of = CASES[case]
    assert main(["render", *filled(words)]) == 2
    out, told = capsys.readouterr()
    error = told[told.index(next(name for name in kinds(kind) if name in told)) :]
    assert out == "" and "Traceback" not in told
    assert told_of in error
    assert [label for label in ("given", "expected", "do") if f"\n  {label:<10}" not in error] == []
    assert left_in(tmp_path / "out") == []


def kinds(kind: type[SakugaError]) -> list[str]:
    """The beginnings of what a terminal shows for this kind of error, or one of its own kinds."""
    names = [kind]
    for found in names:
        names.extend(found.__subclasses__())
    return [f"{name.__name__}: " for name in names]


SOME = (
    "a missing clip", "a clip without frames", "a missing lora", "text as a lora", "an SDXL lora", "a stranger",
    "a lora as a base", "an unknown sampler", "a strength of 50", "a device that is not there",
    "a folder that is not there",
)  # fmt: skip


@pytest.mark.parametrize("case", SOME)
def test_a_mistake_is_a_typed_error_in_python(
    case: str, studio: Studio, filled: Callable[[list[str]], list[str]], tmp_path: Path, left_in: Names
) -> None:
    words, kind, _ = CASES[case]
    source, *flags = filled(words)
    with pytest.raises(kind):
        studio.render(job_of(source, flags))
    assert left_in(tmp_path / "out") == []


def job_of(source: str, flags: list[str]) -> Job:
    """The Job of a few flags, by the paths that they stand for."""
    paths = {"--lora": "stages.0.adapters", "--control": "stages.0.controls", "-o": "output", "--set": ""}
    said = []
    for flag, value in zip(flags[::2], flags[1::2], strict=True):
        path = paths.get(flag, flag.removeprefix("--"))
        path = f"stages.0.{path}" if path in ("strength", "sampler") else path
        listed = f"[{value!r}]" if flag in ("--lora", "--control") else value
        said.append(f"{path}={listed}" if path else value)
    return make_job(source, said).job


def test_an_option_that_is_nearly_one_is_told(sources: Mapping[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(sources["picture"]), "--loar", "ink"]) == 2
    told = capsys.readouterr().err
    assert "\n  nearest   --lora\n" in told


def test_findings_are_told_together_each_with_its_place(
    studio: Studio, sources: Mapping[str, Path], adapters: Mapping[str, Path], bad: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    uses = [str(adapters["kohya"]), str(bad / "sdxl.safetensors"), str(bad / "text.safetensors")]
    second = {"controls": ["tile", "linart"], "embeddings": ["nobody"], "vae": "nothing"}
    job = Job(source=tmp_path / "no.mp4", stages=[{"adapters": uses}, second], output=tmp_path / "no" / "toon.mp4")
    with pytest.raises(Several) as raised:
        studio.check(job)
    places = {finding.place for finding in raised.value.findings}
    assert places == {
        "source", "output", "stages.0.adapters.1", "stages.0.adapters.2", "stages.1.controls.1",
        "stages.1.embeddings.0", "stages.1.vae",
    }  # fmt: skip
    words = ["--lora", uses[0], "--lora", uses[1], "--lora", uses[2]]
    assert main(["check", str(sources["picture"]), *words]) == 2
    told = capsys.readouterr().err
    assert "AdapterDoesNotFit: stages.0.adapters.1: " in told and f"(--lora {uses[1]}"[:60] in told
    assert "UnreadableFile: stages.0.adapters.2: " in told


FULL_DISK = """
import resource, sys
from pathlib import Path
from sakuga.cli.main import main

def limited(room_bytes, output):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, resource.RLIM_INFINITY))
    words = ["render", {source!r}, "--fresh", "--motion", "none", "--size", "16x16", "-o", output]
    status = main(words)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return status

assert limited(resource.RLIM_INFINITY, "whole.png") == 0
room_bytes = Path("whole.png").stat().st_size
report_bytes = Path("whole.report.json").stat().st_size
assert report_bytes > room_bytes, "or the second would not be about the report"
print("status", limited(room_bytes // 2, "picture.png"), limited(report_bytes - 100, "report.png"))
"""


def test_a_full_disk_is_told_and_leaves_nothing(sources: Mapping[str, Path], tmp_path: Path, left_in: Names) -> None:
    search = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"}
    code = FULL_DISK.replace("{source!r}", repr(str(sources["picture"])))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    assert done.stdout.endswith("status 2 2\n")
    assert done.stderr.count("OutputError: ") == 2
    assert left_in(tmp_path) == ["report.png", "whole.png", "whole.report.json"], "a whole output outlives its report"


def test_a_wrong_sampler_hides_no_wrong_lora(sources: Mapping[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(sources["film"]), "--sampler", "eulr", "--lora", "celcomc", "--control", "linart"]) == 2
    told = capsys.readouterr().err
    assert "eulr" in told
    assert "celcomc" in told
    assert "linart" in told


def test_the_source_is_never_offered_for_overwriting(
    sources: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    clip = sources["film"]
    before = clip.read_bytes()
    for more in ([], ["--overwrite"]):
        assert main(["render", str(clip), "-o", str(clip), *more]) == 2
        assert "the source itself" in capsys.readouterr().err
    assert clip.read_bytes() == before
