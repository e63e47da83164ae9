"""The public names: sorted, complete, documented; and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sakuga
from sakuga import errors

ENGINES = {"torch", "numpy", "av", "cv2", "diffusers", "transformers", "safetensors", "PIL"}
FACES = {"pydantic", "yaml", "rich"}


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh Python holds once ``statement`` has run, beyond those of a bare one."""
    code = f"import sys\nbare = set(sys.modules)\n{statement}\nprint('MODULES', *(set(sys.modules) - bare))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES")[2].split())


def tops(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


def test_the_public_names_are_sorted() -> None:
    assert list(sakuga.__all__) == sorted(sakuga.__all__)
    assert sorted(dir(sakuga)) == sorted([*sakuga.__all__, "__version__"])


@pytest.mark.parametrize("name", sakuga.__all__)
def test_a_public_name_can_be_had_and_says_what_it_is(name: str) -> None:
    value = getattr(sakuga, name)
    assert value.__name__ == name
    assert value.__module__.startswith("sakuga.")
    assert inspect.getdoc(value)


def test_every_error_is_public() -> None:
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert {name for name in kinds if issubclass(getattr(errors, name), errors.SakugaError)} <= set(sakuga.__all__)


def test_the_drawing_of_the_errors_shows_all_of_them() -> None:
    drawn = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.SakugaError):
            assert re.search(rf"\b{name}\b", drawn), f"{name} is missing in the docstring of errors.py"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Studdio'"):
        sakuga.__getattr__("Studdio")


def test_the_package_alone_loads_nothing_but_itself() -> None:
    loaded = modules_after("import sakuga")
    assert {name for name in loaded if name.startswith("sakuga")} == {"sakuga"}
    assert not tops(loaded) & (ENGINES | FACES)
    assert len(loaded) <= 40, sorted(loaded)


@pytest.mark.parametrize(
    "statement",
    [
        "import sakuga.spec.load",
        "import sakuga; sakuga.load_job, sakuga.Job, sakuga.SakugaError, sakuga.Progress, sakuga.Report",
        "from sakuga.spec.load import load_job; load_job('source: clip.mp4')",
    ],
)
def test_reading_a_job_loads_no_engine(statement: str) -> None:
    assert not tops(modules_after(statement)) & ENGINES


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["render", "--help"], ["lora", "--help"]])
def test_help_loads_no_engine(words: list[str]) -> None:
    call = f"try: main({words!r})\nexcept SystemExit as end: assert not end.code, end.code"
    loaded = modules_after(f"from sakuga.cli.main import main\n{call}")
    assert "sakuga.cli.main" in loaded
    assert not tops(loaded) & ENGINES


def test_the_engines_load_without_av_and_opencv() -> None:
    statement = """
import importlib, pkgutil
sys.modules["av"] = sys.modules["cv2"] = None
import sakuga.lora, sakuga.models, sakuga.render, sakuga.tensors
for room in (sakuga.lora, sakuga.models, sakuga.render, sakuga.tensors):
    for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        importlib.import_module(found.name)
"""
    assert {"sakuga.lora.stack", "sakuga.models.load", "sakuga.render.stage"} <= modules_after(statement)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "demo", "--lora", "ink"],
        ["lora", "show", "ink", "--base", "starter"],
        ["lora", "bake", "--base", "starter", "ink", "-o", "baked"],
    ],
)
def test_a_check_took_seven_seconds_because_it_loaded_diffusers(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAKUGA_CACHE", str(tmp_path))
    source = str(Path(sakuga.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH")))))
    loaded = modules_after(f"from sakuga.cli.main import main; assert main({words!r}) == 0")
    assert "sakuga.models.outline" in loaded
    assert not {"diffusers", "transformers", "peft"} & tops(loaded)
