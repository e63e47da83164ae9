"""Axes of a grid: what people write, what it does to the Job, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sakuga.errors import SakugaError
from sakuga.spec.axis import Axis
from sakuga.spec.job import Job

JOB = Job(source=Path("clip.mp4"), stages=[{"adapters": ["ink:0.5"], "controls": ["tile:0.8", "lineart"]}, {}])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("lora.ink=0:1:0.25", ("0", "0.25", "0.5", "0.75", "1")),
        ("lora.ink=0.1:0.3:0.1", ("0.1", "0.2", "0.3")),
        ("steps=10:2:-4", ("10", "6", "2")),
        ("seed=100:200:100", ("100", "200")),
        ("seed=1, 2,3", ("1", "2", "3")),
        ("prompt=ink, red|ink, blue", ("ink, red", "ink, blue")),
        ("lora=ink:0.5,none", ("ink:0.5", "none")),
    ],
)
def test_values(text: str, values: tuple[str, ...]) -> None:
    assert Axis.parse(text, "--x").values == values


@pytest.mark.parametrize(
    "text", ["", "seed", "seed=", "=1", "lora.ink=0:1:0", "lora.ink=0:1:-1", "seed=0:1000:1", "seed=1,1", "a=0:nan:1"]
)
def test_what_is_no_axis(text: str) -> None:
    with pytest.raises(SakugaError) as caught:
        Axis.parse(text, "--y")
    assert "--y" in caught.value.told()


def applied(text: str, value: str) -> dict[str, Any]:
    job = Axis.parse(f"{text}={value},other", "--x").applied(JOB, value)
    told: dict[str, Any] = job.model_dump(mode="json")
    return told


def test_what_an_axis_does() -> None:
    uses = applied("lora.ink", "0.25")["stages"][0]["adapters"]
    assert [(use["file"], use["weight"]) for use in uses] == [("ink", 0.25)]
    uses = applied("lora.flat", "0.25")["stages"][0]["adapters"]
    assert [(use["file"], use["weight"]) for use in uses] == [("ink", 0.5), ("flat", 0.25)]
    uses = applied("lora", "flat:0.3+glow")["stages"][0]["adapters"]
    assert [(use["file"], use["weight"]) for use in uses] == [("flat", 0.3), ("glow", 1.0)]
    assert applied("lora", "none")["stages"][0]["adapters"] == []
    uses = applied("control.tile", "0.2")["stages"][0]["controls"]
    assert [(use["kind"], use["scale"]) for use in uses] == [("tile", 0.2), ("lineart", 1.0)]
    assert applied("steps", "7")["stages"][0]["steps"] == 7
    assert applied("stages.1.steps", "7")["stages"][1]["steps"] == 7
    assert applied("seed", "3")["seed"] == 3


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("steps", "x", "stages.0.steps"), ("stepz", "1", "steps"), ("lora.ink", "50", "50"), ("seed", "-1", "seed")],
)
def test_mistakes_name_the_axis(name: str, value: str, words: str) -> None:
    with pytest.raises(SakugaError) as caught:
        Axis(flag="--x", name=name, values=(value,)).applied(JOB, value)
    assert words in caught.value.told()
