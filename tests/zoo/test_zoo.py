"""Every clip of the zoo through a job without stages: the times, the sound and the colours that went in come out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tests.zoo.clips import ZOO, Animal
from tests.zoo.making import rgb

from sakuga.errors import SakugaError
from sakuga.render.studio import Studio
from sakuga.spec.job import Job
from sakuga.video.read import open_clip


def test_the_zoo_is_large() -> None:
    assert len(ZOO) >= 60


@pytest.mark.parametrize("name", ZOO)
def test_what_goes_in_comes_out(tmp_path: Path, name: str) -> None:
    animal = ZOO[name]
    source, output = animal.make(tmp_path), tmp_path / f"out{animal.output}"
    job = Job(source=source, stages=[], output=output, quality="lossless" if animal.output == ".mkv" else None)
    with Studio(work=tmp_path / "work") as studio:
        if animal.refused is not None:
            with pytest.raises(SakugaError, match=animal.refused) as caught:
                studio.render(job)
            assert caught.value.given and caught.value.expected and caught.value.do
            assert not output.exists()
            return
        report = studio.render(job)
    if animal.noted:
        assert any(animal.noted in note.reason for note in report.notes), report.notes
    with open_clip(source) as one, open_clip(output) as other:
        assert (one.width, one.height) == (other.width, other.height) == animal.size
        assert other.frame_count == one.frame_count and (not animal.frames or one.frame_count == animal.frames)
        _check_times(animal, one, other)
        assert other.pixel_aspect == one.pixel_aspect
        pictures = [frame.pixels for frame in one.frames()]
        for mine, theirs in zip(pictures, other.frames(), strict=True):
            assert animal.output != ".mkv" or np.abs(mine.astype(int) - theirs.pixels).max() <= 1
    if animal.near is not None:
        _check_colours(animal, pictures)
    if source.is_file():
        _check_along(animal, source, output)


def _check_times(animal: Animal, one: Any, other: Any) -> None:
    """Every time to one tick of the target's base, and those that were made are those that are read."""

    def times(clip: Any) -> list[Fraction]:
        return [(clip.pts_at(n) - clip.pts_at(0)) * clip.time_base for n in range(clip.frame_count + 1)]

    for here, there in zip(times(one), times(other), strict=True):
        assert abs(here - there) <= other.time_base, (here, there)
    if animal.times is not None:
        for here, made in zip(times(one)[:-1], animal.times, strict=True):
            assert abs(here - made) <= max(one.time_base, Fraction(1, 1000)), (here, made)


def _check_colours(animal: Animal, pictures: list[np.ndarray]) -> None:
    """The middles of the four flat colours, far from edges that a codec blurs."""
    width, height = animal.size
    for number, pixels in enumerate(pictures):
        drawn = np.clip(np.rint(rgb(number, animal.size)), 0, 255)
        for down, across in ((0.2, 0.25), (0.2, 0.75), (0.65, 0.25), (0.65, 0.75)):
            place = int(down * height), int(across * width)
            assert np.abs(pixels[place].astype(int) - drawn[place]).max() <= animal.near, (number, place)


def _packets(path: Path, kind: str) -> list[list[tuple[Fraction, bytes]]]:
    """(time, bytes) of all packets, stream by stream; empty for a picture."""
    with av.open(str(path)) as container:
        found: dict[int, list[tuple[Fraction, bytes]]] = {s.index: [] for s in container.streams if s.type == kind}
        for packet in container.demux(*[s for s in container.streams if s.type == kind]) if found else ():
            if packet.size:
                found[packet.stream_index].append((packet.pts * packet.time_base, bytes(packet)))
    return list(found.values())


def _check_along(animal: Animal, source: Path, output: Path) -> None:
    """Sound and subtitles byte for byte, at their times against the pictures; languages, titles, chapters."""
    sounds = _packets(output, "audio")
    assert len(sounds) == animal.sounds
    if animal.output != ".mkv" or source.suffix in (".png", ".webp"):
        return
    for kind in ("audio", "subtitle"):
        for mine, theirs in zip(_packets(source, kind), _packets(output, kind), strict=True):
            assert [data for _, data in mine] == [data for _, data in theirs]
            with open_clip(source) as one, open_clip(output) as other:
                shift = one.pts_at(0) * one.time_base - other.pts_at(0) * other.time_base
            assert all(abs(a - b - shift) <= Fraction(2, 1000) for (a, _), (b, _) in zip(mine, theirs, strict=True))
    with av.open(str(source)) as one, av.open(str(output)) as other:
        titles = [{k.lower(): v for k, v in c.metadata.items()}.get("title") for c in (one, other)]
        assert titles[0] == titles[1]
        assert [c["metadata"].get("title") for c in one.chapters()] == [
            c["metadata"].get("title") for c in other.chapters()
        ]
        languages = [[s.metadata.get("language") for s in c.streams if s.type == "audio"] for c in (one, other)]
        assert languages[0] == languages[1] or set(languages[0]) <= {None, "und"}
