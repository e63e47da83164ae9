"""docs/help.md is what the program itself says, and the examples are jobs that it understands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sakuga.cli.main import offered
from sakuga.spec.load import load_job

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_commands_is_up_to_date() -> None:
    search = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    words = [sys.executable, str(ROOT / "scripts" / "docs"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": search})
    assert done.returncode == 0, done.stderr


def test_the_page_has_every_command() -> None:
    page = (ROOT / "docs" / "help.md").read_text(encoding="utf-8")
    for name in (*offered(), "lora show", "models show"):
        assert f"\n## sakuga {name}\n" in page


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_an_example_is_a_job(file: Path) -> None:
    assert load_job(file).stages


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_an_example_leaves_nothing_that_git_would_see(file: Path) -> None:
    output = load_job(file).output
    assert output is not None and output.parts[0] == "out"
    assert "/out/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
