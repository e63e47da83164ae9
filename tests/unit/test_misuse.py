"""The Python interface given what it cannot take: a typed error that says what to give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from sakuga.errors import JobError, SakugaError
from sakuga.lora.adapter import Adapter
from sakuga.lora.blocks import listed
from sakuga.lora.load import load_lora
from sakuga.lora.stack import Stack, StackWeight
from sakuga.render.studio import Studio
from sakuga.spec.load import load_job


@pytest.mark.parametrize("act", [Studio.render, Studio.check])
@pytest.mark.parametrize(
    ("given", "do"),
    [
        (None, 'give Job(source="clip.mp4", …), or load_job("job.yaml")'),
        ("job.yaml", "give load_job('job.yaml')"),
        (Path("clip.mp4"), "give Job(source='clip.mp4')"),
        ({"source": "clip.mp4"}, "give Job(**…) with what stands in it"),
    ],
)
def test_rendering_what_is_no_job_says_what_makes_one(act: Callable[..., Any], given: object, do: str) -> None:
    with Studio() as studio, pytest.raises(JobError, match="this is not a Job") as caught:
        act(studio, given)
    assert (caught.value.given, caught.value.do) == (repr(given), do)


@pytest.mark.parametrize("given", [None, {"source": "clip.mp4"}, b"source: clip.mp4"])
def test_loading_what_is_neither_path_nor_text_is_told(given: Any) -> None:
    with pytest.raises(JobError, match="neither a job file nor the text of one"):
        load_job(given)


PART = nn.Linear(2, 2)
PIPELINE = type("Pipeline", (), {"components": {"unet": PART}})()
INK = Adapter(
    name="ink",
    path=Path("ink.safetensors"),
    sha256="0",
    family=None,
    layout="x",
    metadata={},
    patches=(),
    leftovers=(),
    total_keys=0,
)


@pytest.mark.parametrize(
    ("act", "title", "do"),
    [
        (lambda: Stack([(INK, "x")]), "an adapter's weight is no number", "float"),  # type: ignore[list-item]
        (lambda: Stack([(INK, None)]), "an adapter's weight is no number", "float"),  # type: ignore[list-item]
        (lambda: Stack([(INK, 10**400)]), "is not a finite number", "another weight"),
        (lambda: Stack([INK]), "this is no adapter with its weight", "Stack([(adapter, 0.8)])"),  # type: ignore[list-item]
        (lambda: Stack(INK), "this is no list of adapters", "Stack([(adapter, 0.8)])"),  # type: ignore[arg-type]
        (lambda: Stack([("ink.safetensors", 1)]), "this is no adapter with", "load_lora"),  # type: ignore[list-item]
        (lambda: Stack("ink.safetensors"), "this is no list of adapters", "load_lora"),  # type: ignore[arg-type]
        (lambda: StackWeight(unet="1"), "an adapter's weight is no number", "float"),  # type: ignore[arg-type]
        (lambda: StackWeight(blocks=["IN01"]), "block weights are a table", "listed"),  # type: ignore[arg-type]
        (lambda: load_lora(None, PART), "this is no path of an adapter", "load_lora("),  # type: ignore[arg-type]
        (lambda: load_lora("", PART), "this is no path of an adapter", "load_lora("),
        (lambda: load_lora("x", PART, 5), "an adapter's name is a text", "load_lora("),  # type: ignore[arg-type]
        (lambda: load_lora("x", PIPELINE), "these are no modules", "pipeline.components"),
        (lambda: load_lora("x", None), "these are no modules", "by its component"),  # type: ignore[arg-type]
        (lambda: load_lora("x", {"unet": 5}), "there is no module", "the modules themselves"),
        (lambda: _set("x"), "these are no weights", "{'ink': 0.8}"),
        (lambda: _set(0.5), "these are no weights", "{'ink': 0.8}"),
        (lambda: _set({"ink": "x"}), "an adapter's weight is no number", "float"),
        (lambda: _set_rows([[0.5], [float("inf")]]), "is not a finite number", "another weight"),
        (lambda: _set_rows([[0.5], []]), "this is no table of halves", "for each half"),
        (lambda: listed(["x"] * 17), "a block weight is not a finite number", "another"),  # type: ignore[list-item]
        (lambda: _set({1: 0.5}), "no such adapter is in the stack", "name one"),
        (lambda: StackWeight(blocks={"IN04": 1e38}), "a block weight is too strong", "small steps"),
        (lambda: _applied(cache="x"), "cache is of another kind", "leave cache out"),
        (lambda: _applied(origin=3), "origin is of another kind", "leave origin out"),
        (lambda: _applied(motion=3), "motion is of another kind", "leave motion out"),
        (lambda: load_lora("x" * 300, PART), "the file cannot be opened", "rights"),
    ],
)
def test_wrong_types_in_python_ended_as_a_bare_type_error(act: Callable[[], object], title: str, do: str) -> None:
    with pytest.raises(SakugaError) as caught:
        act()
    assert title in caught.value.title and do in str(caught.value.do)
    assert caught.value.given and caught.value.expected


def _applied(**options: Any) -> None:
    with Stack([]).applied(PART, **options):
        pass


def _set(weights: Any) -> None:
    with Stack([(INK, 1)]).applied(PART) as applied:
        applied.set(weights)


def _set_rows(rows: Any) -> None:
    with Stack([(INK, 1)]).applied(PART) as applied:
        applied.set_rows({"ink": rows})
