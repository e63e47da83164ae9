"""What a person sees while a command runs: few lines, bars on a terminal, and a Ctrl-C that stops gently."""

from __future__ import annotations

import io
import os
import signal
import sys
import time

import pytest

from sakuga.cli import console
from sakuga.cli.outline import lines_of
from sakuga.errors import JobError, Stopped
from sakuga.progress import Moment, Progress


def test_the_first_interrupt_asks_and_the_second_ends(capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.begin("render", 9)
    before = signal.getsignal(signal.SIGINT)
    with console.stopping(progress):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped, match="stopped"):
            progress.advance()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert "Ctrl-C again" in capfd.readouterr().err


def test_plain_lines_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = io.StringIO()
    lines = console.PlainLines(stream=stream)
    for done in range(101):
        now = done * 0.25
        lines(Moment(task="render", done=done, total=100, elapsed_seconds=now))
    written = stream.getvalue().splitlines()
    assert written[0] == "render: 20 of 100, 0:05, about 0:20 to go"
    assert written[-1] == "render: 100 of 100, 0:25"
    assert len(written) == 5


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.watched() as progress:
        for task in ("stage [1] render", "write"):
            progress.begin(task, 2)
            progress.advance(2)
    shown = terminal.getvalue()
    assert "stage [1] render" in shown
    assert "write" in shown
    assert "2/2" in shown


def test_times_are_told_as_clocks() -> None:
    moment = Moment(task="render", done=1, total=3, elapsed_seconds=3725)
    assert console.line_of(moment) == "render: 1 of 3, 1:02:05, about 2:04:10 to go"


def test_outlines_leave_nothing_out() -> None:
    told = {"a": 1, "b": {"c": None, "d": []}, "e": [{"f": True, "g": ["x", "y"]}], "h": {}}
    assert lines_of(told) == [
        "a                1", "b", "  c                none", "  d                none", "e", "  f: yes, g: x, y",
        "h                none",
    ]  # fmt: skip


def test_what_to_do_is_folded_between_words_on_a_terminal_and_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    error = JobError("too much", given="/a/path/that/is/longer/than/the/whole/terminal/is/wide", do="take less of " * 9)
    monkeypatch.setenv("COLUMNS", "40")
    shown = {}
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        console.tell_error(error)
        shown[stream.isatty()] = stream.getvalue()
    lines = shown[True].splitlines()
    assert all(len(line) <= 40 for line in lines if "/a/path" not in line)
    assert all(line.startswith(" " * 12) for line in lines[lines.index(next(x for x in lines if "do  " in x)) + 1 :])
    assert shown[True].split() == error.told().split()
    assert shown[False] == error.told() + "\n"
