"""Job files: lines in errors, all findings at once, hostile texts, overrides, and paths beside the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sakuga.errors import FileProblem, JobError, SakugaError, Several
from sakuga.spec.job import Job, Stage
from sakuga.spec.lines import read_word
from sakuga.spec.load import dump_job, job_key, load_job, make_job
from sakuga.spec.uses import ControlUse, LoraUse
from sakuga.spec.vary import Auto

EXAMPLE = """\
source: dance.mp4
base: starter
stages:
  - prompt: flat colours, clean ink lines
    adapters: [ink:0.8, {file: flat.safetensors, weight: auto}]
    controls: [lineart:0.7, tile:0.5]
    steps: 10
output: dance-toon.mp4
"""


def refused(text: str, *overrides: str) -> SakugaError:
    with pytest.raises(SakugaError) as told:
        load_job(text, overrides)
    return told.value


def test_a_job_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(EXAMPLE)
    job = load_job(file)
    assert job == load_job(str(file)) == load_job(EXAMPLE)
    assert job.stages[0].adapters == (
        LoraUse(file="ink", weight=0.8),
        LoraUse(file="flat.safetensors", weight=Auto()),
    )
    assert job.stages[0].controls == (ControlUse(kind="lineart", scale=0.7), ControlUse(kind="tile", scale=0.5))


def test_json_is_a_job_file_too(tmp_path: Path) -> None:
    plain = json.loads(json.dumps(yaml.safe_load(EXAMPLE)))
    plain["stages"][0]["prompt"] = "ünïcode 😀 / tab\t"
    for name, indent in (("a.json", None), ("b.JSON", "\t")):
        (tmp_path / name).write_text(json.dumps(plain, indent=indent))
        assert load_job(tmp_path / name).stages[0].prompt == "ünïcode 😀 / tab\t"


def test_the_words_of_yaml_mean_what_they_say() -> None:
    assert [read_word(text) for text in ("yes", "on", "1:30", "2024-01-01", "0x10", "1_000")] == [
        "yes", "on", "1:30", "2024-01-01", "0x10", "1_000",
    ]  # fmt: skip
    assert [read_word(text) for text in ("", "~", "null", "true", "False", "-3", "1e3", ".5", "010")] == [
        None, None, None, True, False, -3, 1000.0, 0.5, 10,
    ]  # fmt: skip
    assert load_job("source: a\nframes: 1:30").frames == (1, 30)


def test_every_finding_has_its_line_and_path(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "source: a.mp4\nstages:\n  - stepz: 3\n    adapters:\n      - ink:0.8\n      - x:50\nsede: 3\nsize: 0\n"
    )
    with pytest.raises(Several) as told:
        load_job(file)
    text = str(told.value)
    assert "stages.0.adapters.1: a weight of 50 is too strong" in text
    assert "stages.0: there is no 'stepz' here" in text
    for line in (3, 6, 7, 8):
        assert f"job.yaml, line {line}" in text
    assert {finding.nearest for finding in told.value.findings} >= {"steps", "seed"}


def test_a_key_given_twice_is_told_beside_the_rest() -> None:
    error = refused("source: a\nseed: 1\nseed: 2\nsize: 3\n")
    assert isinstance(error, Several)
    assert "'seed' is given twice" in str(error)
    assert "lines 2 and 3" in str(error)
    assert "size" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n# only a comment\n",
        "null",
        "3",
        "[]",
        "just words",
        "stages: []",
        "[",
        "a: [1",
        "a: 'b",
        "a: b: c",
        "\t- a",
        "? [a]\n: b",
        'source: "\\UFFFFFFFF"',
        'source: "\\ud800"',
        "source: \x01",
        "source: a\n---\nsource: b",
        "%YAML 9.9\n--- a",
        "!!python/object/apply:os.system [ls]",
        "source: !!python/name:os.system x",
        "source: !path a",
        "<<: {source: a}",
        "source: *a",
        "&a [*a]",
        "source: a\nseed: .inf",
        "source: a\nseed: .nan",
        "source: a\nseed: 1e999",
        "source: a\nseed: " + "9" * 5000,
        "source: a\noverwrite: yes",
        "source: a\nsize: true",
        "source: a\nstages: [{steps: '50'}]",
        "source: a\nstages: [{guidance: nan}]",
        "source: a\nbase:",
        "source: ''",
        "source: " + "a" * 300,
        "source: a\nstages: " + "[" * 50_000,
        "- " * 5000,
        "{" * 5000,
        "a: " + "x" * 10_000_000,
        "\n".join(f"key{number}: 1" for number in range(9000)),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_hostile_texts_are_told(text: str) -> None:
    assert isinstance(refused(text + "\n"), JobError | Several)


def test_an_alias_bomb_is_counted_not_built() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]")
    assert "too many values" in str(refused("\n".join(lines)))


def test_aliases_share_nothing_afterwards() -> None:
    text = "source: a\nstages: [&s {adapters: [ink]}, *s]\n"
    one, two = load_job(text, ["stages.1.adapters.0=flat"]).stages
    assert (one.adapters[0].file, two.adapters[0].file) == ("ink", "flat")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"source: \xff", b"PK\x03\x04" + bytes(range(256)), b"\x00" * 300_000]
)
def test_files_that_are_no_text_are_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(content)
    with pytest.raises(JobError):
        load_job(file)


def test_files_that_are_not_there_are_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "dance.yaml").write_text(EXAMPLE)
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(FileProblem) as told:
        load_job(tmp_path / "dence.yaml")
    assert told.value.nearest == str(tmp_path / "dance.yaml")
    with pytest.raises(FileProblem, match="a folder"):
        load_job(tmp_path / "folder.yaml")
    with pytest.raises(FileProblem):
        load_job(tmp_path / "nowhere" / "job.yaml")
    with pytest.raises(FileProblem):
        load_job(Path("/dev/zero"))


def test_a_job_without_a_file() -> None:
    job = make_job("clip.mp4", ["stages.0.steps=8"]).job
    assert job == Job(source="clip.mp4", stages=[Stage(steps=8)])
    assert make_job("demo").job.source == Path("demo")
    with pytest.raises(JobError):
        make_job("")


def test_relative_paths_are_looked_for_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    for name in ("dance.mp4", "flat.safetensors", "ink", "base.ckpt"):
        (home / name).touch()
    (work / "away.mp4").touch()
    monkeypatch.chdir(work)
    (home / "job.yaml").write_text(EXAMPLE.replace("base: starter", "base: base.ckpt"))
    job = load_job(home / "job.yaml")
    assert job.source == home / "dance.mp4"
    assert job.base == str(home / "base.ckpt")
    assert [use.file for use in job.stages[0].adapters] == ["ink", str(home / "flat.safetensors")]  # ink is a name
    assert job.output == Path("dance-toon.mp4")  # the working directory
    from_flags = ["source=dance.mp4", "stages.0.adapters.1.file=flat.safetensors", "base=base.ckpt"]
    job = load_job(home / "job.yaml", from_flags)
    assert (job.source, job.base) == (Path("dance.mp4"), "base.ckpt")
    assert job.stages[0].adapters[1].file == "flat.safetensors"
    (home / "job.yaml").write_text("source: away.mp4")
    assert load_job(home / "job.yaml").source == Path("away.mp4")


plain_text = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
names = plain_text.filter(lambda text: text.strip() and text.isprintable() and len(text.encode()) < 200)


@settings(deadline=None, max_examples=50)
@given(
    prompt=plain_text.filter(lambda text: not set(text) & set("([<")),
    name=names,
    weight=st.floats(-20, 20),
    steps=st.none() | st.integers(1, 1000),
    guidance=st.none() | st.floats(0, 100),
)
def test_a_dumped_job_is_read_back_the_same(
    prompt: str, name: str, weight: float, steps: int | None, guidance: float | None
) -> None:
    stage = Stage(
        prompt=prompt, adapters=[LoraUse(file=name, weight=weight)], embeddings=[name], steps=steps, guidance=guidance
    )
    job = Job(source="clip.mp4", stages=[stage], base=name, size="384x216", frames=(1, None))
    assert load_job(dump_job(job)) == job


@pytest.mark.parametrize(
    "word", ["yes", "null", "1e3", "5", "1:30", "~", ".5", "true", "- a", "a: b", "#c", "'", " x "]
)
def test_words_that_look_like_something_else_survive(word: str) -> None:
    job = Job(source="a", base=word, stages=[{"prompt": word, "negative_prompt": word}])
    assert load_job(dump_job(job)) == job


def test_the_key_of_a_job_forgets_where_it_goes() -> None:
    job = load_job(EXAMPLE)
    same = load_job(EXAMPLE, ["output=other.mp4", "overwrite=true", "device=cpu", "source=/a/b.mp4"])
    assert job_key(job) == job_key(same) == json.loads(json.dumps(job_key(job)))
    assert job_key(job) != job_key(load_job(EXAMPLE, ["seed=1"]))
    assert job_key(job) != job_key(load_job(EXAMPLE, ["stages.0.adapters.0.weight=0.7"]))


@settings(deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="ab:-[]{}&*!'\"\n \\|>?%@,#", max_size=60))
def test_any_text_is_a_job_or_a_told_error(text: str) -> None:
    try:
        load_job(text + "\n")
    except SakugaError:
        return
