"""What people type by mistake and must hear of: nothing where a value belongs, two values for one thing, odd names."""

from __future__ import annotations

from pathlib import Path

import pytest

from sakuga.cli.flags import _GROUPS, _names, _spot
from sakuga.cli.main import main, parser_for
from sakuga.cli.parser import Parser
from sakuga.errors import JobError, SakugaError
from sakuga.report import Report
from sakuga.spec.load import make_job
from sakuga.spec.uses import ControlUse, LoraUse

FLAGS = [_names(place, _spot(place))[-1] for _, places in _GROUPS for place in places]
MAY_BE_EMPTY = ("--prompt", "--negative-prompt", "--overwrite", "--crop", "--cross-frame")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    out, told = capsys.readouterr()
    assert out == "" and "Traceback" not in told
    return told


@pytest.mark.parametrize("flag", sorted({*FLAGS} - {*MAY_BE_EMPTY}))
def test_an_empty_value_does_not_count_as_not_given(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "check", "clip.mp4", f"{flag}=")
    assert "\n  given     " in told and "\n  expected  " in told
    assert f'\n  do        change {flag} ""\n' in told


def test_an_empty_value_of_set_does_not_count_as_not_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert '\n  given     ""\n' in refused(capsys, "check", "clip.mp4", "--set", "stages.0.guidance=")
    assert make_job("clip.mp4", ["stages.0.prompt=", "stages.0.guidance=null"]).job.stages[0].prompt == ""


@pytest.mark.parametrize(
    "words",
    [
        ("lora", "show", ""), ("lora", "show", "ink", "--base="), ("lora", "show", "ink", "--models="),
        ("models", "--models="), ("models", "show", " "), ("demo", "-o", ""), ("demo", "-o", "-"),
    ],
)  # fmt: skip
def test_an_empty_name_or_path_is_told(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "is neither a name nor a path\n  given     " in refused(capsys, *words)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("--seed", "1", "--seed", "2"), "1 and 2"),
        (("-o", "a.mp4", "--output=b.mp4"), "a.mp4 and b.mp4"),
        (("--prompt", "a", "--prompt="), "a and "),
        (("--set", "seed=1", "--set", "seed=2"), "--set seed=1 and --set seed=2"),
        (("--seed", "1", "--set", "seed=2"), "--seed 1 and --set seed=2"),
        (("--lora", "ink", "--set", "stages.0.adapters=[]"), "--lora ink and --set stages.0.adapters=[]"),
        (("--lora", "ink", "--set", "stages.0.adapters.0=flat"), "--lora ink and --set stages.0.adapters.0=flat"),
        (("--steps", "4", "--set", "stages=[{steps: 8}]"), "--steps 4 and --set stages=[{steps: 8}]"),
    ],
)
def test_the_first_of_two_values_is_not_dropped_without_a_word(
    words: tuple[str, ...], given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, "check", "clip.mp4", *words)
    assert " is given twice\n" in told
    assert f"\n  given     {given}\n" in told


def test_the_same_value_twice_and_a_part_of_a_value_are_no_contradiction() -> None:
    assert parser_for("check").parse_args(["check", "demo", "--seed", "1", "--seed", "1"])
    assert make_job("clip.mp4", ["seed=1", "seed=1"]).job.seed == 1
    job = make_job("clip.mp4", ["stages.0.adapters=[ink]", "stages.0.adapters.0.weight=0.5"]).job
    assert job.stages[0].adapters == (LoraUse(file="ink", weight=0.5),)
    told = parser_for("lora").parse_args(["lora", "show", "ink", "--models", "a", "--models", "b"])
    assert told.models == [Path("a"), Path("b")]


@pytest.mark.parametrize(
    ("text", "file", "weight"),
    [
        ("dir:x/a.safetensors:0.5", "dir:x/a.safetensors", 0.5),
        ("dir:x/ink:0.5", "dir:x/ink", 0.5),
        ("dir:x/", "dir:x/", 1),
        ("a:b.safetensors", "a:b.safetensors", 1),
        ("a:b.Safetensors : 0.5", "a:b.Safetensors", 0.5),
        ("a:0.5.pt:0.7", "a:0.5.pt", 0.7),
        (r"C:\ink.safetensors:0.8", r"C:\ink.safetensors", 0.8),
        ("C:/ink.v2:0.8", "C:/ink.v2", 0.8),
        ("ink.ptx:0.5", "ink.ptx", 0.5),
    ],
)
def test_a_file_with_a_colon_in_its_name_is_found(text: str, file: str, weight: float) -> None:
    assert LoraUse.parse(text) == LoraUse(file=file, weight=weight)
    assert LoraUse.parse("a:b.pt:0.1:0.2") == LoraUse(file="a:b.pt", text_encoder_weight=0.1, weight=0.2)
    assert ControlUse.parse("tile:0.5").scale == 0.5


def test_a_name_with_a_colon_is_told_how_to_be_written() -> None:
    with pytest.raises(JobError) as caught:
        LoraUse.parse("my:ink")
    assert caught.value.do and """--set 'stages.0.adapters=[{file: "my:ink"}]'""" in caught.value.do
    assert make_job("clip.mp4", ['stages.0.adapters=[{file: "my:ink"}]']).job.stages[0].adapters[0].file == "my:ink"
    with pytest.raises(SakugaError) as caught:
        LoraUse.parse("ink:0,8")
    assert caught.value.do is None, "a number that is mistyped is no name"


def test_a_folder_of_models_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "modles").mkdir()
    for words in (("models",), ("models", "show", "ink"), ("lora", "show", "ink")):
        told = refused(capsys, *words, "--models", str(tmp_path / "models"))
        assert f"\n  given     {tmp_path / 'models'}\n  expected  a folder of models\n  nearest   modles\n" in told


def test_models_show_takes_a_name_as_the_flags_do(capsys: pytest.CaptureFixture[str]) -> None:
    for name, role in (("ink", "adapter"), ("lineart", "control"), ("starter", "bundle")):
        assert main(["models", "show", name]) == 0
        assert f"\nrole             {role}\n" in capsys.readouterr().out
    assert "\n  nearest   lineart\n" in refused(capsys, "models", "show", "linart")
    assert main(["lora", "show", "ink"]) == 0


def test_one_frame_is_not_told_as_frames() -> None:
    report = Report(clip={"width": 64, "height": 48, "frames": 1})
    assert "64x48, 1 frame\n" in report.text() + "\n"


@pytest.mark.parametrize(
    ("words", "title", "nearest"),
    [
        (("lora", "shwo"), "there is no command 'shwo'", "show"),
        (("lora", "show", "ink", "--json=x"), "--json takes no value", None),
        (("render", "--ov"), "there is no option --ov", "--overwrite"),
        (("render", "demo", "--ov"), "there is no option --ov", "--overwrite"),
        (("render", "demo", "--promt", "ink"), "there is no option --promt", "--prompt"),
        (("render",), "the following arguments are required: INPUT", None),
        (("render", "--steps", "3"), "the following arguments are required: INPUT", None),
    ],
)
def test_a_wrong_word_is_called_what_it_is(
    words: tuple[str, ...], title: str, nearest: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, *words)
    assert told.startswith(f"JobError: {title}\n")
    assert nearest is None or f"\n  nearest   {nearest}" in told


def test_a_wrong_choice_of_an_option_is_no_command() -> None:
    parser = Parser("sakuga draw")
    parser.add_argument("--layout", choices=("kohya", "peft"))
    with pytest.raises(JobError, match="--layout cannot be 'pfet'") as caught:
        parser.parse_args(["--layout", "pfet"])
    assert (caught.value.expected, caught.value.nearest) == ("one of kohya, peft", "peft")


@pytest.mark.parametrize("place", ["/", "."])
def test_a_folder_without_a_name_is_named_all_the_same(
    place: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"there are no pictures in the folder {place}\n" in refused(capsys, "check", place)
    assert "the output has no name of its own\n" in refused(capsys, "check", "demo", "-o", place)
