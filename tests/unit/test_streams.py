"""Nobody listens: stdout and stderr that are closed or full, or whose reader has gone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sakuga.cli.console import watched
from sakuga.cli.main import main

SOURCE = Path(__file__).resolve().parents[2] / "src"
FULL = Path("/dev/full")


def ended(redirection: str, *words: str) -> tuple[int, str]:
    """Exit status of the command with this redirection of the shell, and what is still told."""
    if not FULL.exists():
        pytest.skip("no full device here")
    search = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))
    command = ["sh", "-c", f'"$0" "$@" {redirection}', sys.executable, "-m", "sakuga", *words]
    environment = os.environ | {"PYTHONPATH": search, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_full_stdout_is_told_and_ends_with_two() -> None:
    status, told = ended("> /dev/full", "--version")
    assert status == 2
    assert told.startswith("OutputError: what there is to say cannot be written to stdout\n  given     No space left")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "2> /dev/full", ">&- 2>&-"])
def test_only_a_lost_result_changes_the_status(redirection: str) -> None:
    assert ended(redirection, "--version")[0] == (2 if ">&-" in redirection.removeprefix("2>&-") else 0)
    status, told = ended(redirection, "render", "nowhere.yaml")
    assert status == 2
    assert ("FileProblem" in told) == ("2>" not in redirection), "an error never goes to stdout"


def test_an_answer_that_a_closed_stdout_loses_is_told() -> None:
    status, told = ended(">&-", "models")
    assert status == 2
    assert told.startswith("OutputError: what there is to say cannot be written to stdout\n")
    assert "\n  given     stdout is closed\n" in told


def test_nothing_can_be_told_anywhere() -> None:
    assert ended("> /dev/full 2> /dev/full", "--version") == (2, "")


class Gone(io.StringIO):
    """A stream whose reader goes away after the first words."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal, self.asked = terminal, 0

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.asked += 1
        if self.asked > 1:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_reader_of_stderr_that_goes_away_does_not_end_the_render(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, finished = Gone(terminal), []

    def run(words: list[str]) -> int:
        with watched() as progress:
            for task in ("load models", "look for cuts", "render"):
                progress.begin(task, 1)
                progress.advance()
            finished.append(words)
        print("rendered")
        return 0

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sakuga.cli.main._run", run)
    monkeypatch.setattr(sys, "stderr", gone)
    assert main(["render"]) == 0
    assert finished == [["render"]] and gone.asked == 2, "after the first failure nothing is shown any more"
    assert capsys.readouterr().out == "rendered\n"
    assert sys.stderr is gone
