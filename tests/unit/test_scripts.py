"""The set-up script looks before it touches: what it did not make stays, and the scripts can be run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_venv_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "venv" / "notes.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    environment = os.environ | {"VENV": str(theirs.parent)}
    done = subprocess.run([ROOT / "scripts" / "install"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "was not made by this script" in done.stderr
    assert theirs.read_text() == "mine"
    assert list(theirs.parent.iterdir()) == [theirs]


def test_every_script_can_be_run_and_says_what_it_does() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    assert len(scripts) >= 7
    for path in [*scripts, ROOT / ".ci" / "run"]:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert os.access(path, os.X_OK), path
        assert lines[0].startswith("#!"), path
        assert len(lines[1].strip('#" ')) > 30, path
