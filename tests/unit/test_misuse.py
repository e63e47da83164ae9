"""The Python interface given what it cannot take: a typed error that says what to give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sakuga.errors import JobError
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
