"""Errors as people see them: a title and at most four lines."""

from __future__ import annotations

import pytest

from sakuga.errors import FileProblem, JobError, Several, nearest_file


def test_a_line_break_or_an_escape_in_a_name_is_shown_and_breaks_no_line() -> None:
    error = FileProblem("no such file", given="a\nb\x1b[2J.mp4", expected="x", nearest="y\r", do="look").at(
        "source\u2028"
    )
    assert str(error).split("\n") == [
        "source\\u2028: no such file",
        "  given     a\\nb\\x1b[2J.mp4",
        "  expected  x",
        "  nearest   y\\r",
        "  do        look",
    ]


def test_words_of_any_language_stay_as_they_are() -> None:
    assert str(JobError("no such file", given="猫 – ᾱ.mp4")) == "no such file\n  given     猫 – ᾱ.mp4"


def test_each_of_several_findings_has_a_title_and_at_most_four_lines() -> None:
    one = JobError("odd", given="a\nb", expected="c\nd", nearest="e\nf", do="g\nh")
    assert len(str(Several([one, one, one])).split("\n")) == 15


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("nope", None),
        ("nopes", None),
        ("watercolor.safetensors", None),  # it shares its ending with another, and no more
        ("inq.safetensors", "ink.safetensors"),
        ("ink", "ink.safetensors"),
        ("ink.pth", "ink.pth"),
        ("Opt", "opt"),
    ],
)
def test_a_path_to_nope_is_not_near_to_opt(given: str, nearest: str | None) -> None:
    there = ["usr", "opt", "ink.pth", "ink.safetensors"]
    assert nearest_file(given, there) == nearest
