"""The command line: flags from the fields of a Job, four-line errors, exit statuses, and quick help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.unit.recorded import Recorded, recorded_studio

from sakuga.cli.main import main, offered
from sakuga.errors import JobError, SakugaError, Several, Stopped
from sakuga.spec.job import Job, Stage

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return recorded_studio(monkeypatch)


def asked(studio: Recorded, *words: str) -> Job:
    assert main(["render", "clip.mp4", *words]) == 0
    return studio.jobs[-1]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    out, told = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in told
    return told


def test_render_builds_the_job_of_its_flags(studio: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    look = ["--prompt", "flat: colours", "--lora", "celcomic:0.8", "--lora", "ink:0->1", "--control", "lineart:0.7"]
    job = asked(studio, *look, "--control", "tile:0.5", "-o", "out.mp4", "--set", "stages.0.steps=8")
    adapters, controls = ["celcomic:0.8", "ink:0->1"], ["lineart:0.7", "tile:0.5"]
    stage = Stage(prompt="flat: colours", adapters=adapters, controls=controls, steps=8)
    assert job == Job(source="clip.mp4", stages=[stage], output="out.mp4")
    assert capsys.readouterr().out == "rendered: out.mp4\n"


SAMPLES = {
    "prompt": "1920", "negative_prompt": "yes", "adapters": "ink:0.5", "controls": "tile", "embeddings": "bad",
    "motion": "none", "vae": "other", "sampler": "ddim", "steps": "7", "guidance": "2.5", "strength": "0.5",
    "clip_skip": "2", "noise": "zero", "window": "8", "stride": "4", "base": "sd", "output": "x.mp4", "seed": "5",
    "size": "256", "frames": "0:8", "device": "cpu", "dtype": "fp32", "span": "9", "models": "there", "held": "each",
    "prompt_style": "plain", "frames_at_once": "3", "tile": "64", "tile_stride": "32", "smoothers": "light",
    "smooth_at": "2", "fps": "30", "pictures": "frames", "watch": "live.mkv", "codec": "vp9", "quality": "20",
    "preset": "toon-fast",
}  # fmt: skip
OTHER_NAMES = dict(adapters="--lora", controls="--control", embeddings="--embedding", smoothers="--smoother")
PLACES = [*(("stage", name) for name in Stage.model_fields), *(("job", name) for name in Job.model_fields)]


@pytest.mark.parametrize(("where", "name"), PLACES)
def test_every_field_has_a_flag_that_sets_it(studio: Recorded, where: str, name: str) -> None:
    if name in ("source", "stages"):  # the first is a place of its own, the second is what most flags speak of
        return
    flag = (
        "--stage-size" if (where, name) == ("stage", "size") else OTHER_NAMES.get(name, f"--{name.replace('_', '-')}")
    )
    words = [flag] if name in ("overwrite", "crop", "cross_frame") else [flag, SAMPLES[name]]
    job, plain = asked(studio, *words), Job(source="clip.mp4")
    holder, before = (job.stages[0], plain.stages[0]) if where == "stage" else (job, plain)
    changed = [field for field in type(holder).model_fields if getattr(holder, field) != getattr(before, field)]
    assert set(changed) - {"stages"} == {name} and ("stages" in changed) == (name == "preset")


def test_flags_take_the_place_of_what_a_job_file_says(studio: Recorded, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("source: a.mp4\nseed: 3\nstages: [{adapters: [ink, flat], steps: 4}]\n")
    assert main(["check", str(file), "--lora", "celcomic", "--set", "stages.0.steps=8"]) == 0
    job = studio.jobs[-1]
    assert (job.seed, job.stages[0].steps) == (3, 8)
    assert [use.file for use in job.stages[0].adapters] == ["celcomic"]


def test_json_is_all_there_is_on_stdout(studio: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "clip.mp4", "--json"]) == 0
    out, told = capsys.readouterr()
    assert json.loads(out)["status"] == "rendered"
    assert "render: 3 of 3" in told
    assert main(["check", "clip.mp4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1


def test_mistakes_are_told_together_with_their_flags(studio: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--lora", "ink:50", "--strength", "50", "--size", "0", "--seed", "1e999", "--set", "stages.0.stpes=3"]
    told = refused(capsys, "render", "clip.mp4", *words)
    for part in ("--lora ink:50", "--strength 50", "--size 0", "--seed 1e999", "stages.0.steps"):
        assert part in told
    assert told.count("JobError: ") == 5
    assert studio.jobs == []


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["rendr", "clip.mp4"], "render"),
        (["render", "clip.mp4", "--stepz", "8"], "--steps"),
        (["render", "--stepz=8", "clip.mp4"], "--steps"),
        (["check", "clip.mp4", "--loras", "ink"], "--lora"),
        (["render", "clip.mp4", "--negative", "x"], "--negative-prompt"),
        (["lora", "shwo", "a.safetensors"], "show"),
        (["models", "--jsn"], "--json"),
        (["--versoin"], "--version"),
        (["render", "clip.mp4", "--sampler"], None),
        (["check", "clip.mp4", "other.mp4"], None),
        (["render"], None),
        (["lora", "show"], None),
        (["render", "nowhere.yaml"], None),
        (["render", ""], None),
    ],
)
def test_a_wrong_word_is_told_with_the_nearest(
    capsys: pytest.CaptureFixture[str], words: list[str], nearest: str | None
) -> None:
    told = refused(capsys, *words)
    assert "  expected  " in told
    assert "  do        " in told or words[-1] == ""
    if nearest:
        assert f"  nearest   {nearest}" in told


@pytest.mark.parametrize("error", [JobError("no", given="a"), Several([JobError("no", given="a"), JobError("b")])])
def test_an_error_of_the_engines_ends_with_two(
    studio: Recorded, capsys: pytest.CaptureFixture[str], error: SakugaError
) -> None:
    studio.error = error
    assert "JobError: no\n  given     a" in refused(capsys, "check", "clip.mp4")


def test_an_error_of_the_engines_says_where_its_cause_was_written(
    studio: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("source: a.mp4\nstages:\n- adapters:\n  - ink\n  - falt\n")
    findings = [
        JobError("no such LoRA", do="take another").at("stages.0.adapters.1"),
        JobError("no").at("stages.0.vae"),
    ]
    studio.error = Several([*findings, JobError("there already").at("output"), JobError("odd").at("seed")])
    told = refused(capsys, "check", str(file), "--seed", "5")
    assert "JobError: stages.0.adapters.1: no such LoRA\n  do        take another (job.yaml, line 5)\n" in told
    assert "JobError: stages.0.vae: no\n  do        change job.yaml, line 3\n" in told
    assert "JobError: output: there already\nJobError: seed: odd\n  do        change --seed 5\n" in told


def test_our_own_bugs_keep_their_traceback(studio: Recorded) -> None:
    studio.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["check", "clip.mp4"])


@pytest.mark.parametrize("error", [Stopped("stopped on request", given="render, 3 of 4 done"), KeyboardInterrupt()])
def test_a_stop_ends_with_130_and_says_so(
    studio: Recorded, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    studio.error = error
    assert main(["render", "clip.mp4"]) == 130
    assert "Stopped: " in capsys.readouterr().err


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    name, file = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", tmp_path / "tiny.safetensors"
    tensors = {f"{name}.lora_down.weight": torch.ones(2, 8), f"{name}.lora_up.weight": torch.ones(8, 2)}
    save_file(tensors, file)
    return file


def test_lora_show_and_models_show_say_what_a_file_is(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lora", "show", str(adapter), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["name"], told["keys"]["total"]) == (1, "tiny", 2)
    assert main(["lora", "show", str(adapter)]) == 0
    assert "algorithms" in capsys.readouterr().out
    assert main(["models", "show", str(adapter), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["role"] == "adapter"
    assert main(["models", "show", str(adapter)]) == 0
    assert "adapter" in capsys.readouterr().out


def test_models_lists_what_a_folder_holds(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--models", str(adapter.parent), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "tiny" in told["adapter"]
    assert str(adapter.parent) in told["folders"]
    assert main(["models", "--models", str(adapter.parent)]) == 0
    assert "tiny" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["lora", "models"])
def test_files_that_are_no_models_are_told(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("not a model at all, but a few words")
    refused(capsys, command, "show", str(text))
    refused(capsys, command, "show", str(tmp_path / "nowhere.safetensors"))


def test_help_says_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    told = capsys.readouterr().out
    assert all(f"    {name} " in told for name in offered())
    assert main(["lora"]) == 0
    assert "show" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["lora", "show", "--help"], ["--version"]])
def test_help_ends_with_zero(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "sakuga" in capsys.readouterr().out


@pytest.mark.parametrize("command", offered())
def test_every_command_says_what_it_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    usage, description, *_ = capsys.readouterr().out.split("\n\n")
    assert usage.startswith(f"usage: sakuga {command} ")
    assert len(description) > 20


def loaded_by(*words: str) -> set[str]:
    code = f"import sys\nfrom sakuga.cli.main import main\nmain({list(words)!r})\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    return set(done.stdout.rpartition("MODULES")[2].split())


def environment() -> dict[str, str]:
    """For processes in other folders: the package is found where it lies."""
    search = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": search}


def test_help_loads_neither_the_engines_nor_the_models_of_a_job() -> None:
    assert not {"torch", "numpy", "pydantic", "yaml", "rich"} & loaded_by("--help")
    assert not {"torch", "numpy", "rich", "av", "cv2"} & loaded_by("render", "--help")


def test_the_program_runs_as_a_module(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sakuga", "render", "nowhere.yaml"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False, env=environment())
    assert done.returncode == 2 and done.stderr.startswith(
        "FileProblem: there is no such job file\n  given     nowhere.yaml\n"
    )


def test_a_reader_that_has_enough_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    buffered = environment() | {"PYTHONUNBUFFERED": ""}  # unbuffered, argparse itself says nothing and the status is 0
    words = [sys.executable, "-m", "sakuga", "--help"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, env=buffered)
    assert (done.returncode, done.stderr, os.close(writer)) == (141, "", None)
